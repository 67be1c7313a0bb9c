"""Properties of the answers of any density, on small random tables with random constraints.

Hypothesis draws tables, rows, and how far the rows are from the table. The quick tests draw few of
them, always the same; the slow tests draw more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from helpers import short_recipe
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logsumexp

import flows
from flows.core.arrays import Array

TABLES, MORE_TABLES = 3, 60
ROWS = 80  # of a table
FIRST_DAY, DAY = pd.Timestamp("2020-01-01"), pd.Timedelta("1D")
LEVELS = (0.1, 0.5, 0.9)
LABELS = ("north", "south", "west")
NUMBERS = ("real", "positive", "interval:0:1")  # without cells
WHOLE = ("count", "integer", "date")
QUICK = {"recipe": short_recipe(10)}  # densities of so few steps are smooth far away
SMALL = {**QUICK, "couplings": 2, "hidden": 8}
MODES = ("joint", "y", "x, y")

pytestmark = pytest.mark.usefixtures("few_samples")


class Case(NamedTuple):
    """A density of a random table.

    Args:
        density: the density.
        table: the table.
        kinds: the kind of each column, by name.
        met: tells which complete rows meet the constraints.
    """

    density: flows.Density
    table: pd.DataFrame
    kinds: dict[str, str]
    met: Callable[[pd.DataFrame], Any]

    @property
    def free(self) -> list[str]:
        """The columns that have a density."""
        return self.density.targets or list(self.table)

    def rows(self, seed: int, far: float, n: int = 3) -> pd.DataFrame:
        """Return complete rows that meet the constraints, ``far`` ranges around the table."""
        rng = np.random.default_rng(seed)
        some = self.table.dropna().sample(200, replace=True, random_state=seed, ignore_index=True)
        for name, kind in self.kinds.items():
            x = scores(some[name], kind)
            spread = 0 if kind == "category" else far * np.ptp(scores(self.table[name], kind))
            some[name] = values(x + spread * rng.uniform(-1, 1, len(x)), kind)
        return some[self.met(some)][:n].reset_index(drop=True)


def scores(x: pd.Series, kind: str) -> Array:
    """Return the known values of a column on the real line."""
    x = x.dropna()
    if kind == "category":
        return x.map(LABELS.index).to_numpy(np.float64)
    if kind == "date":
        return ((x - FIRST_DAY) / DAY).to_numpy(np.float64)
    x = x.to_numpy(np.float64)
    if kind == "positive":
        return np.log(x)
    return np.log(x / (1 - x)) if kind == "interval:0:1" else x


def values(t: Array, kind: str) -> Any:
    """Return the values of a column with these scores ``(n,)``."""
    match kind:
        case "category":
            return np.array(LABELS)[np.round(t).clip(0, 2).astype(int)]
        case "date":
            return FIRST_DAY + np.round(t) * DAY
        case "positive":
            return np.exp(t.clip(-200, 200))
        case "count":
            return np.abs(np.round(t)).astype(int)
        case "integer":
            return np.round(t).astype(int)
        case "interval:0:1":
            return expit(t.clip(-30, 30))
    return t


def log_slope(t: Array, kind: str) -> Array:
    """Return log dx/dt at scores ``t`` of a column of ``NUMBERS``."""
    if kind == "interval:0:1":
        return -np.logaddexp(0, t) - np.logaddexp(0, -t)
    return t if kind == "positive" else np.zeros_like(t)


@lru_cache(MORE_TABLES)
def case(seed: int) -> Case:
    """Return the density of the table with a seed."""
    rng = np.random.default_rng(seed)
    mode, form = MODES[seed % 3], seed // 3 % 4
    kinds = {"z": "real", "w": "category", "x": "real", "y": "real"}
    kinds["x"] = str(rng.choice(NUMBERS if rng.random() < 0.5 else WHOLE))
    kinds["y"] = kinds["x"] if form < 2 else str(rng.choice([*NUMBERS, *WHOLE]))
    factor = rng.normal(size=ROWS)
    size = {"count": 2, "integer": 3, "date": 60, "category": 0.8}
    table = pd.DataFrame({"z": factor})
    for name, kind in kinds.items():
        t = (factor + rng.normal(size=ROWS)) * size.get(kind, 1)
        table[name] = values(t + (kind == "category"), kind)
    low, high = (float(end) for end in np.quantile(factor, [0.4, 0.6]))
    require: list[str] = []

    def met(rows: pd.DataFrame) -> Any:
        found = np.full(len(rows), True)
        if form == 0:
            found &= rows["x"] <= rows["y"]
        if form == 1:
            found &= (rows["w"] != "north") | (rows["x"] <= rows["y"])
        if form == 2:
            found &= ~rows["z"].between(low, high, inclusive="neither")
        return found

    if form == 0:
        require = ["x <= y"]
    elif form == 1:
        require = ["w != 'north' or x <= y"]
    elif form == 2:
        require = [f"not ({low!r} < z < {high!r})"]
    own = table[met(table)].reset_index(drop=True)
    how: Any = {"members": 2, "columns": kinds, "require": require}
    if mode != "joint":
        density = flows.fit(own, target=mode.split(", "), settings=QUICK, **how)
    elif form == 1:
        own.loc[rng.random(len(own)) < 0.2, "z"] = np.nan
        density = flows.fit(own, settings=QUICK, **how)
    else:
        density = flows.fit(own, settings=SMALL, mixtures=0, **how)
    return Case(density, own, kinds, met)


def drawn(count: int, examples: int) -> Callable[[Any], Any]:
    """Return a decorator that calls a test with random cases, rows and distances."""

    def decorate(test: Any) -> Any:
        ranges = {"table": st.integers(0, count - 1), "seed": st.integers(0, 10**6)}
        distance = st.sampled_from([0.0, 0.3, 1.0, 3.0])
        how: Any = {"max_examples": examples, "derandomize": True, "database": None}
        how["suppress_health_check"] = list(HealthCheck)
        return settings(deadline=None, print_blob=True, **how)(given(far=distance, **ranges)(test))

    return decorate


# Expected values


def density_of(case: Case, row: pd.DataFrame, name: str, x: Any) -> Array:
    """Return the log-densities of a row with other values of a column."""
    rows = row.loc[row.index.repeat(len(x))].reset_index(drop=True)
    rows[name] = x
    return case.density.log_prob(rows)


def distribution(case: Case, row: pd.DataFrame, name: str) -> tuple[Array, Array]:
    """Return scores of a column, sorted, and their log-weights, given the rest of a row.

    Labels and whole numbers are listed. Other numbers have a trapezoidal rule, whose steps are
    divided until each holds at most 1/300 of the mass.
    """
    kind = case.kinds[name]
    if kind == "category":
        return np.arange(3.0), density_of(case, row, name, list(LABELS))
    known = row.drop(columns=[name]).iloc[0].to_dict()
    near = scores(case.density.sample(50, given=known)[name], kind)
    center, width = np.median(near), np.ptp(scores(case.table[name], kind))
    if kind in WHOLE:
        low, high = np.floor(near.min() - width) - 50, np.ceil(near.max() + width) + 50
        t = np.arange(max(low, 0) if kind == "count" else low, high)
        return t, density_of(case, row, name, values(t, kind))
    limit = {"real": np.inf, "positive": 80, "interval:0:1": 30}[kind]
    t = np.append(near, center + 0.1 * width * np.sinh(np.linspace(-7, 7, 300)))
    t = np.unique(t.clip(-limit, limit))
    log_p = density_of(case, row, name, values(t, kind)) + log_slope(t, kind)
    for _ in range(15):
        step = np.logaddexp(log_p[1:], log_p[:-1]) + np.log(np.diff(t) / 2)
        split = step > logsumexp(step) - np.log(300)
        if not split.any():
            break
        new = (t[:-1, None] + np.diff(t)[:, None] * [0.25, 0.5, 0.75])[split].ravel()
        own = density_of(case, row, name, values(new, kind)) + log_slope(new, kind)
        t, places = np.unique(np.append(t, new), return_index=True)
        log_p = np.append(log_p, own)[places]
    return t, log_p + np.log((np.diff(t, prepend=t[0]) + np.diff(t, append=t[-1])) / 2)


def single(case: Case, seed: int) -> str | None:
    """Return a column whose other values may all be known, and whose distribution is listed.

    A density of complete rows is that of the centres of cells, so whole numbers of a joint density
    are left out.
    """
    if case.density.targets:
        return case.free[0] if len(case.free) == 1 else None
    names = [name for name in case.free if case.kinds[name] not in WHOLE]
    return names[seed % len(names)]


# Properties


def possible_rows_have_finite_scores(case: Case, rows: pd.DataFrame, seed: int) -> None:
    found, error = case.density.log_prob_and_error(rows)
    assert np.isfinite(found).all()
    assert ((error >= 0) & (error < 0.05)).all()  # of the probability of the constraints
    surprise = case.density.surprise(rows)
    assert np.isfinite(surprise[case.free]).all(axis=None)
    assert surprise.drop(columns=case.free).isna().all(axis=None)
    others = [name for name in rows if name not in case.density.targets]
    unknown = [name for k, name in enumerate(others) if seed >> k & 1]
    gaps = rows.assign(**dict.fromkeys(unknown))
    if len(unknown) < len(rows.columns):
        found, error = case.density.log_prob_and_error(gaps)
        assert np.isfinite(found).all()
        assert (np.isfinite(error) & (error >= 0)).all()


def impossible_rows_have_no_density(case: Case, rows: pd.DataFrame, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixed = rows.apply(lambda x: rng.permutation(x.to_numpy()))
    if case.kinds["x"] == case.kinds["y"]:
        mixed = pd.concat([mixed, rows.assign(x=rows["y"], y=rows["x"])])
    broken = np.isneginf(case.density.log_prob(mixed))
    np.testing.assert_array_equal(broken, ~case.met(mixed))
    for name in case.free:
        refused = {"positive": -1.0, "count": -1, "integer": 0.5, "interval:0:1": 2.0}
        if (x := refused.get(case.kinds[name])) is not None:
            assert np.isneginf(case.density.log_prob(rows.assign(**{name: x}))).all()
    assert not np.isnan(case.density.log_prob(mixed)).any()


def a_joint_density_is_a_product(case: Case, rows: pd.DataFrame, seed: int) -> None:
    assume(not case.density.targets)
    whole, names = case.density.log_prob(rows), list(rows)
    given = [name for k, name in enumerate(names) if (seed % 14 + 1) >> k & 1]
    rest, error = case.density.log_prob_and_error(rows[given].reindex(columns=names))
    conditional, own = case.density.log_prob_and_error(rows, given=given)
    difference = np.abs(rest + conditional - whole)
    assert (difference <= 4 * (error + own) + 1e-6).all()


def a_column_has_the_mass_of_the_rest(case: Case, rows: pd.DataFrame, seed: int) -> None:
    name = single(case, seed)
    assume(name is not None)
    row = rows[:1]
    _, log_p = distribution(case, row, name)
    expected = 0.0
    if not case.density.targets:
        expected = case.density.log_prob(row.assign(**{name: [None]})).item()
    assert logsumexp(log_p) == pytest.approx(expected, abs=0.03)


def two_targets_have_mass_1(case: Case, rows: pd.DataFrame, seed: int) -> None:
    """Below the diagonal, the scores of y are those of x and a gap, so the grid ends at x = y."""
    kinds = {case.kinds[name] for name in ("x", "y")}
    assume(len(case.free) == 2 and len(kinds) == 1 and kinds <= {"real", "positive"})
    [kind], row = kinds, rows[:1]
    drawn = case.density.sample(200, given=row[["z", "w"]].iloc[0].to_dict())
    x, y = (scores(drawn[name], kind) for name in ("x", "y"))
    total, u = 0.0, np.linspace(-4, 4, 121)
    middle, width = np.median(x), np.subtract(*np.quantile(x, [0.75, 0.25])) / 2
    gap = np.linspace(-6, np.log(10 * (y.std() + np.abs(y - x).max())), 101)
    for sign in (1, -1):
        v, s = (each.ravel() for each in np.meshgrid(u, gap))
        below = middle + width * np.sinh(v)  # denser in the middle
        above = below + sign * np.exp(s)
        grid = row.loc[row.index.repeat(len(s))].reset_index(drop=True)
        grid = grid.assign(x=values(below, kind), y=values(above, kind))
        inside = np.flatnonzero(case.met(grid))
        slope = log_slope(below, kind) + log_slope(above, kind) + s + np.log(width * np.cosh(v))
        if len(inside):
            log_p = case.density.log_prob(grid.iloc[inside]) + slope[inside]
            total += np.exp(logsumexp(log_p)) * (u[1] - u[0]) * (gap[1] - gap[0])
    error = case.density.log_prob_and_error(row)[1].item()
    assert total == pytest.approx(1, abs=0.05 + 3 * error)


def a_prediction_is_the_distribution(case: Case, rows: pd.DataFrame, seed: int) -> None:
    name = single(case, seed)
    assume(name is not None)
    row = rows[:1]
    t, log_p = distribution(case, row, name)
    p = np.exp(log_p - logsumexp(log_p))
    found = case.density.predict(row, name, quantiles=LEVELS)
    if case.kinds[name] == "category":
        np.testing.assert_allclose(found[list(LABELS)].iloc[0], p, atol=1e-3)
        return
    for level in LEVELS:
        [x] = scores(found[f"q{level:g}"], case.kinds[name])
        small = 1e-9 * (1 + abs(x))
        assert p[t < x - small].sum() - 0.03 <= level <= p[t <= x + small].sum() + 0.03


def draws_agree_with_predictions(case: Case, rows: pd.DataFrame, seed: int) -> None:
    unknown = case.density.targets or [list(rows)[seed % 4], list(rows)[(seed // 4 + 1) % 4]]
    known = rows.iloc[0].drop(unknown).to_dict()
    n = 300
    drawn = case.density.sample(n, given=known)
    assert case.met(drawn).all()
    for name in unknown:
        found = case.density.predict(pd.DataFrame([known]), name, quantiles=LEVELS)
        effective = found["effective_draws"].fillna(1e4).item()
        error = 4 * np.sqrt(0.25 / n + 0.25 / effective) + 0.03
        own = drawn[name]
        if case.kinds[name] == "category":
            for label in LABELS:
                assert (own == label).mean() == pytest.approx(found[label].item(), abs=error)
            continue
        t = scores(own, case.kinds[name])
        for level in LEVELS:
            [x] = scores(found[f"q{level:g}"], case.kinds[name])
            small = 1e-9 * (1 + abs(x))
            assert np.mean(t < x - small) - error <= level <= np.mean(t <= x + small) + error


def a_set_and_its_complement_have_probability_1(case: Case, rows: pd.DataFrame, seed: int) -> None:
    name, kind = case.free[-1], case.kinds[case.free[-1]]
    known = rows.iloc[0].to_dict()
    given: Any = {each: x for each, x in known.items() if each not in case.free}
    if not case.density.targets:
        name = ("w", "x", "y")[seed % 3]
        kind, given = case.kinds[name], {"z": known["z"]}
    parts: Any = [known[name]], [label for label in LABELS if label != known[name]]
    if kind in NUMBERS:
        parts = (None, known[name]), (known[name], None)
    elif kind in WHOLE:
        step = DAY if kind == "date" else 1
        parts = (None, known[name]), (known[name] + step, None)
    found = [case.density.probability({name: part}, given=given) for part in parts]
    total, error = (
        sum(each.probability for each in found),
        [each.integration_error for each in found],
    )
    assert np.isfinite(error).all()
    assert total == pytest.approx(1, abs=4 * np.hypot(*error) + 1e-9)


def a_value_has_at_most_the_probability_of_all(case: Case, rows: pd.DataFrame, seed: int) -> None:
    found = case.density.log_prob(rows)
    if not case.density.targets:
        assert (case.density.log_prob(rows.assign(w=None)) >= found - 1e-9).all()
    elif all(case.kinds[name] in WHOLE for name in case.free):
        assert (found <= 1e-6).all()


CHECKS = [
    possible_rows_have_finite_scores,
    impossible_rows_have_no_density,
    a_joint_density_is_a_product,
    a_column_has_the_mass_of_the_rest,
    two_targets_have_mass_1,
    a_prediction_is_the_distribution,
    draws_agree_with_predictions,
    a_set_and_its_complement_have_probability_1,
    a_value_has_at_most_the_probability_of_all,
]


# At any distance; others compare estimates with grids, which both miss mass far outside
AT_ANY_DISTANCE = CHECKS[:2]


def ask(check: Any, table: int, seed: int, far: float) -> None:
    own, most = case(table), 3.0 if check in AT_ANY_DISTANCE else 1.0
    check(own, own.rows(seed, min(far, most)), seed)


@pytest.mark.parametrize("check", CHECKS)
@drawn(TABLES, 3)
def test_answers_about_random_tables(check: Any, table: int, seed: int, far: float) -> None:
    ask(check, table, seed, far)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
@drawn(MORE_TABLES, 40)
def test_answers_about_more_random_tables(check: Any, table: int, seed: int, far: float) -> None:
    ask(check, table, seed, far)
