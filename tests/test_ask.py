"""The verbs score, sample, impute, predict and plot, on rows with missing values.

Training is short, because these tests do not depend on the quality of the fit.
"""

from __future__ import annotations

import re
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from frames import WARDS, gappy_wards, wards
from helpers import SHORT, answered
from matplotlib.figure import Figure

import flows
from flows.__main__ import main
from flows.core.errors import UserError
from flows.density.questions.curve import Curve
from flows.density.questions.surprise import Surprise
from flows.tables.notices import TableError

pytestmark = pytest.mark.usefixtures("few_samples")
NUMBERS = {"age": "Int64", "bmi": float, "share": float}


@pytest.fixture(scope="module")
def density():
    return flows.fit(wards(), members=2, columns=WARDS, settings=SHORT)


@pytest.fixture
def gaps():
    return gappy_wards()


@pytest.fixture
def folder(density, gaps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    density.save("m.flow")
    gaps.to_csv("gaps.csv", index=False)
    gaps.drop(columns="bmi").to_csv("rows.csv", index=False)
    return tmp_path


def read(capsys, words):
    main(words.split())
    captured = capsys.readouterr()
    return pd.read_csv(StringIO(captured.out)), captured


def test_impute_keeps_other_fields_and_writes_numbers_in_the_format_of_the_file(folder, gaps):
    gaps.astype(NUMBERS).to_csv("in.csv", index=False, sep=";", decimal=",")
    main(["impute", "m.flow", "in.csv", "-o", "o.tsv", "--sep=;", "--decimal=,"])
    before, after = pd.read_csv("in.csv", sep=";", dtype=str), pd.read_table("o.tsv", dtype=str)
    assert after.where(before.notna()).equals(before)
    assert after["bmi"].str.fullmatch(r"\d+,\d+").all()


def test_disallowed_values_are_unknown_but_not_filled(density, gaps, capsys):
    odd = gaps.copy()
    odd.loc[[1, 5], "ward"], odd.loc[4, "age"] = "north", 50.5
    found = density.impute(odd)
    assert capsys.readouterr().err == (
        "column ward, row 1 holds north, which is not one of its labels (east, west)"
        "; it and 2 more such values are treated as unknown\n"
    )
    assert found["ward"].equals(odd["ward"].fillna("east"))
    assert found.loc[4, "age"] == 50.5
    unknown = density.impute(odd.mask(odd.isin(["north", 50.5])))
    pd.testing.assert_series_equal(found["bmi"], unknown["bmi"])


def test_disallowed_numbers_have_log_density_minus_infinity_and_a_notice(density, gaps, capsys):
    rows = gaps[:1].assign(age=50.5)
    assert np.isneginf(density.log_prob(rows)).all()
    assert capsys.readouterr().err == (
        "column age, row 0 holds 50.5, which its kind, integer, does not allow; the value is given "
        "a log-density of minus infinity\n"
    )


def test_imputing_a_pandas_category_adds_missing_labels(density, gaps):
    gaps["ward"] = gaps["ward"].mask(gaps["ward"] == "west").astype("category")
    gaps["ward"] = gaps["ward"].cat.set_categories(["north"])
    filled = density.impute(gaps)
    assert set(filled["ward"]) <= {"north", "east", "west"}
    assert filled["ward"].notna().all()


def test_a_pandas_category_without_values_stays_empty_when_it_is_imputed():
    rng = np.random.default_rng(0)
    empty = pd.Categorical([None] * 60, categories=["a", "b"])
    frame = pd.DataFrame({"x": rng.normal(size=60), "y": rng.normal(size=60), "empty": empty})
    density = flows.fit(frame, members=1, settings=SHORT)
    frame.loc[0, "x"] = np.nan
    filled = density.impute(frame)
    assert filled["x"].notna().all()
    pd.testing.assert_frame_equal(filled[["y", "empty"]], frame[["y", "empty"]])


def test_score_writes_standard_errors_and_counts_dropped_rows(folder, capsys):
    found, captured = read(capsys, "score m.flow gaps.csv --missing drop")
    assert found["log_density_se"].tolist() == [0.0] * 8
    assert captured.err == "4 rows with a missing value are left out\n"


def test_anomalies_name_the_column_of_the_largest_surprise(folder, density, gaps, capsys):
    gaps.loc[2, "bmi"], gaps.loc[5, "share"] = 400.0, 1.5
    gaps.to_csv("odd.csv", index=False)
    found, captured = read(capsys, "score m.flow odd.csv --anomalies 9")
    assert "4 rows with a missing value are left out\n" in captured.err
    assert found["row"][:2].tolist() == [6, 3]
    assert found["oddest"][:2].tolist() == ["share", "bmi"]
    surprise = density.surprise(gaps).max(axis=1)[found["row"] - 1].to_numpy()
    np.testing.assert_allclose(found["surprise"], surprise, atol=1e-6)
    assert found["oddest"].isna().tolist() == (surprise <= 0).tolist()
    found = read(capsys, "score m.flow odd.csv --anomalies 12 --given age,ward")[0]
    assert (len(found), "tail_probability" in found) == (12, False)


def test_zero_rows_keep_the_columns(density):
    drawn = density.sample(5, given={"age": 50})
    pd.testing.assert_frame_equal(density.sample(0, given={"age": 50}), drawn[:0])


@pytest.mark.parametrize(
    ("option", "arguments"),
    [("", {}), ("--anomalies 3", {"anomalies": 3}), ("--row 5", {"row": 5})],
)
def test_plots_in_python_have_the_bytes_of_the_command_line(
    folder, density, gaps, capsys, option, arguments
):
    main(f"plot m.flow gaps.csv -o a.png {option}".split())
    said = capsys.readouterr().err
    figure = density.plot(gaps.set_axis(range(1, 13)), **arguments)
    assert isinstance(figure, Figure)
    assert capsys.readouterr().err == said
    assert figure._repr_png_() == (folder / "a.png").read_bytes()


def test_plots_name_rows_by_their_labels_and_take_dates_and_numbered_columns(density, gaps):
    named = gaps.set_axis([f"patient {k}" for k in range(12)])
    figure = density.plot(named, row="patient 4")
    assert figure.get_suptitle() == "what the rest of row patient 4 says of each column"
    ticks = density.plot(named, anomalies=2).axes[0].get_yticklabels()
    assert all(re.match(r"patient \d+:  ", tick.get_text()) for tick in ticks)
    dates = pd.date_range("2020-01-01", periods=60, freq="7D")
    frame = pd.DataFrame({0: dates, 1: np.random.default_rng(0).normal(size=60)})
    quick = flows.fit(frame, members=1, settings=SHORT)
    texts = {text.get_text() for text in quick.plot(frame, anomalies=60).axes[0].texts}
    assert set(map(str, dates[:40].date)) & texts
    assert not any("00:00" in text for text in texts)


@pytest.mark.parametrize(
    ("error", "change", "arguments", "message"),
    [
        (TypeError, {}, {"row": 1, "anomalies": 2}, "plot takes one of .* got row and anomalies"),
        (UserError, {}, {"row": 12}, "row = 12: is not in the index .* labels are 0, 1, 2, ..."),
        (
            UserError,
            {"index": [0] * 12},
            {"row": 0},
            "row = 0: 12 rows have this label",
        ),
        (UserError, {}, {"anomalies": 0}, "anomalies = 0: must be at least 1"),
        (UserError, {}, {"along": "age"}, "along = 'age': .* no target; leave out along, or fit"),
        (UserError, {"index": []}, {}, "the frame has no rows"),
        (UserError, {"bmi": np.nan}, {"anomalies": 2}, "no row of the frame is complete"),
        (TableError, {"drop": "bmi"}, {}, "there is no column bmi"),
    ],
)
def test_invalid_arguments_of_plot_are_named(density, gaps, error, change, arguments, message):
    change = dict(change)
    if "index" in change:
        index = change.pop("index")
        gaps = gaps[: len(index)].set_axis(index)
    gaps = gaps.drop(columns=change.pop("drop", [])).assign(**change)
    with pytest.raises(error, match=message):
        density.plot(gaps, **arguments)


WRONG = """score m.flow gaps.csv --given age,bmj: there is no column bmj
score m.flow gaps.csv --given age,ward,bmi,share: every column is given
score m.flow gaps.csv --missing stop: column age, row 2 holds no value
sample m.flow --given age=50.5: given: column age holds 50.5, which its kind, integer, does
sample m.flow --given age=5 --given age=6: --given age=... is given 2 times
sample m.flow --given-rows rows.csv -n 5: --given-rows draws a row for each
sample m.flow --sep ;: --sep, --decimal, --thousands and --encoding need
sample m.flow --given-rows other.csv: other.csv: there is no column of the density
impute m.flow rows.csv: rows.csv: there is no column bmi
predict m.flow rows.csv --column ward --quantiles 0.5: ward is a category
predict m.flow taken.csv --column bmi: column mean: `predict` adds a column
impute m.flow taken.csv --draws 2: column draw: `impute` adds a column
predict m.flow rows.csv --column bmi --quantiles 1: quantile 1: must be between 0 and
predict m.flow rows.csv --column bmi --quantiles 0.5,0.5: quantiles 0.5, 0.5: two are the
sample m.flow --given-rows rows.csv --sep= : --sep is empty
plot m.flow gaps.csv -o a.png --row 13: --row 13: gaps.csv holds 12 rows
sample images --given a=1: images: is a model of images, which has no columns
impute images gaps.csv: images: is a model of images, which has no columns"""


@pytest.mark.parametrize("line", WRONG.splitlines())
def test_invalid_questions_give_a_one_line_error(folder, gaps, capsys, line):
    gaps.assign(mean=1, draw=1).to_csv("taken.csv", index=False)
    gaps[["who"]].to_csv("other.csv", index=False)
    flows.save(flows.build(flows.RealNVPImage(), (1, 4, 4), members=1), "images")
    words, said = line.split(": ", 1)
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert re.fullmatch(f"flows: .*{re.escape(said)}.*", str(caught.value), re.DOTALL)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("row", [0, 1, 4])
def test_curve_has_the_moments_of_the_prediction(density, gaps, row):
    """Also if the rest of the row has a missing value. The tolerance is 0.2 deviations."""
    asked, _ = answered(density, Surprise(), gaps)
    one = asked.region.take(slice(row, row + 1))
    answer = Curve("bmi").answer(density._array, one)
    x, q = answer["x"][0], answer["density"][0]
    share = q * np.gradient(x)
    expected = density.predict(gaps, "bmi").iloc[row]
    assert share.sum() == pytest.approx(1.0)
    assert share @ x == pytest.approx(expected["mean"], abs=0.2 * expected["sd"])
    q = Curve("ward").answer(density._array, one)["density"][0]
    expected = density.predict(gaps, "ward").iloc[row]
    np.testing.assert_allclose(q, expected[["east", "west"]].astype(float), atol=0.05)


def test_imputed_columns_have_one_type_in_all_pieces_of_a_file(tmp_path, monkeypatch, small_pieces):
    small_pieces(rows=20)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(100, size=60), "b": rng.normal(size=60)})
    quick = {"recipe": "fixed", "epochs": 2}
    flows.fit(frame, columns={"a": "real"}, members=1, settings=quick).save(tmp_path / "m.flow")
    frame["a"] = frame["a"].astype("Int64").mask(frame.index == 45)
    frame.to_parquet(tmp_path / "gaps.parquet")
    words = ["impute", "m.flow", "gaps.parquet", "-o", "out.parquet"]
    monkeypatch.chdir(tmp_path)
    main(words)
    filled = pd.read_parquet("out.parquet")["a"]
    assert filled.dtype == np.float64
    assert filled.notna().all()
