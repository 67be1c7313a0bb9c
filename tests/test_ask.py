"""Questions on the command line: score with gaps, sample what is given, impute, predict, plot.

Training is cut short: what is learnt is not asked here, only that the command line says what
Python says, in the same bytes whatever the pieces.
"""

from __future__ import annotations

from io import StringIO

import numpy as np
import pandas as pd
import pytest

import flows
from flows import questions
from flows.__main__ import main
from flows.data import frames

KINDS = {"age": "integer", "share": "interval:0:1"}
SHORT = {"recipe": "fixed", "epochs": 3, "couplings": 2, "hidden": 8}


@pytest.fixture(scope="module")
def density():
    rng = np.random.default_rng(0)
    age, ward = rng.integers(20, 80, 120), np.array(["west", "east"])[rng.integers(0, 2, 120)]
    frame = pd.DataFrame({"age": age, "ward": ward, "bmi": age / 4 + rng.normal(10, 2, 120)})
    frame["share"] = rng.beta(2, 3, 120)
    return flows.fit(frame, members=2, columns=KINDS, settings=SHORT)


@pytest.fixture(scope="module")
def gaps():
    """Rows with gaps in other places, and a column that is not the density's."""
    rng = np.random.default_rng(1)
    columns = {"who": [f"p{k}, jr" for k in range(12)], "age": rng.integers(20, 80, 12)}
    frame = pd.DataFrame({**columns, "ward": "east", "bmi": rng.normal(25, 4, 12).round(1)})
    frame = frame.assign(share=rng.beta(2, 3, 12)).astype(object)
    for row, name in ((1, "age"), (3, "ward"), (4, "bmi"), (4, "share"), (8, "bmi")):
        frame.loc[row, name] = np.nan
    return frame


