"""The probability of labels: densities integrated over the cells of categories."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import SHORT_RECIPE, field
from scipy.stats import multivariate_normal, norm

import flows
from flows.conditionals import labels
from flows.density.array_density import ArrayDensity
from flows.networks.population import chunked_log_prob
from flows.tables import cells
from flows.tables.field import Field

QUICK = {"recipe": "fixed", "epochs": 30, "couplings": 2, "hidden": 8}


def category(count: int) -> Field:
    return field("label", "category", step=1.0, labels=tuple(range(count)))


def test_labels_of_a_normal_density_have_normal_probabilities():
    def log_density(rows: np.ndarray) -> np.ndarray:
        return norm.logpdf(rows, loc=[[2.0]], scale=[[1.5]])

    codes = np.arange(5.0)[:, None]
    found = np.exp(labels.log_probability(log_density, [category(5)], codes))[:, 0]
    expected = np.diff(norm.cdf([-np.inf, 0.5, 1.5, 2.5, 3.5, np.inf], 2.0, 1.5))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_probabilities_of_two_independent_categories_are_a_product():
    covariance = [[1.0, 0.6], [0.6, 1.0]]
    law = multivariate_normal([1.0, 1.0], covariance)
    codes = np.stack(np.meshgrid([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]), axis=-1).reshape(-1, 2)
    columns = [category(3), category(3)]
    found = np.exp(labels.log_probability(lambda rows: law.logpdf(rows)[:, None], columns, codes))
    edges = np.array([-10.0, 0.5, 1.5, 10.0])
    low, high = edges[codes.astype(int)], edges[codes.astype(int) + 1]
    expected = [law.cdf(above, lower_limit=below) for below, above in zip(low, high, strict=True)]
    np.testing.assert_allclose(found[:, 0], expected, rtol=0.02)
    assert abs(found.sum() - 1) < 0.005


@pytest.mark.parametrize("labels_each", [2, 5])
def test_probabilities_of_many_categories_are_a_product(labels_each: int):
    """The density of a column is uniform on the cells of its codes, smoothed by a normal."""
    count, deviation = 13, 0.15

    def log_density(rows: np.ndarray) -> np.ndarray:
        edges = [-0.5, labels_each - 0.5]
        below, above = (norm.cdf((rows - edge) / deviation) for edge in edges)
        return np.log((below - above) / labels_each + 1e-300).sum(axis=1, keepdims=True)

    codes = np.random.default_rng(0).integers(0, labels_each, (20, count)).astype(float)
    found = labels.log_probability(log_density, [category(labels_each)] * count, codes)
    np.testing.assert_allclose(found[:, 0], -count * np.log(labels_each), atol=0.02)


@pytest.mark.parametrize(
    ("count", "near"), [(1, 0.5), (3, 0.5), (4, 0.1**0.25), (13, 0.1 ** (1 / 13))]
)
@pytest.mark.parametrize("code", [0.0, 1.0, 2.0])
def test_concentrated_points_are_near_the_code_and_average_to_the_integral(
    count: int, near: float, code: float
):
    u = (np.arange(200_000) + 0.5) / 200_000
    x, slope = cells.concentrated(u, np.full(len(u), code), 2, count)
    assert (x.round().clip(0, 2) == code).all()
    assert (np.abs(x - code) < 0.5).mean() == pytest.approx(1.0 if code == 1 else near, abs=1e-4)
    ends = np.array([-np.inf, 0.5, 1.5, np.inf])[[int(code), int(code) + 1]]
    expected = np.diff(norm.cdf(ends, 0.7, 1.5))
    assert (norm.pdf(x, 0.7, 1.5) * slope).mean() == pytest.approx(expected[0], rel=1e-4)


@pytest.fixture(scope="module")
def density() -> flows.Density:
    """Return a density of a number and a category with 20 unordered labels."""
    rng = np.random.default_rng(0)
    labels = np.array([f"ward {letter}" for letter in "qwertzuiopasdfghjkly"])
    code = rng.integers(0, 20, 400)
    frame = pd.DataFrame({"ward": labels[code], "x": (code * 7) % 20 / 4 + rng.normal(size=400)})
    return flows.fit(frame, members=2, settings=QUICK)


def test_the_probabilities_of_twenty_labels_sum_to_the_density_of_the_rest(density):
    (column,) = [each for each in density.columns if each.kind == "category"]
    assert len(column.labels) == 20
    x = np.array([-0.5, 1.0, 4.2])
    each = [density.log_prob(pd.DataFrame({"x": x, "ward": label})) for label in column.labels]
    # A grid over the line of codes that is much finer than the cells
    angle = np.pi * ((np.arange(100_000) + 0.5) / 100_000 - 0.5)
    codes, slope = 9.5 + 5 * np.tan(angle), 5 * np.pi / np.cos(angle) ** 2
    for place, value in enumerate(x):
        rows = np.column_stack([codes, np.full(len(codes), value)])
        log_q = ArrayDensity(density.population).ensemble(
            chunked_log_prob(density.population, rows)
        )
        marginal = float((np.exp(log_q) * slope).mean())
        assert sum(np.exp(each)[:, place]) == pytest.approx(marginal, rel=1e-6)


def test_joint_draws_of_labels_have_their_probability():
    """After short training, much of the density lies beyond the codes of the labels."""
    rng, size = np.random.default_rng(0), 200
    frame = pd.DataFrame({"x": rng.normal(size=size), "a": rng.choice(list("uvw"), size)})
    frame["b"] = rng.random(size) < 0.3
    density = flows.fit(frame, members=2, settings=QUICK)
    rows = frame[:20]
    pairs = [(a, b) for a in "uvw" for b in (False, True)]
    expected = np.log(sum(np.exp(density.log_prob(rows.assign(a=a, b=b))) for a, b in pairs))
    found, error = density.log_prob_and_error(rows.assign(a=np.nan, b=np.nan))
    assert abs((found - expected) / error).mean() < 1.5


def test_labels_occur_in_samples_as_often_as_their_probability(density):
    drawn = density.sample(20_000)["ward"].value_counts(normalize=True)
    grid = np.linspace(-8, 14, 500)
    for label in ("ward a", "ward z"):
        rows = pd.DataFrame({"x": grid, "ward": label})
        expected = np.exp(density.log_prob(rows)).sum() * (grid[1] - grid[0])
        assert drawn[label] == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
def test_tail_probabilities_of_rows_with_labels_are_calibrated():
    """New rows and held-out rows are scored in the same way, with integrals over cells."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> pd.DataFrame:
        label = rng.choice(["a", "b", "c"], n)
        return pd.DataFrame({"label": label, "x": rng.normal(size=n) + (label == "c")})

    settings = {**SHORT_RECIPE, "couplings": 2, "hidden": 8}
    density = flows.fit(draw(300), members=5, settings=settings)
    tail = density.tail_probability(draw(1_000))
    for share in (0.05, 0.2, 0.5):
        assert (tail <= share).mean() == pytest.approx(share, abs=0.06)
