"""Questions to a known density of three numbers and three columns of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import field
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from flows.core.arrays import Array
from flows.core.rows import Rows
from flows.density.frame_density import Density
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.labelled_population import LabelledPopulation
from flows.mixtures.mixture import Mixture
from flows.mixtures.truncated_mixture import BoxProposal
from flows.tables.column_maps import ColumnMaps

SIZES = (2, 3, 4)
LABELS = [f"label{j}" for j in range(3)]
NUMBERS = ["x0", "x1", "x2"]
FIELDS = [
    *(
        field(name, "category", step=1.0, labels=tuple("abcd"[:size]))
        for name, size in zip(LABELS, SIZES, strict=True)
    ),
    *map(field, NUMBERS),
]


def truth() -> Mixture:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(3, 3, 3))
    covariances = 0.4 * root @ root.transpose(0, 2, 1) + 0.2 * np.eye(3)
    shares = [rng.dirichlet(np.ones(size), 3) for size in SIZES]
    return Mixture(rng.dirichlet(np.full(3, 3)), 2 * rng.normal(size=(3, 3)), covariances, shares)


@pytest.fixture(scope="module")
def density() -> Density:
    population = LabelledPopulation(
        GaussianMixture.of(truth()), [truth().marginal(0)], [0], ColumnMaps(FIELDS), range(6)
    )
    return Density(population)


def drawn(n: int) -> tuple[pd.DataFrame, Array, Array]:
    """Return rows of the truth as a frame, as numbers and as codes."""
    rows = truth().sample_rows(n, np.random.default_rng(1))
    frame = pd.DataFrame(rows.numbers, columns=NUMBERS)
    for j, name in enumerate(LABELS):
        frame[name] = [FIELDS[j].labels[code] for code in rows.codes[:, j]]
    return frame[[*LABELS, *NUMBERS]], rows.numbers, rows.codes


def hidden(frame: pd.DataFrame, numbers: Array, codes: Array, share: float) -> Any:
    """Hide a share of the values; return the frame, the numbers and the codes."""
    gaps = np.random.default_rng(2).random(frame.shape) < share
    known = frame.astype(object).mask(gaps, None)
    known[NUMBERS] = known[NUMBERS].astype(float)
    return known, np.where(gaps[:, 3:], np.nan, numbers), np.where(gaps[:, :3], -1, codes)


def within(found: Array, expected: Array, error: Array, slack: float) -> None:
    """Check that nearly all differences are within the stated errors."""
    far = np.abs(found - expected) - slack
    assert (far <= 1.96 * error).mean() >= 0.85
    assert (far <= 5 * error + 0.03).all()


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_the_score_of_a_row_with_gaps_is_that_of_its_known_values(
    density: Density, share: float
) -> None:
    frame, numbers, codes = hidden(*drawn(60), share)
    log_q, error = density.log_prob_and_error(frame)
    within(log_q, truth().log_prob(numbers, codes), error, 0.02)


def test_the_score_given_columns_is_a_difference_of_closed_forms(density: Density) -> None:
    frame, numbers, codes = drawn(40)
    given = ["label1", "x2"]
    log_q, error = density.log_prob_and_error(frame, given=given)
    known = np.where([False, False, True], numbers, np.nan)
    of_labels = np.where([False, True, False], codes, -1)
    expected = truth().log_prob(numbers, codes) - truth().log_prob(known, of_labels)
    within(log_q, expected, error, 0.02)


def test_predicted_labels_have_exact_probabilities(density: Density) -> None:
    frame, numbers, codes = drawn(30)
    found = density.predict(frame, "label2")
    each = []
    for code in range(4):
        asked = codes.copy()
        asked[:, 2] = code
        each.append(truth().log_prob(numbers, asked))
    expected = np.exp(np.array(each) - logsumexp(each, axis=0)).T
    np.testing.assert_allclose(found[list("abcd")], expected, atol=1e-9)


def test_predicted_numbers_have_the_moments_of_the_closed_form(density: Density) -> None:
    frame, numbers, codes = drawn(30)
    unknown = np.array([False, True, False])
    found = density.predict(frame.drop(columns="label0"), "x1")
    codes = np.where([True, False, False], -1, codes)
    mean, deviation = truth().conditional(numbers, unknown, codes).moments()
    error = deviation[:, 0] / np.sqrt(np.maximum(found["effective_draws"], 1))
    within(found["mean"].to_numpy(), mean[:, 0], error, 0.02)


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
    density: Density, event: dict[str, Any], given: dict[str, Any]
) -> None:
    found = density.probability(event, given=given)
    expected = mass({**given, **event}) / mass(given)
    assert abs(found.probability - expected) < 3 * found.error + 1e-9


def mass(conditions: dict[str, Any]) -> float:
    """Return the probability of conditions; a known number has a density."""
    mixture, low, high = truth(), np.full(3, -np.inf), np.full(3, np.inf)
    row, shares = np.full(3, np.nan), np.ones(3)
    for name, value in conditions.items():
        if name in LABELS:
            j = LABELS.index(name)
            allowed = [FIELDS[j].labels.index(label) for label in value]
            shares *= mixture.shares[j][:, allowed].sum(axis=1)
        elif isinstance(value, tuple):
            d = NUMBERS.index(name)
            low[d], high[d] = (
                (-np.inf if value[0] is None else value[0]),
                (np.inf if value[1] is None else value[1]),
            )
        else:
            row[NUMBERS.index(name)] = value
    total = 0.0
    for k, weight in enumerate(mixture.weights):
        unknown, part = np.isnan(row), 1.0
        mean, covariance = mixture.means[k], mixture.covariances[k]
        if not unknown.all():
            one = Mixture(np.ones(1), mean[None], covariance[None])
            part = float(np.exp(one.log_prob(row[None])[0]))
            rest = one.conditional(row[None], unknown)
            mean, covariance = rest.means[0, 0], rest.covariances[0]
        box = multivariate_normal(mean, covariance).cdf(high[unknown], lower_limit=low[unknown])
        total += weight * shares[k] * part * float(box)
    return total


def test_samples_under_conditions_meet_them_and_have_their_frequencies(density: Density) -> None:
    given = {"label1": ["a", "b"], "x0": (0, None)}
    found = density.sample(4_000, given=given)
    assert set(found["label1"]) == {"a", "b"}
    assert (found["x0"] >= 0).all()
    expected = mass({**given, "label2": "d"}) / mass(given)
    assert (found["label2"] == "d").mean() == pytest.approx(expected, abs=0.04)


def test_imputed_labels_and_numbers_are_modes_and_medians(density: Density) -> None:
    frame, numbers, codes = drawn(25)
    filled = density.impute(frame.assign(label2=None, x0=np.nan))
    known = np.where([True, False, False], np.nan, numbers)
    each = [
        truth().log_prob(known, np.column_stack([codes[:, :2], np.full(25, c)])) for c in range(4)
    ]
    chances = np.exp(np.array(each) - logsumexp(each, axis=0))
    chosen = [FIELDS[2].labels.index(label) for label in filled["label2"]]
    assert (chances[chosen, np.arange(25)] > chances.max(axis=0) - 0.12).all()
    given = truth().conditional(
        numbers, np.array([True, False, False]), np.column_stack([codes[:, :2], np.full(25, -1)])
    )
    weights, deviations = np.exp(given.log_weights), given.factors[:, 0, 0]
    level = (weights * norm.cdf(filled[["x0"]], given.means[:, :, 0], deviations)).sum(axis=1)
    assert np.abs(level - 0.5).mean() < 0.05


def test_the_surprise_of_a_label_uses_its_exact_probability(density: Density) -> None:
    frame, *_ = drawn(20)
    found = density.surprise(frame)["label0"]
    chances = density.predict(frame, "label0")
    own = np.array([chances.loc[k, label] for k, label in enumerate(frame["label0"])])
    shares = truth().weights @ truth().shares[0]
    margin = np.array([shares["abcd".index(label)] for label in frame["label0"]])
    np.testing.assert_allclose(found, np.log((margin + 1 / 2) / 2) - np.log(own), atol=0.02)


def test_draws_of_a_box_with_sets_of_labels_have_its_density() -> None:
    rng, sets = np.random.default_rng(0), {1: np.array([0, 2])}
    nothing = Rows(np.full((1, 3), np.nan), np.full((1, 3), -1), SIZES)
    proposal = BoxProposal(truth(), nothing, {0: np.array([[0.0, np.inf]])}, sets)
    rows, log_r = proposal.draw(np.zeros(20_000, np.int64), rng)
    assert (rows.numbers[:, 0] >= 0).all()
    assert set(rows.codes[:, 1].tolist()) == {0, 2}
    weights = np.exp(truth().log_prob(rows.numbers, rows.codes) - log_r)
    expected = mass({"label1": ["a", "c"], "x0": (0, None)})
    assert weights.mean() == pytest.approx(expected, rel=0.02)
