"""Answers under constraints, near and far from the table, against sums, grids and large samples.

Each expected value is computed here, from log-densities of complete rows, from draws, or in closed
form. No code that answers the question takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import dequantised, learned, short_recipe
from scipy import stats
from scipy.special import log_ndtr, logsumexp

import flows
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.parsing import from_user
from flows.tables.columns.schema import Schema

QUICK = {"recipe": short_recipe()}  # of so few steps that densities are smooth far away
JOINT = {**QUICK, "couplings": 2, "hidden": 8}
LEVELS = (0.05, 0.5, 0.95)
DAY = pd.Timedelta("1D")

pytestmark = pytest.mark.slow


def fit(frame: pd.DataFrame, **how: Any) -> flows.Density:
    """Return the density of a frame after a short fit of two members."""
    own = {"settings": QUICK} if "target" in how else {"settings": JOINT, "mixtures": 0}
    return flows.fit(frame, **{"members": 2, **own, **how})


def trained(frame: pd.DataFrame, kinds: dict[str, str], require: list[str]) -> flows.Density:
    """Return the density of numbers under networks without margins and whitening.

    So it is smooth very far from the table.
    """
    rows = learned(from_user(frame, kinds), kinds)
    maps = ColumnMaps(rows.columns)
    networks = flows.build(flows.NSF(couplings=4, hidden=16), (2,), members=2, to_real=maps)
    points = dequantised(rows.columns, rows.values)
    population = flows.train(networks, points, settings=flows.TrainingSettings(epochs=60))
    return flows.Density(population, replace(rows.schema, require=tuple(require)))


# Expected values


@dataclass
class Expected:
    """The distribution of one column, from the densities of complete rows.

    Args:
        values: values of the column ``(n,)``, sorted.
        weights: their probabilities ``(n,)``.
        log_mass: the logarithm of the total mass: the log-density of the other values.
    """

    values: Array
    weights: Array
    log_mass: float

    @classmethod
    def of(cls, values: Array, log_weights: Array) -> Expected:
        """Return the distribution of weighted values in any order."""
        order, log_mass = np.argsort(values), float(logsumexp(log_weights))
        return cls(values[order], np.exp(log_weights - log_mass)[order], log_mass)

    @property
    def mean(self) -> float:
        return float(self.weights @ self.values)

    @property
    def sd(self) -> float:
        return float(np.sqrt(self.weights @ (self.values - self.mean) ** 2))

    def up_to(self, x: float) -> float:
        """Return the probability of values of at most ``x``."""
        return float(self.weights[self.values <= x].sum())

    def quantile(self, level: float) -> float:
        return float(self.values[np.searchsorted(self.weights.cumsum(), level)])


def log_density(density: flows.Density, name: str, values: Any, known: Any) -> Array:
    """Return the log-densities of rows with each value of a column, and known other values."""
    return density.log_prob(pd.DataFrame({**known, name: values}))


def lattice(density: flows.Density, name: str, values: Any, known: Any) -> Expected:
    """Return the distribution of a discrete column, from a sum over its values."""
    found = log_density(density, name, values, known)
    return Expected.of(numbers(pd.Series(values)), found)


def cells(density: flows.Density, name: str, values: Any, known: Mapping[str, float]) -> Expected:
    """Return the distribution of whole numbers, from integrals over the noise.

    The density of the members is integrated over the cell of each number that the constraints
    allow. The density of complete rows has another factor, which one row tells.
    """
    values = np.asarray(values, np.float64)
    found = log_density(density, name, values, known)
    values, found = values[np.isfinite(found)], found[np.isfinite(found)]
    noise = (np.arange(128) + 0.5) / 128 - 0.5

    def ensemble(x: Array) -> Array:
        rows = np.column_stack(
            [x if each == name else np.full(len(x), known[each]) for each in density.schema.learned]
        )
        log_q = density.population.score(rows)
        return np.asarray(logsumexp(log_q, axis=1, b=density.population.member_weights.numpy()))

    factor = (found - ensemble(values))[found.argmax()]
    inside = ensemble((values[:, None] + noise).ravel()).reshape(len(values), -1)
    return Expected.of(values, logsumexp(inside, axis=1) - np.log(len(noise)) + factor)


def curve(density: flows.Density, name: str, grids: list[Array], known: Any) -> Expected:
    """Return the distribution of a number, from a trapezoidal rule.

    Steps that hold more than 1/500 of the mass are divided. Draws are further values, so that no
    narrow peak lies between two values; they tell only where to look.

    Args:
        density: the density.
        name: the column.
        grids: values in each interval that meets the constraints, with its ends.
        known: the other values.
    """
    with suppress(UserError):
        drawn = density.sample(100, given=known)[name].to_numpy()
        inside = [drawn[(grid.min() <= drawn) & (drawn <= grid.max())] for grid in grids]
        grids = [np.append(*each) for each in zip(grids, inside, strict=True)]
    grids = [np.unique(grid) for grid in grids]
    found = [log_density(density, name, grid, known) for grid in grids]
    for _ in range(20):
        steps = [
            np.logaddexp(log_q[1:], log_q[:-1]) + np.log(np.diff(grid) / 2)
            for grid, log_q in zip(grids, found, strict=True)
        ]
        most, fresh = logsumexp(np.concatenate(steps)) - np.log(500), 0
        for k, (grid, step) in enumerate(zip(grids, steps, strict=True)):
            parts = grid[:-1, None] + np.diff(grid)[:, None] * [0.25, 0.5, 0.75]
            new = parts[step > most].ravel()
            grids[k], places = np.unique(np.concatenate([grid, new]), return_index=True)
            both = np.concatenate([found[k], log_density(density, name, new, known)])
            found[k], fresh = both[places], fresh + len(new)
        if not fresh:
            break
    weights = [np.diff(grid, prepend=grid[0]) + np.diff(grid, append=grid[-1]) for grid in grids]
    log_weights = np.concatenate(found) + np.log(np.concatenate(weights) / 2)
    return Expected.of(np.concatenate(grids), log_weights)


def away(start: float, largest: float, count: int = 100) -> Array:
    """Return values above ``start``, or below for a negative largest distance, denser nearby."""
    parts = [0], np.geomspace(1e-6, 1, count), np.linspace(0.01, 1, 5 * count)
    return start + largest * np.concatenate(parts)


def plane(
    density: flows.Density, row: Callable[[Array, Array], Mapping[str, Any]], largest: float = 32
) -> tuple[pd.DataFrame, Array, float]:
    """Return rows on a grid of two positive gaps, their probabilities, and the log of the mass.

    Args:
        density: the density.
        row: returns the columns of the rows, given the two gaps of each.
        largest: the largest gap.
    """
    nodes, node_weights = np.polynomial.legendre.leggauss(6)
    ends = np.array(
        [0, 1e-3, 0.01, 0.1, 0.3, 0.6, 1, 1.5, *range(2, 9), *range(10, 18, 2), 20, 25, 32]
    )
    ends = ends[ends <= largest]
    width = np.diff(ends)[:, None]
    x, w = (ends[:-1, None] + width * (nodes + 1) / 2).ravel(), (width * node_weights / 2).ravel()
    frame = pd.DataFrame(row(x.repeat(len(x)), np.tile(x, len(x))))
    log_p = density.log_prob(frame) + np.log(np.outer(w, w).ravel())
    log_mass = float(logsumexp(log_p))
    return frame, np.exp(log_p - log_mass), log_mass


# Comparisons


def numbers(column: pd.Series) -> Array:
    """Return a column as numbers, dates as days since 2000."""
    is_date = column.dtype.kind == "M"
    found = (column - pd.Timestamp("2000-01-01")) / DAY if is_date else column
    return found.to_numpy(np.float64)


def compare(
    density: flows.Density,
    name: str,
    known: Mapping[str, Any],
    expected: Expected,
    meets: Callable[[pd.DataFrame], Any],
    *,
    tolerance: float = 0.01,
    has_mean: bool = False,
    n: int = 400,
) -> None:
    """Compare the answers about one unknown column with its expected distribution.

    Args:
        density: the density.
        name: the unknown column.
        known: the known values.
        expected: the distribution.
        meets: tells which rows meet the constraints.
        tolerance: of log-densities, in nats.
        has_mean: whether the values are near the table, so that predictions have a mean.
        n: the number of draws.
    """
    mass = 0.0  # of a target given the other columns
    if not density.targets:
        mass = density.log_prob(pd.DataFrame({**known, name: [None]})).item()
    assert expected.log_mass == pytest.approx(mass, abs=tolerance)
    predicted = density.predict(given=known, column=name, quantiles=LEVELS)
    for level in LEVELS:
        [x], small = numbers(predicted[f"q{level:g}"]), 1e-6 * expected.sd
        assert expected.up_to(x - small) - 0.02 <= level <= expected.up_to(x + small) + 0.02
    if has_mean:
        [mean], near = numbers(predicted["mean"]), max(0.05, 0.005 * abs(expected.mean))
        assert mean == pytest.approx(expected.mean, abs=min(near, 0.05 * expected.sd))
        assert predicted["sd"].item() == pytest.approx(expected.sd, rel=0.1)
    drawn = density.sample(n, given=known)
    assert np.all(meets(drawn))
    for level in LEVELS:
        x = expected.quantile(level)
        p, share = min(expected.up_to(x), 1.0), np.mean(numbers(drawn[name]) <= x)
        assert share == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / n) + 0.01)


# Counts


@pytest.fixture(scope="module")
def usage() -> flows.Density:
    rng = np.random.default_rng(0)
    cap = rng.integers(5, 51, 300)
    frame = pd.DataFrame({"cap": cap, "used": rng.binomial(cap, 0.6)})
    kinds = dict.fromkeys(frame, "integer")
    how: Any = {"target": "used", "columns": kinds, "settings": {"recipe": short_recipe()}}
    return fit(frame, require=["used <= cap"], **how)


@pytest.mark.parametrize("cap", [-100, -20, 20, 200])
def test_a_target_has_mass_1_below_its_limit_at_any_limit(usage: flows.Density, cap: int) -> None:
    rows = pd.DataFrame({"cap": cap, "used": np.arange(cap - 400, cap + 3)})
    found = usage.log_prob(rows)
    assert np.isneginf(found[-2:]).all()
    assert np.isfinite(found[-40:-2]).all()
    assert np.exp(found).sum() == pytest.approx(1, abs=0.01)
    expected = Expected.of(numbers(rows["used"]), found)
    how: Any = {"has_mean": -50 < cap < 100}
    compare(usage, "used", {"cap": cap}, expected, lambda drawn: drawn["used"] <= cap, **how)


def test_a_possible_row_far_from_the_table_has_a_finite_score(usage: flows.Density) -> None:
    rows = pd.DataFrame({"cap": [-20, -100, -20], "used": [-21, -101, -60]})
    assert np.isfinite(usage.log_prob(rows)).all()
    tails = usage.tail_probability(rows)
    assert ((tails > 0) & (tails <= 1)).all()
    assert tails[2] < 0.02
    assert np.isfinite(usage.surprise(rows)["used"]).all()


@pytest.fixture(scope="module")
def counts() -> flows.Density:
    rng = np.random.default_rng(1)
    a = rng.poisson(4, 300)
    frame = pd.DataFrame({"a": a, "b": a + rng.poisson(3, 300)})
    return trained(frame, {"a": "count", "b": "count"}, ["a <= b"])


@pytest.mark.parametrize("a", [40, 30, 5])
def test_answers_about_a_count_are_sums_over_its_values(counts: flows.Density, a: int) -> None:
    b = np.arange(a, a + 400)
    row = pd.DataFrame({"a": [a], "b": [a + 1]})
    whole, exact = counts.log_prob(row).item(), cells(counts, "b", b, {"a": a})
    assert np.isfinite(whole)
    # Densities of complete rows are those of the centres of cells
    assert exact.log_mass == pytest.approx(lattice(counts, "b", b, {"a": a}).log_mass, abs=0.02)
    given = counts.log_prob(row, given=["a"]).item()
    assert given == pytest.approx(whole - exact.log_mass, abs=0.01)
    assert np.isfinite(counts.surprise(row)).all(axis=None)
    how: Any = {"has_mean": a == 5}
    compare(counts, "b", {"a": a}, exact, lambda drawn: a <= drawn["b"], **how)


@pytest.fixture(scope="module")
def positive() -> flows.Density:
    rng = np.random.default_rng(0)
    x = np.exp(rng.normal(0, 1.2, 300))
    frame = pd.DataFrame({"x": x, "y": x * np.exp(abs(rng.normal(0, 0.5, 300)))})
    return fit(frame, columns={"x": "positive", "y": "positive"}, require=["x <= y"])


@pytest.mark.parametrize("x", [1e-6, 1.0, 1e3, 1e-9, 30.0, 1e6])
def test_positive_columns_are_integrated_at_any_distance(positive: flows.Density, x: float) -> None:
    exact = curve(positive, "y", [x * np.exp(away(0, 40))], {"x": x})
    rows = pd.DataFrame({"x": x, "y": x * np.array([1, 1 + 1e-9, 1.2, 3, 1e3, 1e9])})
    given = positive.log_prob(rows, given=["x"])
    np.testing.assert_allclose(given, positive.log_prob(rows) - exact.log_mass, atol=0.01)
    compare(positive, "y", {"x": x}, exact, lambda drawn: drawn["y"] >= x)


# Several targets


@pytest.fixture(scope="module")
def two_targets() -> flows.Density:
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    a = np.minimum(x + 0.5 * rng.normal(size=300), 3.5)
    frame = pd.DataFrame({"x": x, "a": a, "b": np.minimum(a + rng.exponential(1, 300), 4)})
    return fit(frame, target=["a", "b"], require=["a <= b", "b <= 4"])


@pytest.mark.parametrize("x", [4.0, 0.0, 2.0])
def test_answers_about_two_targets_agree_with_a_grid(two_targets: flows.Density, x: float) -> None:
    def row(below: Array, gap: Array) -> dict[str, Any]:
        return {"x": x, "a": 4 - below - gap, "b": 4 - below}

    frame, p, log_mass = plane(two_targets, row, 5 if x == 4 else 12)
    _, error = two_targets.log_prob_and_error(frame[-1:])
    assert np.exp(log_mass) == pytest.approx(1, abs=max(0.01, 3 * error.item()))
    n, expected = 2_000, p[frame["b"] > 3].sum()
    deviation = np.sqrt(expected * (1 - expected) / n)
    drawn = two_targets.sample(n, given={"x": x})
    assert ((drawn["a"] <= drawn["b"]) & (drawn["b"] <= 4)).all()
    assert (drawn["b"] > 3).mean() == pytest.approx(expected, abs=4 * deviation + 0.005)
    found = two_targets.probability({"b": (3, None)}, given={"x": x})
    assert abs(found.probability - expected) < 4 * found.integration_error + 0.01 * expected
    predicted = two_targets.predict(given={"x": x}).iloc[0]
    for name in ("a", "b"):
        mean, sd = p @ frame[name], np.sqrt(p @ frame[name] ** 2 - (p @ frame[name]) ** 2)
        assert predicted[f"{name}_mean"] == pytest.approx(mean, abs=4 * sd / np.sqrt(1_000) + 0.005)
        assert predicted[f"{name}_sd"] == pytest.approx(sd, rel=0.15)
        assert drawn[name].mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(n) + 0.005)


@pytest.mark.parametrize("require", [[], ["b <= 8"]])
def test_an_event_of_the_second_target_alone_agrees_with_draws(require: list[str]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=80)
    a = x + 2 * rng.normal(size=80)
    frame = pd.DataFrame({"x": x, "a": a, "b": np.minimum(a + 0.5 * rng.normal(size=80), 8)})
    density = fit(frame, target=["a", "b"], require=require)
    n, known = 5_000, {"x": -2.0}
    drawn = density.sample(n, given=known)["b"]
    low = float(drawn.quantile(0.3))
    parts = [density.probability({"b": part}, given=known) for part in ((None, low), (low, None))]
    for found, share in zip(parts, (0.3, 0.7), strict=True):
        error = np.hypot(found.integration_error, np.sqrt(0.21 / n))
        assert found.probability == pytest.approx(share, abs=4 * error)
    error = np.hypot(*(found.integration_error for found in parts))
    assert sum(found.probability for found in parts) == pytest.approx(1, abs=4 * error)


# Further forms of constraints


@cache
def stays(target: str | None = None) -> flows.Density:
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2020-01-01") + rng.integers(0, 700, 300) * DAY
    end = start + np.minimum(rng.poisson(20, 300), 30) * DAY
    require = ["start <= end", "end - start <= 30"]
    return fit(pd.DataFrame({"start": start, "end": end}), target=target, require=require)


@pytest.mark.parametrize("target", [None, "end"])
@pytest.mark.parametrize("start", ["2015-01-01", "2020-06-01", "2100-01-01"])
def test_the_difference_of_dates_is_limited(target: str | None, start: str) -> None:
    density, first = stays(target), pd.Timestamp(start)
    exact = lattice(density, "end", pd.date_range(first, periods=31), {"start": first})

    def meets(drawn: pd.DataFrame) -> Any:
        return ((drawn["end"] - first) / DAY).between(0, 30)

    assert np.isneginf(density.log_prob(pd.DataFrame({"start": first, "end": [first + 31 * DAY]})))
    compare(density, "end", {"start": first}, exact, meets)


@cache
def bonuses(target: str | None = None) -> flows.Density:
    rng = np.random.default_rng(0)
    income = np.exp(rng.normal(10, 0.5, 300))
    frame = pd.DataFrame({"income": income, "bonus": income * rng.beta(2, 3, 300) / 2})
    kinds = {"income": "positive", "bonus": "positive"}
    require = ["bonus <= 0.5 * income"]
    if target is None:
        return trained(frame, kinds, require)
    return fit(frame, target=target, columns=kinds, require=require)


@pytest.mark.parametrize(
    ("target", "income"),
    [
        (None, 1.0),
        (None, 1e5),  # further above, the density of networks has needles
        (None, 2e4),
        (None, 100.0),
        ("bonus", 1.0),
        ("bonus", 1e6),
        ("bonus", 2e4),
    ],
)
def test_a_share_of_another_column_is_the_limit(target: str | None, income: float) -> None:
    density, most = bonuses(target), income / 2
    exact = curve(density, "bonus", [most * np.exp(-away(0, 30))], {"income": income})
    compare(density, "bonus", {"income": income}, exact, lambda drawn: drawn["bonus"] <= most)


@pytest.mark.parametrize("bonus", [3e5, 10.0, 5_000.0])
def test_a_limited_column_is_a_lower_limit_of_the_other(bonus: float) -> None:
    exact = curve(bonuses(), "income", [2 * bonus * np.exp(away(0, 20))], {"bonus": bonus})

    def meets(drawn: pd.DataFrame) -> Any:
        return bonus <= 0.5 * drawn["income"]

    compare(bonuses(), "income", {"bonus": bonus}, exact, meets)


@cache
def wards(target: str | None = None) -> flows.Density:
    rng = np.random.default_rng(0)
    ward = rng.choice(["north", "south"], 300)
    age = np.where(ward == "north", rng.integers(18, 66, 300), rng.integers(0, 100, 300))
    frame = pd.DataFrame({"ward": ward, "age": age, "z": age + 10 * rng.normal(size=300)})
    require = ["ward != 'north' or 18 <= age <= 65"]
    return fit(frame, target=target, columns={"age": "integer"}, require=require)


@pytest.mark.parametrize("target", [None, "age"])
@pytest.mark.parametrize("z", [-150.0, 40.0, 300.0])
def test_a_label_limits_a_number(target: str | None, z: float) -> None:
    density, ages = wards(target), np.arange(-400, 600)
    of_ward = {}
    for ward in ("north", "south"):
        known = {"ward": ward, "z": z}
        of_ward[ward] = lattice(density, "age", ages, known)

        def meets(drawn: pd.DataFrame, ward: str = ward) -> Any:
            return drawn["age"].between(18, 65) | (ward != "north")

        compare(density, "age", known, of_ward[ward], meets)
    if target is None:
        log_p = np.array([each.log_mass for each in of_ward.values()])
        predicted = density.predict(given={"z": z}, column="ward").iloc[0]
        shares = np.exp(log_p - logsumexp(log_p))
        np.testing.assert_allclose(predicted[["north", "south"]], shares, rtol=0.4, atol=0.12)


@pytest.mark.parametrize("target", [None, "ward"])
def test_a_number_limits_a_label(target: str | None) -> None:
    density = wards(target)
    rows = pd.DataFrame({"age": [17, 18, 40, 65, 66, 500], "z": 40.0})
    both = [density.log_prob(rows.assign(ward=ward)) for ward in ("north", "south")]
    assert np.isneginf(both[0]).tolist() == [True, False, False, False, True, True]
    total = logsumexp(both, axis=0)
    found = density.predict(rows, "ward")[["north", "south"]].T
    np.testing.assert_allclose(found, np.exp(both - total), atol=1e-6)
    mass = 0 if target else density.log_prob(rows.assign(ward=None))
    np.testing.assert_allclose(total, mass, atol=1e-6)


@cache
def of_values(*values: int, target: str | None = None) -> flows.Density:
    """Return the density of a count with only these values, and a number."""
    rng = np.random.default_rng(0)
    x = rng.choice(values, 300)
    frame = pd.DataFrame({"x": x, "y": x + np.ptp(values) / 4 * rng.normal(size=300)})
    require = [" or ".join(f"x == {value}" for value in values)]
    return fit(frame, target=target, columns={"x": "count"}, require=require)


@pytest.mark.parametrize(
    ("target", "values", "y"),
    [
        (None, (2, 5), -15.0),
        ("x", (20, 500), 260.0),
        (None, (2, 5), 3.5),
        (None, (20, 500), 2_500.0),
        ("x", (2, 5), 25.0),
        ("x", (20, 500), -1_500.0),
    ],
)
def test_a_count_that_equals_few_values_has_no_other(
    target: str | None, values: tuple[int, ...], y: float
) -> None:
    density, known = of_values(*values, target=target), {"y": y}
    exact = (cells if target is None else lattice)(density, "x", np.arange(600), known)
    compare(density, "x", known, exact, lambda drawn: drawn["x"].isin(values))
    found = density.probability({"x": values[1]}, given=known)
    expected = 1 - exact.up_to(values[0])
    assert abs(found.probability - expected) < 4 * found.integration_error + 0.01 * expected


@cache
def without_three(target: str | None = None) -> flows.Density:
    rng = np.random.default_rng(0)
    x = rng.poisson(4, 300)
    x[x == 3] = 4
    frame = pd.DataFrame({"x": x, "y": x + rng.normal(size=300)})
    return fit(frame, target=target, columns={"x": "count"}, require=["x != 3"])


@pytest.mark.parametrize(("target", "y"), [(None, 60.0), ("x", 20.0), (None, 3.0), ("x", 3.0)])
def test_a_count_that_differs_from_a_value_has_all_others(target: str | None, y: float) -> None:
    density, known = without_three(target), {"y": y}
    exact = (cells if target is None else lattice)(density, "x", np.arange(200), known)
    compare(density, "x", known, exact, lambda drawn: drawn["x"] != 3, has_mean=y == 3)


@cache
def two_intervals(target: str | None = None) -> flows.Density:
    rng = np.random.default_rng(0)
    x = rng.normal(1.5, 1.5, 400)
    x = x[(x <= 1) | (x >= 2)]
    frame = pd.DataFrame({"x": x, "y": x + rng.normal(size=len(x))})
    return fit(frame, target=target, require=["not (1 < x < 2)"])


@pytest.mark.parametrize(
    ("target", "y"),
    [
        (None, 40.0),
        ("x", 40.0),
        (None, 1.5),
        (None, -8.0),
        ("x", 1.5),
        ("x", -8.0),
    ],
)
def test_two_intervals_of_a_number_have_the_right_shares(target: str | None, y: float) -> None:
    density, known = two_intervals(target), {"y": y}
    exact = curve(density, "x", [away(1, -80), away(2, 80)], known)

    def meets(drawn: pd.DataFrame) -> Any:
        return (drawn["x"] <= 1) | (drawn["x"] >= 2)

    compare(density, "x", known, exact, meets, has_mean=y == 1.5)
    found = density.probability({"x": (1.5, None)}, given=known)
    expected = 1 - exact.up_to(1.5)
    assert abs(found.probability - expected) < 4 * found.integration_error + 0.01 * expected + 1e-6


@cache
def chain() -> flows.Density:
    rng = np.random.default_rng(0)
    a = rng.normal(size=200)
    b = a + rng.exponential(1, 200)
    frame = pd.DataFrame({"a": a, "b": b, "c": b + rng.exponential(1, 200)})
    return fit(frame, require=["a <= b <= c"])


@pytest.mark.parametrize(
    ("known", "value"),
    [("c", -8.0), ("a", -12.0), ("c", 3.0), ("c", 12.0), ("a", 6.0)],
)
def test_two_unknown_numbers_beside_a_far_one(known: str, value: float) -> None:
    density = chain()

    def row(first: Array, second: Array) -> dict[str, Any]:
        if known == "c":
            return {"a": value - first - second, "b": value - first, "c": value}
        return {"a": value, "b": value + first, "c": value + first + second}

    frame, p, log_mass = plane(density, row)
    unknown = [name for name in "abc" if name != known]
    found, error = density.log_prob_and_error(
        pd.DataFrame({name: [np.nan] for name in "abc"}).assign(**{known: value})
    )
    assert found.item() == pytest.approx(log_mass, abs=4 * error.item() + 0.01)
    assert error.item() < 0.15
    drawn = density.sample(500, given={known: value})
    assert ((drawn["a"] <= drawn["b"]) & (drawn["b"] <= drawn["c"])).all()
    for name in unknown:
        mean = p @ frame[name]
        sd = np.sqrt(p @ (frame[name] - mean) ** 2)
        predicted = density.predict(given={known: value}, column=name, quantiles=LEVELS).iloc[0]
        effective = predicted["effective_draws"]
        assert effective >= 100
        assert drawn[name].mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(effective))
        column = Expected.of(frame[name].to_numpy(), np.log(p + 1e-300))
        for level in LEVELS:
            share = column.up_to(predicted[f"q{level:g}"])
            assert share == pytest.approx(level, abs=4 * np.sqrt(0.25 / effective))


# A closed form

FIELDS = [flows.Field.parse(name, "real") for name in ("a", "b")]
CORRELATION = 0.5
DEVIATION = np.sqrt(1 - CORRELATION**2)


@cache
def gaussian() -> flows.Density:
    """Return a bivariate Gaussian, of two equal components, in which a is at most b."""
    covariances = np.array([[[1, CORRELATION], [CORRELATION, 1]]] * 2)
    population = flows.GaussianMixture(np.full(2, 0.5), np.zeros((2, 2)), covariances)
    return flows.Density(population, replace(Schema.of(FIELDS), require=("a <= b",)))


@pytest.mark.parametrize("a", [-30.0, 0.0, 12.0, 30.0])
def test_the_rest_of_a_cut_gaussian_is_that_of_the_closed_form(a: float) -> None:
    start = a * DEVIATION / (1 + CORRELATION)  # (a - r a) / sqrt(1 - r^2)
    b = np.array([a, a + 0.01, a + 1, a + 20])
    score = (b - CORRELATION * a) / DEVIATION
    expected = stats.norm.logpdf(score) - np.log(DEVIATION) - log_ndtr(-start)
    found = gaussian().log_prob(pd.DataFrame({"a": a, "b": b}), given=["a"])
    np.testing.assert_allclose(found, expected, atol=0.01)
    # The levels of the truncated distribution, as differences of logarithms in the upper tail
    predicted = gaussian().predict(given={"a": a}, column="b", quantiles=LEVELS).iloc[0]
    drawn = gaussian().sample(500, given={"a": a})["b"].to_numpy()
    assert (drawn >= a).all()

    def level(b: Any) -> Any:
        score = (np.asarray(b) - CORRELATION * a) / DEVIATION
        return -np.expm1(log_ndtr(-score) - log_ndtr(-start))

    for each in LEVELS:
        assert level(predicted[f"q{each:g}"]) == pytest.approx(each, abs=0.03)
    assert stats.kstest(level(drawn), "uniform").pvalue > 1e-3


# Gaps and ranges of the context


@cache
def wide() -> flows.Density:
    """Return the density of a target given 30 columns, which share a factor."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(200, 1))
    frame = pd.DataFrame(0.6 * factor + 0.8 * rng.normal(size=(200, 30)))
    frame = frame.add_prefix("x")
    frame["y"] = frame["x0"] + factor[:, 0] + 0.3 * rng.normal(size=200)
    return fit(frame, target="y", settings={"recipe": "quick"})


