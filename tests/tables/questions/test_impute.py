"""Rows with their missing values filled."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from closed_forms import FIELDS, NAMES, drawn, hidden, labelled
from frames import patients
from helpers import SHORT, changed
from scipy.special import logsumexp
from scipy.stats import norm

import flows
from flows.__main__ import main
from flows.tables.density.frame_density import Density
from flows.tables.questions import reading


def test_disallowed_values_are_unknown_but_not_filled(of_wards, gaps, capsys):
    odd = gaps.copy()
    odd.loc[[1, 5], "ward"], odd.loc[4, "age"] = "north", 50.5
    found = of_wards.impute(odd)
    assert capsys.readouterr().err == (
        "column ward, row 1 holds north, which is not one of its labels (east, west)"
        "; it and 2 more such values are treated as unknown\n"
    )
    assert found["ward"].equals(odd["ward"].fillna("east"))
    assert found.loc[4, "age"] == 50.5
    unknown = of_wards.impute(odd.mask(odd.isin(["north", 50.5])))
    pd.testing.assert_series_equal(found["bmi"], unknown["bmi"])


def test_a_pandas_category_without_values_stays_empty_when_it_is_imputed():
    rng = np.random.default_rng(0)
    empty = pd.Categorical([None] * 60, categories=["a", "b"])
    frame = pd.DataFrame({"x": rng.normal(size=60), "y": rng.normal(size=60), "empty": empty})
    density = flows.fit(frame, members=1, settings=SHORT)
    frame.loc[0, "x"] = np.nan
    filled = density.impute(frame)
    assert filled["x"].notna().all()
    pd.testing.assert_frame_equal(filled[["y", "empty"]], frame[["y", "empty"]])


def test_imputed_columns_have_one_type_in_all_pieces_of_a_file(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(100, size=60), "b": rng.normal(size=60)})
    quick = {"recipe": "quick"}
    flows.fit(frame, columns={"a": "real"}, members=1, settings=quick).save(tmp_path / "m.flow")
    frame["a"] = frame["a"].astype("Int64").mask(frame.index == 45)
    frame.to_parquet(tmp_path / "gaps.parquet")
    words = ["impute", "m.flow", "gaps.parquet", "-o", "out.parquet"]
    monkeypatch.chdir(tmp_path)
    with changed({reading: {"PIECE": 20}}):
        main(words)
    filled = pd.read_parquet("out.parquet")["a"]
    assert filled.dtype == np.float64
    assert filled.notna().all()


def test_impute_fills_only_missing_values(of_truth, rows):
    frame = pd.DataFrame(hidden(rows[:20], 2), columns=NAMES).assign(note="as it is")
    filled = of_truth.impute(frame)
    assert not filled.isna().any().any()
    assert filled["note"].eq("as it is").all()
    kept = frame.notna()
    assert filled.where(kept).equals(frame.where(kept))
    versions = of_truth.impute(frame, draws=3)
    assert len(versions) == 3
    assert not versions[0].equals(versions[1])
    middle = np.median([each[NAMES] for each in of_truth.impute(frame, draws=50)], axis=0)
    apart = np.abs(middle - filled[NAMES]).to_numpy()[~kept[NAMES].to_numpy()]
    assert np.median(apart) < 0.3  # medians of fifty draws with deviations of about 1


def test_imputed_labels_and_numbers_are_modes_and_medians(with_labels: Density) -> None:
    frame, numbers, codes = drawn(25)
    filled = with_labels.impute(frame.assign(label2=None, x0=np.nan))
    known = np.where([True, False, False], np.nan, numbers)
    each = [
        labelled().log_prob(known, np.column_stack([codes[:, :2], np.full(25, c)]))
        for c in range(4)
    ]
    chances = np.exp(np.array(each) - logsumexp(each, axis=0))
    chosen = [FIELDS[2].labels.index(label) for label in filled["label2"]]
    assert (chances[chosen, np.arange(25)] > chances.max(axis=0) - 0.12).all()
    given = labelled().conditional(
        numbers, np.array([True, False, False]), np.column_stack([codes[:, :2], np.full(25, -1)])
    )
    weights, deviations = np.exp(given.log_weights), given.factors[:, 0, 0]
    level = (weights * norm.cdf(filled[["x0"]], given.means[:, :, 0], deviations)).sum(axis=1)
    assert np.abs(level - 0.5).mean() < 0.05


def test_imputing_a_pandas_category_adds_missing_labels(of_wards, gaps):
    gaps["ward"] = gaps["ward"].mask(gaps["ward"] == "west").astype("category")
    gaps["ward"] = gaps["ward"].cat.set_categories(["north"])
    filled = of_wards.impute(gaps)
    assert set(filled["ward"]) <= {"north", "east", "west"}
    assert filled["ward"].notna().all()


def test_missing_values_in_float32_columns_are_filled():
    frame = patients(40).astype("float32")
    density = flows.fit(frame, members=1, settings={"recipe": "quick"})
    frame.iloc[3, 0] = np.nan
    filled = density.impute(frame)
    assert filled.notna().all().all()
    assert (filled.dtypes == "float32").all()


def every_type(n: int = 60) -> pd.DataFrame:
    """Return a number, and columns of types that floats cannot hold."""
    rng = np.random.default_rng(0)
    x, days = rng.normal(size=n), pd.to_timedelta(rng.integers(0, 400, n), unit="D")
    day = pd.Timestamp("2020-01-01") + days
    levels = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    label = np.where(x + rng.normal(size=n) > 0, "north", "south")
    return pd.DataFrame(
        {
            "x": x,
            "label": label,
            "count": rng.poisson(5, n),
            "flag": rng.random(n) < 0.5,
            "nullable": pd.array(rng.random(n) < 0.5, "boolean"),
            "level": pd.Series(rng.choice([*levels.categories], n)).astype(levels),
            "day": day,
            "moment": day.tz_localize("UTC") + pd.to_timedelta(rng.integers(0, 9**5, n), unit="s"),
            "text_day": day[::-1].strftime("%Y-%m-%d"),
            "stay": pd.to_timedelta(rng.integers(0, 9**4, n), unit="s"),
            "copy": label,
        }
    )


@pytest.mark.slow
@pytest.mark.usefixtures("few_samples")
@pytest.mark.filterwarnings("error::FutureWarning")
def test_a_column_without_a_value_is_filled_whatever_its_type(tmp_path, monkeypatch):
    frame = every_type()
    density = flows.fit(frame, members=1, settings=SHORT)
    assert [each.name for each in density.schema.carried] == ["copy"]
    known = frame[:3].set_axis([7, 7, 8])
    gaps = [np.nan, None, pd.NaT, pd.array([pd.NA] * 3, "Int64")]
    for name in frame:
        for gap in gaps:
            own = known.assign(**{name: gap})
            versions = density.impute(own, draws=2) if gap is np.nan else [density.impute(own)]
            for each in versions:
                assert each[name].notna().all()
                pd.testing.assert_frame_equal(each.drop(columns=name), known.drop(columns=name))
                assert np.isfinite(density.log_prob(each)).all()
        filled = density.impute(known.assign(**{name: np.nan}))[name]
        expected = np.float64 if frame[name].dtype.kind in "if" else frame[name].dtype
        assert filled.dtype == expected
    monkeypatch.chdir(tmp_path)
    density.save("m.flow")
    seconds = known.assign(stay=known["stay"].dt.total_seconds())
    for name in ("label", "flag", "day", "stay"):
        for out, read in (("out.csv", pd.read_csv), ("out.parquet", pd.read_parquet)):
            seconds.assign(**{name: np.nan}).to_csv("gaps.csv", index=False)
            with changed({reading: {"PIECE": 2}}):
                main(["impute", "m.flow", "gaps.csv", "-o", out])
            assert read(out)[name].notna().all()
            assert np.isfinite(density.log_prob(read(out))).all()


@pytest.mark.slow
def test_a_column_of_numbers_with_a_gap_is_filled_with_numbers():
    frame = every_type()
    density = flows.fit(frame, members=1, settings=SHORT)
    own = frame[:6].assign(
        stay=frame["stay"].dt.total_seconds(), flag=frame["flag"].astype("Int64")
    )
    own.loc[2, ["stay", "flag"]] = None
    filled = density.impute(own)
    assert filled["stay"].dtype == np.float64
    assert 0 < filled["stay"][2] < 9**4
    assert filled["flag"].dtype == "Int64"
    assert filled["flag"][2] in (0, 1)


def test_a_column_with_other_values_holds_objects_if_its_type_holds_no_labels(capsys):
    frame = every_type()
    density = flows.fit(frame, members=1, settings=SHORT)
    filled = density.impute(frame[:3].assign(label=[np.nan, 1.0, np.nan]))["label"]
    assert "row 1 holds 1.0, which is not one of its labels" in capsys.readouterr().err
    assert filled[1] == 1.0
    assert {filled[0], filled[2]} <= {"north", "south"}
