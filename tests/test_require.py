"""Densities that constraints cut: closed forms, all questions, files and errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import SHORT_RECIPE, SHORT_WORDS, SMALL, error_message
from scipy import stats

import flows
from flows import saving
from flows.__main__ import main
from flows.core.checkpoint import CheckpointError
from flows.core.errors import UserError
from flows.tables.columns.notices import TableError
from flows.tables.columns.schema import Schema
from flows.tables.density.frame_density import Density

CORRELATION = 0.5
COVARIANCE = np.array([[1, CORRELATION], [CORRELATION, 1]])
GAUSSIAN = stats.multivariate_normal([0, 0], COVARIANCE)
FIELDS = [flows.Field.parse(name, "real") for name in ("a", "b")]


@pytest.fixture(scope="module")
def cut() -> Density:
    return gaussian("a <= b")


def gaussian(*require: str) -> Density:
    """Return a bivariate Gaussian, of two equal components, cut by constraints."""
    twice = np.zeros((2, 2)), np.stack([COVARIANCE] * 2)
    population = flows.GaussianMixture(np.full(2, 0.5), *twice)
    return Density(population, replace(Schema.of(FIELDS), require=require))


def rest_of(a: float) -> Any:
    """Return the distribution of b given a, in closed form."""
    deviation = np.sqrt(1 - CORRELATION**2)
    start = (a - CORRELATION * a) / deviation
    return stats.truncnorm(start, np.inf, CORRELATION * a, deviation)


def test_a_cut_gaussian_has_twice_its_density_inside_and_none_outside(cut: Density) -> None:
    rows = GAUSSIAN.rvs(200, random_state=0)
    inside = rows[:, 0] <= rows[:, 1]
    found = cut.log_prob(pd.DataFrame(rows, columns=["a", "b"]))
    assert np.isneginf(found[~inside]).all()
    # The probability of the constraint is 1/2, estimated from 20,000 draws
    expected = GAUSSIAN.logpdf(rows[inside]) + np.log(2)
    np.testing.assert_allclose(found[inside], expected, atol=4 * np.sqrt(1 / 20_000))


def test_the_density_of_one_column_is_that_of_the_cut_gaussian(cut: Density) -> None:
    a = np.linspace(-2, 2, 9)
    found, error = cut.log_prob_and_error(pd.DataFrame({"a": a, "b": np.nan}))
    above = stats.norm.sf(a, CORRELATION * a, np.sqrt(1 - CORRELATION**2))
    expected = stats.norm.logpdf(a) + np.log(above) - cut._array.log_mass[0]
    np.testing.assert_allclose(found, expected, atol=0.005)
    # That of the probability of the constraint, 1/2, from 20,000 draws
    np.testing.assert_allclose(error, np.sqrt(1 / 20_000), rtol=0.03)


def test_a_narrow_interval_of_one_number_is_integrated() -> None:
    narrow = gaussian("a <= b", "b <= 2")
    rows = pd.DataFrame({"a": [1.99, 1.97, 0.5, 3.0], "b": np.nan}, index=list("wxyz"))
    found = narrow.log_prob(rows)
    a = rows["a"].to_numpy()[:3]
    rest = stats.norm(CORRELATION * a, np.sqrt(1 - CORRELATION**2))
    expected = stats.norm.logpdf(a) + np.log(rest.cdf(2) - rest.cdf(a))
    np.testing.assert_allclose(found[:3], expected - narrow._array.log_mass[0], atol=0.005)
    assert np.isneginf(found[3])
    drawn = narrow.sample(50, given={"a": (1.99, None)})
    assert ((drawn["a"] <= drawn["b"]) & (drawn["b"] <= 2)).all()
    message = "^row z has no draw of the unknown values that meets the constraints$"
    with pytest.raises(TableError, match=message):
        narrow.impute(rows)


@pytest.mark.parametrize("a", [-1.0, 0.0, 1.5])
def test_draws_and_predictions_given_a_value_are_those_of_the_closed_form(
    cut: Density, a: float
) -> None:
    exact = rest_of(a)
    predicted = cut.predict(given={"a": a}, column="b", quantiles=[0.1, 0.5]).iloc[0]
    for name, expected in (
        ("mean", exact.mean()),
        ("sd", exact.std()),
        ("q0.1", exact.ppf(0.1)),
        ("q0.5", exact.median()),
    ):
        assert predicted[name] == pytest.approx(expected, abs=0.05 * exact.std()), name
    drawn = cut.sample(1_000, given={"a": a})["b"]
    assert (drawn >= a).all()
    assert stats.kstest(drawn, exact.cdf).pvalue > 1e-3


@pytest.mark.slow
def test_probabilities_of_events_are_those_of_the_cut_gaussian(cut: Density) -> None:
    found = cut.probability({"a": (0, None)})
    # P(0 < a < b) is half of P(a > 0, b > 0), which is a quarter and asin(r) / (2 pi)
    expected = 0.25 + np.arcsin(CORRELATION) / (2 * np.pi)
    assert abs(found.probability - expected) < 3 * (found.integration_error + 0.01 * expected)
    assert cut.probability({"b": (None, -1)}, given={"a": 0.0}).probability == 0


def test_samples_are_those_of_the_gaussian_that_meet_the_constraint(cut: Density) -> None:
    drawn = cut.sample(4_000, seed=1)
    assert (drawn["a"] <= drawn["b"]).all()
    expected = GAUSSIAN.rvs(20_000, random_state=1)
    expected = expected[expected[:, 0] <= expected[:, 1]]
    for d, name in enumerate(("a", "b")):
        assert stats.ks_2samp(drawn[name], expected[:, d]).pvalue > 1e-3


def paid(n: int = 200) -> pd.DataFrame:
    """Return a table with money, dates, labels and gaps that meets ``REQUIRE``."""
    rng = np.random.default_rng(0)
    income = np.round(np.exp(rng.normal(10, 0.5, n)), -1)
    bonus = np.round(income * 0.5 * rng.beta(2, 3, n), -1) * (rng.random(n) < 0.6)
    start = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 700, n), "D")
    end = start + pd.to_timedelta(rng.poisson(20, n), "D")
    ward = np.where(income > 25_000, "north", rng.choice(["south", "east"], n))
    columns = {"income": income, "bonus": bonus, "start": start, "end": end, "ward": ward}
    return pd.DataFrame(columns)


REQUIRE = ["start <= end", "bonus <= 0.5 * income", "ward == 'north' or income <= 25000"]


def met(frame: pd.DataFrame) -> bool:
    ward = (frame["ward"] == "north") | (frame["income"] <= 25_000)
    dates, money = frame["start"] <= frame["end"], frame["bonus"] <= 0.5 * frame["income"]
    return bool((ward & dates & money).all())


@pytest.fixture(scope="module")
def density() -> Density:
    return flows.fit(paid(), members=2, require=REQUIRE, settings=SHORT_RECIPE)


@pytest.fixture
def gaps() -> pd.DataFrame:
    frame = paid(20)
    frame.loc[::2, "end"], frame.loc[1::3, "ward"] = pd.NaT, None
    frame.loc[::5, "income"] = np.nan
    return frame


def test_samples_completions_and_filled_values_meet_all_constraints(
    density: Density, gaps: pd.DataFrame
) -> None:
    assert met(density.sample(2_000))
    assert met(density.sample(given=gaps))
    assert met(density.sample(100, given={"income": (20_000, 30_000)}))
    for filled in (density.impute(gaps), *density.impute(gaps, draws=3)):
        assert met(filled)
    found, error = density.log_prob_and_error(gaps)
    assert np.isfinite(found).all()
    assert np.isfinite(error).all()


def test_the_probability_of_the_constraints_is_stored_for_each_member(density: Density) -> None:
    record = density.record
    assert record is not None
    assert len(record.log_mass) == len(record.log_mass_se) == density.population.members
    assert (np.array(record.log_mass) < 0).all()
    assert "requires start <= end" in str(density)
    assert "of draws meet the constraints" in str(density)


def test_a_file_keeps_the_constraints(density: Density, tmp_path: Any) -> None:
    density.save(tmp_path / "t.flow")
    loaded = flows.load(tmp_path / "t.flow")
    assert isinstance(loaded, Density)
    assert (loaded.log_prob(paid(30)) == density.log_prob(paid(30))).all()
    assert loaded.sample(20).equals(density.sample(20))


@pytest.mark.parametrize(
    "hostile", ["__import__('os').system('touch {}')", "income.real < 1", "(lambda: 0)() < income"]
)
def test_a_hostile_file_runs_no_code(density: Density, tmp_path: Any, hostile: str) -> None:
    path, touched = tmp_path / "t.flow", tmp_path / "touched"
    schema = replace(density.schema, require=(hostile.format(touched),))
    saving.save(density.population, path, density.record, schema.to_json())
    assert "is not allowed" in error_message(flows.load, path, error=CheckpointError)
    assert not touched.exists()


@pytest.mark.slow
def test_rows_that_break_a_constraint_are_named(density: Density, capsys: Any) -> None:
    frame = paid(20)
    frame.loc[7, "end"] = frame.loc[9, "end"] = pd.Timestamp("2019-01-01")
    with pytest.raises(TableError, match=r"^row 7 breaks the constraint 'start <= end'; 2 rows"):
        flows.fit(frame, require=REQUIRE, settings=SHORT_RECIPE)
    with pytest.raises(TableError, match="row 7 breaks the constraint 'start <= end'"):
        density.predict(frame, "bonus")
    with pytest.raises(TableError, match="given: breaks the constraint"):
        density.sample(3, given={"income": 30_000, "ward": "south"})
    with pytest.raises(UserError, match="given: no draw of the unknown values meets"):
        density.sample(3, given={"income": (26_000, 30_000), "ward": "south"})
    capsys.readouterr()
    assert np.isneginf(density.log_prob(frame)).tolist() == [k in (7, 9) for k in range(20)]
    said = "2 rows break the constraint 'start <= end'; the log-density is minus infinity there\n"
    assert capsys.readouterr().err == said


def test_rows_that_are_not_learned_may_break_a_constraint() -> None:
    frame = paid(60).assign(weight=1.0)
    frame.loc[4, ["bonus", "weight"]] = 1e6, 0.0
    how: Any = {"members": 2, "settings": SHORT_RECIPE, "require": REQUIRE[1:2]}
    flows.fit(frame, SMALL, weights="weight", **how)
    with pytest.raises(TableError, match="row 4 breaks the constraint"):
        flows.fit(frame.drop(columns="weight"), SMALL, **how)


@pytest.mark.slow
def test_all_rows_that_are_learned_meet_the_constraints_and_no_other_value_matters() -> None:
    frame = paid(60)[["income", "bonus"]].assign(empty=np.nan)
    how: Any = {"members": 2, "settings": SHORT_RECIPE, "require": REQUIRE[1:2]}
    frame.loc[4, "bonus"] = 1e6
    with pytest.raises(TableError, match="row 4 breaks the constraint"):
        flows.fit(frame, SMALL, missing="drop", **how)  # the empty column is not learned
    frame = paid(60)[["income", "bonus"]].assign(other=np.arange(60) % 31 / 7)
    frame["other"] = frame["other"].astype(object)
    frame.loc[2, "other"] = "n.d."  # counts as missing
    assert flows.fit(frame, SMALL, **how).schema.require == (REQUIRE[1],)


@pytest.mark.slow
def test_a_gap_breaks_a_constraint_only_if_known_values_decide_it() -> None:
    frame = paid(60)
    frame.loc[:9, "end"] = pd.NaT
    flows.fit(frame, SMALL, require=REQUIRE[:1], members=2, settings=SHORT_RECIPE)
    frame.loc[3, "bonus"] = 1e6
    with pytest.raises(TableError, match="row 3 breaks the constraint 'end > start and bonus"):
        flows.fit(frame, require=["end > start and bonus <= 0.5 * income"])


def test_an_equation_that_no_draw_meets_is_refused() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"])
    frame["c"] = frame.max(axis=1)
    quick = {"recipe": "quick"}
    with pytest.raises(UserError, match=r"require: at most .* of the draws of a member meet"):
        flows.fit(frame, SMALL, members=2, settings=quick, require=["c == a or c == b"])


def test_constraints_are_a_list_of_texts() -> None:
    with pytest.raises(TypeError, match="require = 'a <= b': must be a list, such as"):
        flows.fit(paid(), require="a <= b")
    with pytest.raises(TableError, match="there is no column incme"):
        flows.fit(paid(), require=["incme < 4"])


def test_the_command_line_takes_constraints(tmp_path: Any, capsys: Any) -> None:
    paid(60)[["income", "bonus"]].to_csv(tmp_path / "t.csv", index=False)
    model = str(tmp_path / "t.flow")
    words = ["fit", str(tmp_path / "t.csv"), "-o", model, "--members=2", *SHORT_WORDS]
    main([*words, "--require", "bonus <= 0.5 * income", "--require", "income > 0"])
    assert "requires bonus <= 0.5 * income\nrequires income > 0" in capsys.readouterr().out
    main(["sample", model, "-n", "200", "-o", str(tmp_path / "new.csv")])
    drawn = pd.read_csv(tmp_path / "new.csv")
    assert (drawn["bonus"] <= 0.5 * drawn["income"]).all()
    with pytest.raises(SystemExit, match=r"t\.csv: row \d+ breaks the constraint 'bonus > 0'"):
        main([*words, "--require", "bonus > 0"])


# With a target, p(y | x) is normalised for each x


@pytest.fixture(scope="module")
def of_bonus() -> Density:
    frame = paid()[["income", "bonus", "ward"]]
    how: Any = {"target": "bonus", "members": 2, "settings": SHORT_RECIPE}
    return flows.fit(frame, require=["bonus <= 0.5 * income"], **how)


def test_a_target_has_mass_1_inside_the_constraint_for_each_context(of_bonus: Density) -> None:
    bonus = np.arange(0, 40_000, 10.0)
    for income, ward in ((8_000.0, "south"), (20_000.0, "east")):
        rows = pd.DataFrame({"income": income, "ward": ward, "bonus": bonus})
        found = np.exp(of_bonus.log_prob(rows))
        assert (found[bonus > 0.5 * income] == 0).all()
        assert found.sum() * 10 == pytest.approx(1, abs=0.02)


def test_predictions_and_draws_of_a_target_meet_the_constraint(of_bonus: Density) -> None:
    rows = paid(40).drop(columns=["bonus", "start", "end"])
    predicted = of_bonus.predict(rows, quantiles=[0.99])
    assert (predicted["q0.99"] <= 0.5 * rows["income"]).all()
    drawn = of_bonus.sample(given=rows)
    assert (drawn["bonus"] <= 0.5 * drawn["income"]).all()
    drawn = of_bonus.sample(200, given={"ward": "east", "bonus": (2_000, None)})
    assert (drawn["bonus"] <= 0.5 * drawn["income"]).all()
    assert (drawn["bonus"] >= 2_000).all()


@pytest.mark.slow
def test_a_context_far_outside_still_has_mass_1() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    frame = pd.DataFrame({"x": x, "y": x + abs(rng.normal(size=200))})
    how: Any = {"members": 2, "settings": SHORT_RECIPE, "require": ["x <= y"]}
    density = flows.fit(frame, target="y", **how)
    for given in (0.0, 6.0):
        y = np.linspace(given - 1, given + 20, 20_001)
        q = np.exp(density.log_prob(pd.DataFrame({"x": given, "y": y})))
        assert np.trapezoid(q, y) == pytest.approx(1, abs=0.005)
        mean = np.trapezoid(q * y, y)
        assert density.predict(given={"x": given})["mean"].item() == pytest.approx(mean, rel=0.01)


@pytest.mark.slow
def test_labels_and_several_targets_meet_constraints() -> None:
    frame, require = paid()[["income", "bonus", "ward"]], [REQUIRE[2]]
    how: Any = {"members": 2, "settings": SHORT_RECIPE, "require": require}
    predicted = flows.fit(frame, target="ward", **how).predict(frame[:40])
    rich = frame["income"][:40] > 25_000
    assert (predicted.loc[rich, "north"] == 1).all()
    assert (predicted.loc[~rich, ["east", "south"]].sum(axis=1) > 0.3).all()
    several = flows.fit(frame, target=["bonus", "ward"], **how)
    assert (several.sample(50, given={"income": 30_000})["ward"] == "north").all()
    assert np.isfinite(several.log_prob(frame[:20])).all()