@pytest.mark.parametrize("x0", [3.0, 0.0])
def test_a_wide_context_with_gaps_is_averaged(x0: float) -> None:
    predicted = wide().predict(given={"x0": x0}, quantiles=LEVELS).iloc[0]
    assert predicted["effective_draws"] >= 100
    drawn = wide().sample(2_000, given={"x0": x0})
    sd = drawn["y"].std()
    assert predicted["mean"] == pytest.approx(drawn["y"].mean(), abs=4 * sd / np.sqrt(256))
    assert predicted["sd"] == pytest.approx(sd, rel=0.2)
    for level in LEVELS:
        share = (drawn["y"] <= predicted[f"q{level:g}"]).mean()
        assert share == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 200))
    for y in (0.0, 3.0):
        q = np.exp(wide().log_prob(drawn.assign(y=y)))
        own = q.std() / q.mean() / np.sqrt(len(q))
        row = pd.DataFrame({"x0": [x0], "y": [y]}).reindex(columns=list(drawn))
        found, error = wide().log_prob_and_error(row)
        assert found.item() == pytest.approx(np.log(q.mean()), abs=4 * np.hypot(own, error.item()))
        assert error.item() < 0.2


@cache
def narrow() -> flows.Density:
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    z = 0.5 * x + rng.normal(size=200)
    y = x + z + rng.exponential(1, 200)
    return fit(pd.DataFrame({"x": x, "z": z, "y": y}), target="y", require=["x + z <= y"])


