"""Probabilities of events, compared with closed forms and samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from closed_forms import mass_of, mass_of_box, some_numbers
from frames import cities

import flows
from flows.tables.density.frame_density import Density

INF = np.inf


def question(number: int) -> tuple[flows.Density, dict[str, Any], dict[str, Any], float]:
    """Return a density, an event, conditions, and the probability in closed form."""
    truth, rng = some_numbers(number), np.random.default_rng(1_000 + number)
    rows, low, high = truth.sample(1_000, rng), np.full(3, -INF), np.full(3, INF)
    order = rng.permutation(3)
    event, given, of_given = {}, {}, 1.0
    for d in order[: rng.integers(1, 3)].tolist():
        low[d], high[d] = np.sort(np.quantile(rows[:, d], rng.uniform(0, 1, 2)))
        event[f"x{d}"] = (low[d], high[d])
        if rng.random() < 0.4:
            event[f"x{d}"], high[d] = (low[d], None), INF
    if rng.random() < 0.5:
        d = int(order[2])
        low[d] = np.quantile(rows[:, d], rng.uniform(0.2, 0.8))
        given = {f"x{d}": (low[d], None)}
        of_given = mass_of_box(truth, np.where(np.arange(3) == d, low, -INF), np.full(3, INF))
    density = flows.Density(flows.GaussianMixture.of(truth))
    return density, event, given, mass_of_box(truth, low, high) / of_given


@pytest.mark.slow
def test_intervals_of_probabilities_cover_the_closed_form():
    """Intervals of 90%, of 200 questions."""
    inside = []
    for number in range(200):
        density, event, given, expected = question(number)
        found = density.probability(event, given=given, seed=number)
        assert found.integration_error <= 0.021 * found.probability
        inside.append(abs(found.probability - expected) <= 1.645 * found.integration_error)
    assert 0.86 <= np.mean(inside) <= 0.94


@pytest.mark.slow
def test_a_rare_event_needs_few_draws():
    truth = some_numbers(3)
    density = flows.Density(flows.GaussianMixture.of(truth))
    low = np.quantile(truth.sample(400_000, np.random.default_rng(0))[:, 0], 0.9999)
    found = density.probability({"x0": (low, None)})
    expected = mass_of_box(truth, np.array([low, -INF, -INF]), np.full(3, INF))
    assert found.probability == pytest.approx(expected, rel=0.08)
    assert found.draws < 100_000


@pytest.mark.slow
def test_probabilities_agree_with_samples(of_pressures):
    drawn = of_pressures.sample(20_000, seed=1)
    for event, own in (
        ({"ward": "west"}, drawn["ward"] == "west"),
        ({"ward": ["north", "west"]}, drawn["ward"].isin(["north", "west"])),
        ({"age": (30, 40)}, drawn["age"].between(30, 40)),
        ({"age": [50, 51]}, drawn["age"].isin([50, 51])),
        (
            {"pressure": (140, None), "ward": "west"},
            (drawn.pressure > 140) & (drawn.ward == "west"),
        ),
    ):
        found = of_pressures.probability(event)
        error = np.hypot(found.integration_error, np.sqrt(own.mean() / len(drawn)))
        assert abs(found.probability - own.mean()) < 4 * error
    young = drawn[drawn["age"] <= 40]
    found = of_pressures.probability({"pressure": (None, 120)}, given={"age": (None, 40)})
    assert found.probability == pytest.approx((young["pressure"] < 120).mean(), abs=0.03)


def test_probabilities_of_all_labels_sum_to_1(of_pressures):
    total = sum(
        of_pressures.probability({"ward": label}, given={"age": 60}).probability
        for label in ("north", "south", "west")
    )
    assert total == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_a_range_of_a_decimal_step_has_the_probability_up_to_its_end():
    b = np.round(np.random.default_rng(0).uniform(0, 2, 60), 1)
    frame = pd.DataFrame({"b": b, "x": np.arange(60) % 7 + 0.5})
    quick = {"recipe": "quick", "couplings": 2, "hidden": 4}
    density = flows.fit(frame, columns={"b": "integer:0.1"}, members=1, settings=quick)
    at, above = (density.probability({"b": (None, end)}).probability for end in (0.3, 0.34))
    assert at == pytest.approx(above, rel=1e-6)
    assert (density.sample(200, given={"b": (0.3, 0.3)}).b == 0.3).all()


@pytest.mark.slow
def test_a_rare_label_has_its_share_of_the_pool(of_cities):
    counts = cities().city.value_counts()
    rare = [name for name in counts.index if name.startswith("small")]
    pool = of_cities.columns[0].labels[-1]

    def probability(event, **given):
        return of_cities.probability({"city": event}, **given).probability

    whole = probability(pool)
    found = {name: probability(name) for name in rare}
    for name in rare:
        assert found[name] == pytest.approx(whole * counts[name] / counts[rare].sum(), rel=0.05)
    assert probability(rare) == pytest.approx(whole, rel=0.05)
    both = probability(["big 3", rare[0]])
    assert both == pytest.approx(probability("big 3") + found[rare[0]], rel=0.05)
    assert probability(rare[0], given={"city": rare[0]}) == pytest.approx(1)
    assert probability(rare[0], given={"city": rare[1]}) == 0
    assert probability(rare[:2], given={"city": rare[1:3]}) == pytest.approx(
        counts[rare[1]] / counts[rare[1:3]].sum(), rel=0.05
    )


def test_an_event_that_the_conditions_imply_has_probability_1(of_pressures, with_labels):
    implied = of_pressures.probability({"age": (30, None)}, given={"age": (40, 60)})
    assert (implied.probability, implied.integration_error, implied.draws) == (1.0, 0.0, 0)
    known = of_pressures.probability({"age": (30, None)}, given={"age": 40})
    assert (known.probability, known.integration_error) == (1.0, 0.0)
    labels = with_labels.probability({"label1": ["a", "b"]}, given={"label1": "a"})
    assert labels.probability == 1.0


def test_an_event_that_contradicts_the_conditions_has_probability_0(of_pressures):
    for given in ({"age": 50}, {"age": (20, 55)}):
        found = of_pressures.probability({"age": (60, None)}, given=given)
        assert (found.probability, found.integration_error) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("event", "given"),
    [
        ({"label1": ["a", "c"], "x0": (0, None)}, {}),
        ({"label2": "b"}, {"label0": "a", "x1": (None, 1)}),
        ({"x2": (-1, 1)}, {"label1": ["b", "c"], "label2": ["a", "b", "d"]}),
        ({"label0": "b", "x0": (-1, 2)}, {"label1": "a"}),
        ({"label0": "b", "label2": ["c", "d"]}, {"x0": 0.5}),
    ],
    ids=str,
)
def test_probabilities_of_sets_and_ranges_are_those_of_the_closed_form(
    with_labels: Density, event: dict[str, Any], given: dict[str, Any]
) -> None:
    found = with_labels.probability(event, given=given)
    expected = mass_of({**given, **event}) / mass_of(given)
    assert abs(found.probability - expected) < 3 * found.integration_error + 1e-9


def test_events_of_labels_and_of_one_target_are_not_drawn(with_labels):
    event, given = {"label1": ["b", "c"]}, {"label2": ["a", "b"]}
    found = with_labels.probability(event, given=given)
    assert found.probability == pytest.approx(mass_of(event | given) / mass_of(given))
    assert (found.draws, found.integration_error) == (0, 0)


@pytest.mark.slow
def test_probabilities_are_right_where_columns_nearly_satisfy_an_equation():
    """A distilled mixture is a poor proposal there: the weights of its draws vary by many nats."""
    parts = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [1.0, 1.0, 1e-4, 0], [0.5, 0, 0, 1.0]])
    truth = flows.GaussianMixture([1.0], np.zeros((1, 4)), (parts @ parts.T)[None])
    density = flows.Density(truth)
    for event, expected in [((1, None), 0.1587), ((None, 1), 0.8413), ((2, None), 0.0228)]:
        found = density.probability({"x0": event})
        assert abs(found.probability - expected) < max(4 * found.integration_error, 1e-4)
        assert found.integration_error < 0.1 * expected


def test_an_event_that_holds_all_draws_has_an_error():
    truth = flows.GaussianMixture([1.0], np.zeros((1, 3)), np.eye(3)[None])
    found = flows.Density(truth).probability({"x0": (-6, None), "x1": (-6, None)})
    assert found.probability == pytest.approx(1, abs=1e-6)
    assert 0 < found.integration_error < 1e-3