@pytest.fixture
def folder(density, gaps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    density.save("m.flow")
    gaps.to_csv("gaps.csv", index=False)
    gaps.drop(columns="bmi").to_csv("rows.csv", index=False)
    gaps.dropna().to_csv("whole.csv", index=False)
    return tmp_path


def read(capsys, words):
    main(words.split())
    captured = capsys.readouterr()
    return pd.read_csv(StringIO(captured.out)), captured


ASKED = [
    "score m.flow gaps.csv",
    "score m.flow gaps.csv --given age,share",
    "score m.flow gaps.csv --anomalies 5",
    "sample m.flow --given age=50 --given ward=east -n 30",
    "sample m.flow --given-rows rows.csv --seed 3",
    "impute m.flow gaps.csv",
    "impute m.flow gaps.csv --draws 3 --seed 2",
    "predict m.flow rows.csv --column bmi",
    "predict m.flow gaps.csv --column ward",
]


@pytest.mark.parametrize("words", ASKED)
def test_the_bytes_are_the_same_twice_and_whatever_the_pieces(folder, capsys, monkeypatch, words):
    whole = read(capsys, words)[1]
    monkeypatch.setattr("flows.data.table.PIECE", 5)
    monkeypatch.setattr("flows.answers.BLOCK", 2)
    pieces = read(capsys, words)[1]
    assert pieces.out == whole.out
    assert pieces.err == whole.err


def test_the_command_line_says_what_python_says(folder, density, gaps, capsys):
    near = {"rtol": 1e-6, "atol": 1e-6}
    for given in ([], ["age", "share"]):
        log_q, error = density.log_prob(gaps, given, with_error=True)
        option = f"--given {','.join(given)}" if given else ""
        found = read(capsys, f"score m.flow gaps.csv {option}")[0]
        np.testing.assert_allclose(found["log_density"], log_q, **near)
        np.testing.assert_allclose(found["log_density_se"], error, **near)
        assert (found["log_density_se"] > 0).sum() == (error > 0).sum() > 0
    found = read(capsys, "predict m.flow gaps.csv --column bmi --quantiles 0.1,0.9")[0]
    expected = density.predict(gaps, "bmi", (0.1, 0.9)).astype(float)
    assert list(found) == [*gaps, *expected]
    np.testing.assert_allclose(found[[*expected]], expected, **near)
    found = read(capsys, "predict m.flow rows.csv --column ward")[0]
    assert found[["east", "west"]].sum(axis=1).tolist() == pytest.approx([1.0] * 12)
    drawn = read(capsys, "sample m.flow --given-rows rows.csv --seed 3")[0]
    pd.testing.assert_frame_equal(drawn, density.sample(given=gaps.drop(columns="bmi"), seed=3))
    drawn = read(capsys, "sample m.flow --given age=50 --given ward=east -n 30")[0]
    pd.testing.assert_frame_equal(drawn, density.sample(30, given={"age": 50, "ward": "east"}))
    assert set(drawn["age"]) == {50}


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("draws", [0, 2])
def test_only_gaps_are_filled(folder, density, gaps, ending, draws):
    given = gaps.astype({"age": "Int64", "bmi": float, "share": float})
    (given.to_csv if ending == ".csv" else given.to_parquet)(f"in{ending}", index=False)
    versions = density.impute(gaps, draws, seed=2) if draws else [density.impute(gaps)]
    for out in (".csv", ".parquet"):
        option = f"--draws {draws} --seed 2" if draws else ""
        main(f"impute m.flow in{ending} -o full{out} {option}".split())
    full = pd.read_csv("full.csv")
    pd.testing.assert_frame_equal(pd.read_parquet("full.parquet"), full, check_dtype=False)
    for number, version in enumerate(versions, 1):
        one = full[full["draw"] == number].drop(columns="draw") if draws else full
        expected = version.astype({"age": int, "bmi": float, "share": float})
        found = one.reset_index(drop=True).astype({"age": int})
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_fields_stay_as_they_were_written_and_gaps_are_filled_in_the_same_way(folder, gaps):
    options = {"sep": ";", "decimal": ","}
    gaps.astype({"bmi": float, "share": float}).to_csv("in.csv", index=False, **options)
    main(["impute", "m.flow", "in.csv", "-o", "o.tsv", "--sep=;", "--decimal=,"])
    before, after = (
        pd.read_csv("in.csv", sep=";", dtype=str),
        pd.read_csv("o.tsv", sep="\t", dtype=str),
    )
    known = before.notna()
    assert after.where(known).equals(before.where(known))
    assert after.notna().all(axis=None)
    assert after["bmi"].str.fullmatch(r"\d+,\d+").all()


def test_whole_rows_have_no_standard_errors_and_a_dropped_row_is_counted(folder, capsys):
    assert "log_density_se" not in read(capsys, "score m.flow whole.csv")[0]
    found, captured = read(capsys, "score m.flow gaps.csv --missing drop")
    assert (len(found), "log_density_se" in found) == (8, False)
    assert captured.err == "left out: 4 rows with a missing value\n"


def test_the_oddest_cell_stands_beside_its_row(folder, density, gaps, capsys):
    frame = gaps.dropna().reset_index(drop=True)
    frame.loc[[2, 5], "bmi"] = [400.0, np.nan]
    frame.loc[3, "share"] = 1.5
    frame.to_csv("odd.csv", index=False)
    found = read(capsys, "score m.flow odd.csv --anomalies 8")[0].set_index("row")
    assert found.loc[[4, 3], "oddest"].tolist() == ["share", "bmi"]
    assert found.index[:2].tolist() == [4, 3]
    surprise = density.surprise(frame).max(axis=1)
    np.testing.assert_allclose(found["surprise"].sort_index(), surprise, atol=1e-6)


def test_pictures_are_the_same_twice(folder):
    for option in ("", "--anomalies 3", "--row 5"):
        for name in ("a.png", "b.png"):
            main(f"plot m.flow gaps.csv -o {name} {option}".split())
        assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("score m.flow gaps.csv --given age,bmj", "the density: holds no column bmj"),
        ("score m.flow gaps.csv --given age,ward,bmi,share", "every column is given"),
        ("score m.flow gaps.csv --missing stop", "column age, row 2 holds no value"),
        ("sample m.flow --given age=50.5", "given: column age, row 1 holds 50.5, which its kind"),
        ("sample m.flow --given ward=north", "category: east, west, does not allow"),
        ("sample m.flow --given age=", "--given age=: is no value"),
        ("sample m.flow --given age=5 --given age=6", "--given age=... is given 2 times"),
        ("sample m.flow --given-rows rows.csv -n 5", "--given-rows: a row is drawn for each"),
        ("sample m.flow --sep ;", "--sep, --decimal, --thousands and --encoding are of"),
        ("sample m.flow --given-rows other.csv", "other.csv: holds no column of the density"),
        ("impute m.flow rows.csv", "rows.csv: holds no column bmi"),
        ("impute m.flow rows.csv -o rows.csv", "is read by this command"),
        ("predict m.flow rows.csv --column bmj", "the density: holds no column bmj"),
        ("predict m.flow rows.csv --column ward --quantiles 0.5", "ward is a category"),
        ("predict m.flow taken.csv --column bmi", "column mean: `predict` adds a column"),
        ("impute m.flow taken.csv --draws 2", "column draw: `impute --draws` adds a column"),
        ("predict m.flow rows.csv --column bmi --quantiles 1", "quantile 1: must be between 0 and"),
        ("plot m.flow gaps.csv -o a.png --row 13", "--row 13: gaps.csv holds 12 rows"),
    ],
)
def test_what_is_wrong_is_one_line(folder, gaps, capsys, words, said):
    gaps.assign(mean=1, draw=1).to_csv("taken.csv", index=False)
    gaps[["who"]].to_csv("other.csv", index=False)
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    message = str(caught.value)
    assert message.startswith("flows: ")
    assert "\n" not in message
    assert said in message
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(
    "words",
    [
        "score m t.csv --given a",
        "sample m --given a=1",
        "impute m t.csv",
        "predict m t.csv --column a",
    ],
)
def test_images_have_no_columns_to_ask_about(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    flows.save(flows.build("realnvp_image", (1, 4, 4), {}, members=1), "m")
    with pytest.raises(SystemExit, match=r"^flows: m: is a model of images, which has no columns"):
        main(words.split())


@pytest.mark.parametrize("row", [0, 1, 4])
def test_the_curve_of_a_column_has_the_moments_of_its_prediction(density, gaps, row):
    """Also where the rest of the row has a gap; the mean within a fifth of the deviation."""
    values, _ = density.known(frames.parse(gaps, density.kinds))
    x, q = questions.curve(density.unknowns, values[row], 2, row)
    share = q * np.gradient(x)
    expected = density.predict(gaps, "bmi").iloc[row]
    assert share.sum() == pytest.approx(1.0)
    assert share @ x == pytest.approx(expected["mean"], abs=0.2 * expected["sd"])
    _, q = questions.curve(density.unknowns, values[row], 1, row)
    expected = density.predict(gaps, "ward").iloc[row]
    np.testing.assert_allclose(q, expected[["east", "west"]].astype(float), atol=0.05)