def test_a_range_of_the_target_is_a_part_of_its_distribution() -> None:
    known = {"x": 0.5, "z": 1.5}
    exact = curve(narrow(), "y", [away(2, 30)], known)
    share = 1 - exact.up_to(3)
    inside = Expected.of(exact.values[exact.values > 3], np.log(exact.weights[exact.values > 3]))
    found = narrow().probability({"y": (3, None)}, given=known)
    assert found.probability == pytest.approx(share, abs=4 * found.integration_error + 0.01)
    drawn = narrow().sample(1_000, given={**known, "y": (3, None)})["y"]
    assert (drawn >= 3).all()
    error = 4 * inside.sd / np.sqrt(1_000)
    assert drawn.mean() == pytest.approx(inside.mean, abs=error + 0.005)
    predicted = narrow().predict(given={**known, "y": (3, None)}).iloc[0]
    error = 4 * inside.sd / np.sqrt(predicted["effective_draws"])
    assert predicted["mean"] == pytest.approx(inside.mean, abs=error + 0.005)


def test_a_range_of_the_context_weights_its_completions() -> None:
    """Draws with x above 1 among draws under a range that holds all x are draws given x > 1."""
    drawn = narrow().sample(2_000, given={"x": (-50, 50)})
    chosen = drawn[drawn["x"] > 1]
    given = narrow().sample(500, given={"x": (1, None)})
    assert (given["x"] >= 1).all()
    assert (given["x"] + given["z"] <= given["y"]).all()
    for name in drawn:
        assert stats.ks_2samp(chosen[name], given[name]).pvalue > 1e-3
    predicted = narrow().predict(given={"x": (1, None)}).iloc[0]
    error = chosen["y"].std() * np.sqrt(1 / predicted["effective_draws"] + 1 / len(chosen))
    assert predicted["mean"] == pytest.approx(chosen["y"].mean(), abs=4 * error)
    assert predicted["sd"] == pytest.approx(chosen["y"].std(), rel=0.25)
    found = narrow().probability({"y": (3, None)}, given={"x": (1, None)})
    share = (chosen["y"] >= 3).mean()
    error = np.hypot(found.integration_error, np.sqrt(share * (1 - share) / len(chosen)))
    assert found.probability == pytest.approx(share, abs=4 * error)


def test_a_range_of_both_is_a_part_of_draws() -> None:
    both: Any = {"x": (1, None), "y": (3, 6)}
    drawn = narrow().sample(4_000, given={"x": (1, None)})
    chosen = drawn[drawn["y"].between(3, 6)]
    given = narrow().sample(1_000, given=both)
    assert given["y"].between(3, 6).all()
    for name in drawn:
        assert stats.ks_2samp(chosen[name], given[name]).pvalue > 1e-3
