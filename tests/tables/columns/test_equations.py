"""Computed columns: which one of an equation, chains of formulas, bounds, and samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import learned, quick_fit, rng

import flows
from flows.tables.columns.notices import TableError
from flows.tables.columns.parsing import from_user

pytestmark = pytest.mark.usefixtures("few_samples")
N = 200


def wages() -> pd.DataFrame:
    """Return 200 made rows with the columns that economists add to a table."""
    r = rng(4)
    age = r.integers(18, 66, N).astype(float)
    hours, wage = r.integers(5, 60, N).astype(float), r.lognormal(2.5, 0.5, N).round(2)
    found = pd.DataFrame({"age": age, "agesq": age**2, "hours": hours, "wage": wage})
    found = found.assign(lwage=np.log(wage).round(5), pay=(hours * wage).round(2))
    return found.assign(lpay=np.log(found.pay), total=found.pay + found.age, x=r.normal(size=N))


def formulas(frame, **options):
    schema = learned(from_user(frame, {}), **options).schema
    return {each.name: each.formula for each in schema.carried}


def test_formulas_may_need_each_other():
    expected = {
        "agesq": "age^2",
        "lwage": "log(wage)",
        "pay": "hours * wage",
        "lpay": "log(pay)",
        "total": "age + pay",
    }
    for seed in range(5):
        frame = wages()
        frame = frame[rng(seed).permutation([*frame])]
        assert {**formulas(frame), "total": "age + pay"} == expected


def test_samples_filled_gaps_and_files_keep_all_formulas(tmp_path):
    density = quick_fit(wages())
    density.save(tmp_path / "wages.flow")
    again = flows.load(tmp_path / "wages.flow")
    assert again.sample(50).equals(density.sample(50))
    gaps = wages().head(20)
    gaps.loc[3, ["age", "agesq", "total", "pay", "lpay"]] = np.nan
    gaps.loc[5, ["hours", "pay", "lpay", "total"]] = np.nan
    filled = density.impute(gaps)
    for frame in (density.sample(1_000), filled):
        assert (frame.agesq == frame.age**2).all()
        np.testing.assert_allclose(frame.lwage, np.log(frame.wage).round(5), atol=1e-12)
        np.testing.assert_allclose(frame.pay, (frame.hours * frame.wage).round(2), atol=1e-9)
        pay = frame.pay.where(frame.pay > 0)  # the logarithm of 0 is a gap
        np.testing.assert_allclose(frame.lpay, np.log(pay), rtol=1e-12)
        np.testing.assert_allclose(frame.total, frame.pay + frame.age, rtol=1e-12)


def test_a_value_without_its_formula_is_counted(capsys):
    density = quick_fit(wages())
    capsys.readouterr()
    density.log_prob(wages().head(9).assign(agesq=lambda frame: frame.agesq + (frame.index < 2)))
    assert "column agesq differs from age^2 in 2 rows" in capsys.readouterr().err


def test_a_function_without_a_value_is_missing_in_samples():
    hours = rng().poisson(1.5, N).astype(float)
    frame = pd.DataFrame({"n": rng(1).poisson(20, N) + 11.0, "hours": hours})
    frame["rate"] = (frame.n / frame.hours.where(hours > 0)).round(3)
    density = quick_fit(frame)
    assert [each.formula for each in density.schema.carried] == ["n / hours"]
    drawn = density.sample(1_000)
    assert (drawn.rate.isna() == (drawn.hours == 0)).all()
    assert np.isfinite(drawn.rate.dropna()).all()


@pytest.mark.parametrize(
    ("age", "kinds", "require"),
    [
        (
            rng().integers(18, 66, N),
            {"age": "count", "agesq": "integer:324:4225"},
            ("age >= 18", "age <= 65"),
        ),
        (
            rng().integers(-30, 31, N),
            {"age": "integer", "agesq": "integer:0:900"},
            ("-30 <= age <= 30",),
        ),
        (rng().integers(18, 66, N), {}, ()),
    ],
)
def test_the_ends_of_a_function_of_a_column_are_thresholds(age, kinds, require):
    frame = pd.DataFrame({"age": age, "agesq": age**2})
    frame = frame.astype(float)
    found = learned(from_user(frame, kinds), kinds).schema
    assert found.require == require


def test_a_logarithm_is_not_held_above_0_by_a_rule():
    wage = (1.2 + rng().lognormal(2, 1, N)).round(2)
    frame = pd.DataFrame({"wage": wage, "lwage": np.log(wage)})
    assert learned(from_user(frame, {})).schema.require == ()
    kinds = {"lwage": "positive"}
    assert learned(from_user(frame, kinds), kinds).schema.require == ("wage >= 1",)
    signed = frame.assign(lwage=[f"{x:.4f}%" for x in frame.lwage])
    [carried] = learned(from_user(signed, {})).schema.carried
    assert carried.formula == "log(wage)"
    assert carried.field.spelling is not None
    kinds = {"lwage": "interval:-10:1000"}
    assert learned(from_user(frame, kinds), kinds).schema.require == ()


def test_a_constraint_on_a_computed_column_must_be_linear():
    with pytest.raises(TableError, match=r"agesq equals age\^2, which is no linear formula"):
        quick_fit(wages(), require=["agesq <= 1600"])
    density = quick_fit(wages(), require=["age <= 65"])
    assert (density.sample(500).agesq <= 65**2).all()


def test_targets_are_learned_and_given_columns_are_computed():
    found = learned(from_user(wages(), {}), target="lwage").schema
    assert "lwage" in [field.name for field in found.fields]
    assert "agesq" in [each.name for each in found.carried]


def test_codes_of_labels_are_no_numbers_in_a_formula():
    """Of 12 counts in baseball, the rows hold 9, in which the code is 2 balls + strikes."""
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    balls, strikes = np.array(pairs * 30).T
    text = [f"{ball}-{strike}" for ball, strike in pairs * 30]
    frame = pd.DataFrame({"count": text, "balls": balls, "strikes": strikes})
    assert formulas(frame.assign(x=rng().normal(size=len(frame)))) == {}
    whole = frame[frame.balls.between(1, 3) & frame.strikes.between(1, 2)]
    whole = whole.assign(x=rng().normal(size=len(whole)))
    assert len(formulas(whole)) == 1


def test_a_count_starts_above_0_if_a_formula_divides_by_it():
    n, part = rng().poisson(9, N) + 1.0, rng(1).poisson(4, N).astype(float)
    frame = pd.DataFrame({"n": n, "part": part, "share": (100 * part / n).round(2)})
    drawn = quick_fit(frame).sample(2_000)
    assert drawn.n.min() >= 1
    assert drawn.share.notna().all()
    named = learned(from_user(frame, {}), {"n": "count"}).schema.fields
    assert [field.word for field in named if field.name == "n"] == ["count"]


def test_hours_and_minutes_of_a_clock_time_have_their_ends():
    minutes = rng().integers(300, 1400, 500)
    frame = pd.DataFrame({"hour": minutes // 60, "minute": minutes % 60})
    frame = frame.assign(time=100 * frame.hour + frame.minute, x=rng(1).normal(size=500))
    drawn = quick_fit(frame).sample(2_000)
    assert (drawn.time == 100 * drawn.hour + drawn.minute).all()
    assert (drawn.time % 100 < 60).all()
    assert drawn.time.between(0, 2359).all()


def test_a_small_difference_of_large_columns_is_learned():
    gross, tax = rng().lognormal(6, 1, N).round(2), rng(1).normal(size=N).round(2)
    frame = pd.DataFrame({"net": (gross - tax).round(2), "gross": gross, "tax": tax})
    for names in (["net", "gross", "tax"], ["gross", "net", "tax"], ["tax", "gross", "net"]):
        assert "tax" not in formulas(frame[names])


def test_bounds_of_computed_clock_times_are_clock_times():
    r = rng(2)
    start, length = r.integers(300, 900, N), r.integers(10, 200, N)
    spelled = {
        name: [f"{t // 60:02d}{t % 60:02d}" for t in x]
        for name, x in (("dep", start), ("arr", start + length))
    }
    frame = pd.DataFrame({**spelled, "length": length})
    density = quick_fit(frame)
    assert [each.name for each in density.schema.carried] == ["length"] or (
        density.schema.require and all("'" in text for text in density.schema.require)
    )
    drawn = density.sample(500)
    dep, arr = (
        drawn[name].str[:2].astype(int) * 60 + drawn[name].str[2:].astype(int)
        for name in ("dep", "arr")
    )
    assert (arr - dep == drawn.length).all()
