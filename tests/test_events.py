"""Ranges and sets as conditions, and probabilities of events."""

from __future__ import annotations

from typing import Any

import helpers
import numpy as np
import pandas as pd
import pytest
from frames import pressures
from scipy.stats import multivariate_normal

import flows
from flows.__main__ import main
from flows.core.errors import UserError
from flows.core.rows import Rows
from flows.density.conditions import conditions
from flows.density.target_density import density_of
from flows.mixtures.mixture import Mixture
from flows.mixtures.truncated_mixture import BoxProposal
from flows.posterior.posterior import Posterior
from flows.tables.notices import TableError

INF = np.inf


def mixture(seed: int, dim: int = 3, count: int = 3) -> Mixture:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(count, dim, dim))
    covariances = 0.5 * root @ root.transpose(0, 2, 1) + 0.2 * np.eye(dim)
    return Mixture(rng.dirichlet(np.full(count, 3)), 2 * rng.normal(size=(count, dim)), covariances)


def mass(truth: Mixture, low: np.ndarray, high: np.ndarray) -> float:
    """Return the probability of a box."""
    parts = zip(truth.weights, truth.means, truth.covariances, strict=True)
    return sum(w * multivariate_normal(m, s).cdf(high, lower_limit=low) for w, m, s in parts)


def question(number: int) -> tuple[flows.Density, dict[str, Any], dict[str, Any], float]:
    """Return a density, an event, conditions, and the probability in closed form."""
    truth, rng = mixture(number), np.random.default_rng(1_000 + number)
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
        of_given = mass(truth, np.where(np.arange(3) == d, low, -INF), np.full(3, INF))
    density = flows.Density(flows.GaussianMixture.of(truth))
    return density, event, given, mass(truth, low, high) / of_given


@pytest.fixture(scope="module")
def density() -> flows.Density:
    settings = {"recipe": "fixed", "epochs": 200}
    small = flows.NSF(couplings=4, hidden=16)
    return flows.fit(pressures(), small, members=2, settings=settings, columns={"age": "integer"})


@pytest.fixture(scope="module")
def of_target() -> flows.Density:
    settings = {"recipe": "fixed", "epochs": 100}
    kinds = {"age": "integer"}
    return flows.fit(pressures(), target="pressure", members=2, settings=settings, columns=kinds)


def test_draws_of_a_box_proposal_have_its_density():
    truth, rng = mixture(0, dim=4), np.random.default_rng(0)
    box = {2: np.array([[1.5, INF]]), 0: np.array([[-1.0, 0.0], [0.5, 2.0]])}
    proposal = BoxProposal(truth, Rows.of_numbers(np.full((1, 4), np.nan)), box)
    rows, log_r = proposal.draw(np.zeros(20_000, np.int64), rng)
    z = rows.numbers
    assert (z[:, 2] >= 1.5).all()
    assert (((z[:, 0] >= -1) & (z[:, 0] <= 0)) | ((z[:, 0] >= 0.5) & (z[:, 0] <= 2))).all()
    weights = np.exp(truth.log_prob(z) - log_r)
    expected = sum(
        mass(truth, np.array([low, -INF, 1.5, -INF]), np.array([high, INF, INF, INF]))
        for low, high in box[0]
    )
    assert weights.mean() == pytest.approx(expected, rel=0.02)


def share_of_covered(questions):
    """Return the share of questions whose 90% interval covers the closed form."""
    inside = []
    for number in range(questions):
        density, event, given, expected = question(number)
        found = density.probability(event, given=given, seed=number)
        assert found.error <= 0.021 * found.probability
        inside.append(abs(found.probability - expected) <= 1.645 * found.error)
    return np.mean(inside)


def test_intervals_of_probabilities_cover_the_closed_form_of_most_questions():
    with helpers.few_samples():
        assert share_of_covered(20) >= 0.7


@pytest.mark.slow
def test_intervals_of_probabilities_cover_the_closed_form():
    assert 0.86 <= share_of_covered(200) <= 0.94


def test_a_rare_event_needs_few_draws():
    truth = mixture(3)
    density = flows.Density(flows.GaussianMixture.of(truth))
    low = np.quantile(truth.sample(400_000, np.random.default_rng(0))[:, 0], 0.9999)
    found = density.probability({"x0": (low, None)})
    expected = mass(truth, np.array([low, -INF, -INF]), np.full(3, INF))
    assert found.probability == pytest.approx(expected, rel=0.08)
    assert found.draws < 100_000


def test_probabilities_agree_with_samples(density):
    drawn = density.sample(20_000, seed=1)
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
        found = density.probability(event)
        error = np.hypot(found.error, np.sqrt(own.mean() / len(drawn)))
        assert abs(found.probability - own.mean()) < 4 * error
    young = drawn[drawn["age"] <= 40]
    found = density.probability({"pressure": (None, 120)}, given={"age": (None, 40)})
    assert found.probability == pytest.approx((young["pressure"] < 120).mean(), abs=0.03)


