"""Numbers with a currency or percent sign, and text with leading zeros."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import error_message, file_error, quick_fit, rng, taken, write

import flows
from flows.__main__ import main
from flows.tables.columns import files
from flows.tables.columns.notices import TableError
from flows.tables.columns.spelling import Spelling, find_spelling, has_leading_zeros
from flows.tables.columns.values import PLAIN, Format

pytestmark = pytest.mark.usefixtures("few_samples")
N = 60


@pytest.mark.parametrize(
    ("texts", "numbers", "written"),
    [
        (["$12.50", "-$3.25"], [12.5, -3.25], PLAIN),
        (["$-1.5", "$2.5"], [-1.5, 2.5], PLAIN),
        (["7%", "12%"], [7, 12], PLAIN),
        (["7 %", "12.5 %"], [7, 12.5], PLAIN),
        (["€ 7,50", "€ 12,25"], [7.5, 12.25], Format(decimal=",")),
        (["$61,370", "$250"], [61370, 250], Format(thousands=",")),
        (["£0.5", "£0.75"], [0.5, 0.75], PLAIN),
        (["\u20b97", "\u20b98"], [7, 8], PLAIN),
    ],
)
def test_a_sign_is_read_and_written_back(texts, numbers, written):
    column = pd.Series([*texts, "", "NA", "-"], dtype=object)
    found = find_spelling(column, written)
    assert found.read(column)[:2].tolist() == numbers
    assert np.isnan(found.read(column)[2:]).all()
    again = [text.replace("$-", "-$") for text in texts]
    assert found.write(pd.Series(numbers)).tolist() == again


@pytest.mark.parametrize(
    "texts",
    [
        ["$5", "6"],
        ["$5", "€6"],
        ["5%", "%5"],
        ["$5%"],
        ["$61,370"],
        ["$five"],
        ["5", "6"],
        ["north"],
        [],
    ],
)
def test_a_column_without_one_sign_has_none(texts):
    assert find_spelling(pd.Series(texts, dtype=object), PLAIN) is None
    assert find_spelling(pd.Series([1.0, 2.0]), PLAIN) is None


def money() -> pd.DataFrame:
    pay = [f"${x:.2f}" for x in rng().lognormal(3, 1, N)]
    share = [f"{x}%" for x in rng(1).integers(0, 100, N)]
    rate = rng(2).choice(["5 %", "10 %"], N)
    return pd.DataFrame({"pay": pay, "share": share, "rate": rate, "x": rng(3).normal(size=N)})


def test_samples_and_answers_have_the_sign_of_the_column():
    frame = money()
    frame.loc[3, "pay"], frame.loc[4, "share"] = None, "NA"
    density = quick_fit(frame)
    drawn = density.sample(100)
    assert drawn["pay"].str.fullmatch(r"\$\d+\.\d\d").all()
    assert drawn["share"].str.fullmatch(r"-?\d+%").all()
    assert drawn["rate"].isin(["5 %", "10 %"]).all()
    assert list(drawn.dtypes) == list(frame.dtypes)
    found = density.predict(frame[:4], "pay")
    assert found["mean"].str.fullmatch(r"\$\d+\.\d{4}").all()
    assert found["sd"].str.startswith("$").all()
    filled = density.impute(frame[:5])
    assert filled.loc[3, "pay"].startswith("$")
    assert filled.loc[4, "share"].endswith("%")


@pytest.mark.parametrize(
    ("texts", "mark", "kind"),
    [
        ([f"${50 + k * k % 29}" for k in range(29)] + ["-999.0"], "-999", "integer"),
        ([str(50 + k * k % 29) for k in range(29)] + ["0999"], "0999", "integer"),
    ],
)
def test_marks_of_missing_values_are_no_numbers_with_a_sign_or_zeros(texts, mark, kind):
    frame = pd.DataFrame({"c": texts, "x": rng().normal(size=30)})
    found = flows.inspect(frame, na=[mark])
    assert found.loc["c", "kind"].startswith((kind, "count"))


@pytest.mark.slow
def test_conditions_and_rows_may_have_the_sign_or_not():
    frame = money()
    density = quick_fit(frame)
    bare = frame.assign(pay=frame["pay"].str.strip("$").astype(float))
    np.testing.assert_array_equal(density.log_prob(bare), density.log_prob(frame))
    for one, other in (
        ({"pay": "$20"}, {"pay": 20}),
        ({"share": ("10%", "50")}, {"share": (10, 50)}),
    ):
        event = {"x": (0, None)}
        found = [density.probability(event, given=each) for each in (one, other)]
        np.testing.assert_array_equal(*found)
    with pytest.raises(TableError, match="holds '€20', whose sign the column does not have"):
        density.log_prob(frame.assign(pay="€20"))


def test_a_wrong_number_is_the_one_that_is_named():
    for wrong in ("($5)", "5e1$x"):
        frame = pd.DataFrame({"c": [f"${k}" for k in range(30)], "x": rng().normal(size=30)})
        frame.loc[7, "c"] = wrong
        said = error_message(lambda frame=frame: flows.inspect(frame))
        assert f"row 7 holds {wrong!r}, which is not a number" in said


def test_a_file_keeps_the_sign(tmp_path):
    density = quick_fit(money())
    density.save(tmp_path / "m.flow")
    again = flows.load(tmp_path / "m.flow")
    pay = again.columns[again.schema.find("pay")]
    assert pay.spelling == Spelling(before="$", decimals=2)
    assert again.sample(20).equals(density.sample(20))


@pytest.mark.slow
def test_the_command_line_reads_and_writes_signs(tmp_path):
    frame = money().assign(pay=[f"${1000 + k:,}" for k in rng().permutation(N) * 37])
    path, fit = tmp_path / "t.csv", tmp_path / "t.flow"
    frame.to_csv(path, index=False)
    arguments = ["fit", str(path), "-o", str(fit), "--recipe", "quick"]
    said = error_message(main, arguments, error=SystemExit)
    assert "which is not a number; to read it as a number, pass --thousands ," in said
    main([*arguments, "--thousands", ","])
    main(["sample", str(fit), "-n", "20", "-o", str(tmp_path / "s.csv")])
    drawn = pd.read_csv(tmp_path / "s.csv")
    assert drawn["pay"].str.fullmatch(r"-?\$\d{1,3}(,\d{3})*").all()
    main(["sample", str(fit), "-n", "5", "-o", str(tmp_path / "s.parquet")])
    assert pd.read_parquet(tmp_path / "s.parquet")["pay"].str.startswith("$").all()


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["$61,370", "$5,250"], "frame['c'].str.replace(',', '')"),
        (["€1.234,50", "€2.000,10"], "frame['c'].str.replace('.', '').str.replace(',', '.')"),
        (["$5", "€6", "$7"], "holds '€6', which lacks the sign"),
    ],
)
def test_an_ambiguous_number_with_a_sign_is_refused_with_a_remedy(texts, said):
    frame = pd.DataFrame({"c": texts * N, "x": rng().normal(size=len(texts) * N)})
    assert said in error_message(lambda: flows.inspect(frame))


def test_all_pieces_of_a_file_have_one_sign(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROWS_PER_PIECE", 20)
    lines = [f"${k}.25,{k:05d},{k}" for k in range(1, 50)]
    path = write(tmp_path / "t.csv", "\n".join(["a,zip,b", *lines, "$7,99999,7\n"]))
    table = files.read(path)
    assert table.spellings == {"a": Spelling(before="$", decimals=None)}
    assert table.frame["zip"].tolist() == [f"{k:05d}" for k in range(1, 50)] + ["99999"]
    path = write(tmp_path / "t.csv", "\n".join(["a,zip,b", *lines, "€7,99999,7\n"]))
    assert "holds '€7', which lacks the sign $ of other values" in file_error(path)


def test_a_comma_in_a_later_piece_names_the_option(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROWS_PER_PIECE", 20)
    lines = [*(f"${k},{k}" for k in range(1, 50)), '"$1,234",7', ""]
    path = write(tmp_path / "t.csv", "\n".join(["a,b", *lines]))
    assert "row 50 holds '$1,234', which is not a number; to read it" in file_error(path)
    lines[20:40] = ["?,1.5"] * 20
    path = write(tmp_path / "t.csv", "\n".join(["a,b", *lines[:-2], ""]))
    assert files.read(path).spellings == {"a": Spelling(before="$", decimals=0)}


def test_zeros_of_a_later_piece_make_text(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROWS_PER_PIECE", 20)
    codes = [*range(10_000, 10_040), "00501"]
    path = write(tmp_path / "t.csv", "\n".join(["zip,b", *(f"{code},1.5" for code in codes), ""]))
    assert files.read(path).frame["zip"].tolist() == [*map(str, codes)]


def test_leading_zeros_make_labels():
    codes = rng().choice(["00501", "10001", "94105"], N)
    frame = pd.DataFrame({"zip": codes, "x": rng().normal(size=N)})
    rows, said = taken(frame)
    assert rows.columns[0].labels == ("00501", "10001", "94105")
    assert "to learn the numbers, pass columns={'zip': 'integer'}" in said["zip"]
    assert quick_fit(frame).sample(20)["zip"].isin(codes).all()
    assert taken(frame, {"zip": "integer"})[0].columns[0].kind == "integer"
    assert not has_leading_zeros(pd.Series(["0", "0.5", "10"], dtype=object))


def test_labels_that_differ_in_case_or_blanks_have_a_notice():
    texts = rng().choice(["Yes", "Yes", "Yes", "yes", "YES", "No", "New  York", "New York"], 200)
    _, said = taken(pd.DataFrame({"a": texts, "x": rng().normal(size=200)}))
    assert "holds the labels 'YES', 'Yes', 'yes', which differ in case or blanks" in (
        " ".join(notice.text(lambda remedy: "") for notice in _notices(texts))
    )
    advice = [remedy for notice in _notices(texts) for _, remedy in notice.advice]
    joined = pd.Series(texts)
    for each in advice:
        joined = joined.replace(dict.fromkeys(each.old, each.new))
    assert {*joined} <= {"Yes", "No", "New York", "New  York"}
    assert len({*joined}) == 3
    assert "frame.replace({'a': {" in said["a"]


def _notices(texts):
    rows, _ = taken(pd.DataFrame({"a": texts, "x": rng().normal(size=len(texts))}))
    return [notice for notice in rows.notices if "differ in case" in notice.problem]