def test_probabilities_of_all_labels_sum_to_1(density):
    total = sum(
        density.probability({"ward": label}, given={"age": 60}).probability
        for label in ("north", "south", "west")
    )
    assert total == pytest.approx(1, abs=0.03)


def test_conditions_hold_exactly_in_samples(density):
    given = {"age": (60, 70), "ward": ["north", "west"], "pressure": (130.0, None)}
    drawn = density.sample(500, given=given)
    assert len(drawn) == 500
    assert drawn["age"].between(60, 70).all()
    assert set(drawn["ward"]) == {"north", "west"}
    assert (drawn["pressure"] >= 130).all()
    exact = density.sample(50, given={"age": 65, "ward": ["south"]})
    assert (exact["age"] == 65).all()
    assert (exact["ward"] == "south").all()


def test_a_rare_condition_is_sampled_without_rejection(density):
    high = pressures()["pressure"].max() + 15
    drawn = density.sample(200, given={"pressure": (high, None)})
    assert (drawn["pressure"] >= high).all()


def test_a_prediction_under_a_range_agrees_with_samples(density):
    given = {"age": (60, 70)}
    predicted = density.predict(column="pressure", given=given)
    drawn = density.sample(4_000, given=given)["pressure"]
    assert predicted["mean"].item() == pytest.approx(drawn.mean(), abs=1)
    assert predicted["q0.5"].item() == pytest.approx(drawn.median(), abs=1)
    labels = density.predict(column="ward", given={"pressure": (150, None)})
    assert labels[["north", "south", "west"]].sum(axis=1).item() == pytest.approx(1)


def test_targets_have_ranges_as_conditions_and_events(of_target):
    given = {"age": (60, 70), "ward": ["west"]}
    drawn = of_target.sample(2_000, given=given)
    assert drawn["age"].between(60, 70).all()
    assert (drawn["ward"] == "west").all()
    found = of_target.probability({"pressure": (140, None)}, given=given)
    share = (drawn["pressure"] >= 140).mean()
    assert abs(found.probability - share) < 4 * np.hypot(found.error, 0.012)
    predicted = of_target.predict(given=given)
    assert predicted["mean"].item() == pytest.approx(drawn["pressure"].mean(), abs=1)
    high = pressures()["pressure"].max() + 40
    rare = of_target.probability({"pressure": (high, None)}, given=given)
    assert 0 < rare.probability < 0.01
    assert (
        of_target.sample(20, given={**given, "pressure": (high, None)})["pressure"] > high
    ).all()
    with pytest.raises(UserError, match="age is not a target"):
        of_target.probability({"age": (60, None)})


STEPS = (0.1, 0.01, 0.05, 0.2, 0.25)


def test_ranges_of_decimal_steps_hold_their_ends():
    steps = {f"every {step}": step for step in STEPS}
    rows = np.random.default_rng(0).normal(size=(60, 5))
    kinds = {name: f"integer:{step}" for name, step in steps.items()}
    frame = pd.DataFrame({name: np.round(x) for name, x in zip(steps, rows.T, strict=True)})
    quick = {"recipe": "fixed", "epochs": 1, "couplings": 2, "hidden": 4}
    array = density_of(flows.fit(frame, columns=kinds, members=1, settings=quick).population)
    for d, (name, step) in enumerate(steps.items()):
        inverse = round(1 / step)
        for number in range(40 * inverse):
            value, half = number / inverse, step / 2  # as it is written: 0.3, not 3 * 0.1
            for asked, low, high in (
                ((None, value), -INF, value + half),
                ((value, None), value - half, INF),
                ((value, value), value - half, value + half),
                ((None, value + 0.4 * step), -INF, value + half),
            ):
                found = conditions(array, {name: asked}).intervals[d]
                assert found == pytest.approx(np.array([[low, high]]), abs=1e-9)


def test_a_range_of_a_decimal_step_has_the_probability_up_to_its_end():
    b = np.round(np.random.default_rng(0).uniform(0, 2, 60), 1)
    frame = pd.DataFrame({"b": b, "x": np.arange(60) % 7 + 0.5})
    quick = {"recipe": "fixed", "epochs": 2, "couplings": 2, "hidden": 4}
    density = flows.fit(frame, columns={"b": "integer:0.1"}, members=1, settings=quick)
    at, above = (density.probability({"b": (None, end)}).probability for end in (0.3, 0.34))
    assert at == pytest.approx(above, rel=1e-6)
    assert (density.sample(200, given={"b": (0.3, 0.3)}).b == 0.3).all()


def cities(n: int = 2_000) -> pd.DataFrame:
    """Return a table with 19 frequent labels and 6 rare ones, whose shares are 1/6 to 6/6 of 1%."""
    rng = np.random.default_rng(0)
    shares = np.r_[np.full(19, 0.965 / 19), np.arange(1, 7) * 0.01 / 6]
    names = [f"big {k}" for k in range(19)] + [f"small {k}" for k in range(6)]
    city = rng.choice(names, n, p=shares / shares.sum())
    return pd.DataFrame({"city": city, "x": rng.normal(size=n)})


@pytest.fixture(scope="module")
def of_cities() -> flows.Density:
    quick = {"recipe": "fixed", "epochs": 2, "couplings": 2, "hidden": 4}
    return flows.fit(cities(), members=2, settings=quick)


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


@pytest.mark.filterwarnings("error")
def test_sets_of_rare_and_frequent_labels_need_few_draws_and_may_share_no_rare_one(of_cities):
    found = of_cities.probability({"city": ["big 3", "small 0"]})
    assert found.error <= 0.021 * found.probability
    given = {"city": ["big 3", "small 1"]}
    share = of_cities.probability({"city": ["big 3", "small 0"]}, given=given).probability
    assert 0.8 < share < 1


def test_samples_hold_the_rare_labels_that_are_given(of_cities):
    given = {"city": ["big 3", "small 5", "small 4"]}
    found = of_cities.sample(4_000, given=given).city.value_counts()
    assert set(found.index) == set(given["city"])
    counts = cities().city.value_counts()
    ratio = counts["small 5"] / counts["small 4"]
    assert found["small 5"] / found["small 4"] == pytest.approx(ratio, rel=0.2)
    assert (of_cities.sample(5, given={"city": ["small 1"]}).city == "small 1").all()


def test_a_label_that_no_row_held_is_no_event(of_cities):
    with pytest.raises(TableError, match="city holds 'nowhere', which no row of the fitted table"):
        of_cities.probability({"city": "nowhere"})


def test_an_event_that_contradicts_the_conditions_has_probability_0(density):
    for given in ({"age": 50}, {"age": (20, 55)}):
        found = density.probability({"age": (60, None)}, given=given)
        assert (found.probability, found.error) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("event", "given", "message"),
    [
        ({}, {}, "an event needs a column"),
        ({"weight": (1, 2)}, {}, "no column weight"),
        ({"pressure": 120.0}, {}, "column pressure is learned as a number with decimals"),
        ({"ward": ("a", "b")}, {}, "column ward has labels, so a range has no meaning"),
        ({"ward": "east"}, {}, "column ward holds east, which is not one of its labels"),
        (
            {"age": (70, 60)},
            {},
            r"column age is given as \(70, 60\); the first end must not be larger",
        ),
        ({"age": (None, None)}, {}, "a range is"),
        ({"age": (60, None)}, {"ward": []}, "column ward is given as an empty set"),
        (
            {"age": (60, None)},
            {"pressure": [1.0, 2.0]},
            "given: column pressure is learned as a number with decimals",
        ),
        ({"age": ("old", None)}, {}, "column age"),
    ],
)
def test_wrong_conditions_are_one_clear_error(density, event, given, message):
    with pytest.raises(TableError, match=message):
        density.probability(event, given=given)


def test_predict_needs_a_frame_or_conditions(density):
    with pytest.raises(TypeError, match="either a frame or given conditions"):
        density.predict(column="age")


def test_the_command_line_takes_ranges_sets_and_events(density, tmp_path, capsys):
    model = str(tmp_path / "m.flow")
    density.save(model)
    given = ["--given", "age=60..70", "--given", "ward=north,west"]
    main(["sample", model, "-n", "50", *given])
    lines = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    assert {line[1] for line in lines} == {"north", "west"}
    assert all(60 <= int(line[0]) <= 70 for line in lines)
    main(["probability", model, "pressure=..140", "--given", "age=60.."])
    head, line = capsys.readouterr().out.splitlines()
    assert head == "probability,standard_error"
    expected = density.probability({"pressure": (None, 140)}, given={"age": (60, None)})
    assert float(line.split(",")[0]) == pytest.approx(expected.probability, rel=1e-5)
    main(["predict", model, "--column", "pressure", *given])
    assert capsys.readouterr().out.splitlines()[0] == "mean,sd,q0.05,q0.5,q0.95,effective_draws"
    with pytest.raises(SystemExit, match="either a table or --given"):
        main(["predict", model, "--column", "pressure"])


def test_a_known_value_of_the_predicted_column_is_refused(density):
    with pytest.raises(UserError, match="given: age is predicted; leave it out, or give a range"):
        density.predict(column="age", given={"age": 30.0})


def test_a_probability_without_a_draw_of_positive_weight_is_rough(density, monkeypatch, capsys):
    array = density._array
    impossible = Posterior.of(np.zeros((5, 3)), np.full((5, 2), -INF), np.full(2, 0.5))
    assert (impossible.effective, impossible.error) == (0, INF)
    monkeypatch.setattr(array, "posteriors", lambda *_: [(0, impossible)])
    found = density.probability({"age": (30, 40)})
    assert found.error == INF
    assert "the probability is rough" in capsys.readouterr().err
