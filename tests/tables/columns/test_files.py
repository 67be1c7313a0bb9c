"""Reading and writing tables, in all formats that users have, with one-line errors."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from frames import every_sort
from helpers import file_error, learned, real_numbers, write

from flows.core.errors import UserError
from flows.tables.columns import files, parsing
from flows.tables.columns import files as table
from flows.tables.columns.values import Format
from flows.tables.command_line.wording import shell_words

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    a, c = rng.normal(size=(2, 25))
    return pd.DataFrame({"a": a, "n": rng.integers(0, 9, 25), "c": c})


@pytest.fixture(params=["csv", "parquet"])
def path(request, tmp_path, frame):
    """Return the path of a table, in both formats."""
    found = tmp_path / f"t.{request.param}"
    (frame.to_csv if request.param == "csv" else frame.to_parquet)(found, index=False)
    return found


def test_a_table_survives_a_round_trip_through_a_file(path, frame):
    names, values = table.read_numbers(path)
    assert names == ["a", "n", "c"]
    assert (values == frame.to_numpy(float)).all()


@pytest.mark.parametrize("rows", [1, 7, 25, 100])
def test_pieces_add_up_to_the_whole_table(path, frame, rows):
    pieces = list(table.stream(path, rows=rows))
    expected = np.split(np.arange(1, 26), range(rows, 25, rows))
    assert [list(piece.index) for piece in pieces] == [list(part) for part in expected]
    assert (pd.concat(pieces).to_numpy(float) == frame.to_numpy(float)).all()


# Invalid files: the content, and the words of the error


def lines(first, *, a="{i}.5", b="{square}", apart=",", end="\n"):
    """Return the text of a file with the ``first`` lines and 30 rows of two columns."""
    rows = (apart.join([a, b]).format(i=i, square=i * i, digit=i % 3) for i in range(1, 31))
    return end.join([*first, *rows, ""])


PLAIN = lines(["a,b"])
SEMICOLONS = lines(["a;b"], a="{i},5", apart=";")
THOUSANDS = lines(["a,b"], a='"{i},234"')


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "t.csv: is empty"),
        ("a,b\n", "holds no rows"),
        (
            PLAIN + "red,2\n",
            "'red', which counts as a missing value; to leave out rows with a missing value, pass "
            "--missing drop; to learn labels, pass --column a=category",
        ),
        (PLAIN + "inf,2\n", "column a, row 31 holds inf"),
        (
            PLAIN + "\n3,\n",
            "no value; to leave out rows with a missing value, pass --missing drop",
        ),
        (PLAIN + "N/A,3\n", "column a, row 31 holds no value"),
        (PLAIN + "?,3\n", "column a, row 31 holds '?', which counts as a missing value"),
        (PLAIN + " - ,3\n", "column a, row 31 holds '-', which counts as a missing value"),
        (PLAIN + "3\n", "column b, row 31 holds no value"),
        (
            PLAIN + "12%,3\n",
            "column a, row 31 holds '12%', whose sign others lack",
        ),
        (lines(["a,b"], a='"{i},5 %"'), "holds '1,5 %', which is not a number"),
        (
            lines(["a,b"], a="-${i}") + "7,1\n",
            "row 31 holds '7', which lacks the sign $ of other values",
        ),
        (lines(["a,b"], a="\u2212{i}"), "holds '\u22121', which is not a number"),
        (PLAIN + "3,4,5\n", "Error tokenizing data. C error: Expected 2 fields in line 32, saw 3"),
        (lines(["a,b"], b="1,"), "more fields than its first line has names; name every"),
        (lines(["A title", "a,b"]), "more fields than its first line has names; name every"),
        (SEMICOLONS, "has another separator; to read the file, pass --sep ';' --decimal ,"),
        (lines(["a|b"], apart="|"), "has another separator; to read the file, pass --sep '|'"),
        (lines(["a\tb"], apart="\t"), r"has another separator; to read the file, pass --sep '\t'"),
        (lines(["a  b"], apart="  "), r"has another separator; to read the file, pass --sep '\s+'"),
        (
            lines(["a,b"], a='"{i},5"'),
            "'1,5', which is not a number; to read it as a number, pass --decimal ,",
        ),
        (
            THOUSANDS,
            "not a number; to read it as a number, pass --thousands ,",
        ),
        (lines(["a,b"], a='"{i}.234,5"'), "pass --decimal , --thousands ."),
        (lines(["a,b"], a="{i} 234"), "pass --thousands ' '"),
        (lines(["a,b"], a='"0,{square:03}"'), "to read it as a number, pass --decimal ,"),
        ("age,age\n1,2\n", "2 columns are called age; rename them"),
        ('a,b\n"1,2\n', "pandas.read_csv: Error tokenizing data. C error: EOF inside string"),
        (
            lines(["gr\u00f6\u00dfe,b"]).encode("latin-1"),
            "is not UTF-8 text; to read a file that Excel saved in Western Europe, pass "
            "--encoding cp1252",
        ),
        (PLAIN.encode("utf-16"), "is not UTF-8 text; to read the file, pass --encoding utf-16"),
        (PLAIN.encode("utf-16-le"), "is not UTF-8 text"),
        (gzip.compress(PLAIN.encode()), "is not UTF-8 text"),
    ],
)
def test_errors_in_a_csv_file_are_one_line_with_a_remedy(tmp_path, content, said):
    assert said in file_error(write(tmp_path / "t.csv", content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lines(["a,b"], b=""), "column b holds no value in any row, nor in samples"),
        (lines([",b"], a="{i}.5"), "column 'Unnamed: 0' has no name; give it one"),
        (lines(["a,"]), "column 'Unnamed: 1' has no name; give it one"),
        (
            lines(["a,b"], b="p{i}"),
            "column b holds 30 different texts in 30 rows, so it is excluded as an identifier; "
            "samples number their rows from 1 instead; to learn labels, pass --column b=category",
        ),
        (lines(["a,b"], b="x"), "column b holds 'x' in every row, and in samples"),
    ],
)
def test_a_notice_on_a_file_says_what_is_not_learned_as_it_is(tmp_path, content, said):
    found = learned(table.read(write(tmp_path / "t.csv", content)), {})
    assert said in [each.text(shell_words) for each in found.notices if each.is_decision]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("\ufeff" + PLAIN, {}),
        (lines(['"a", b '], a=" {i}.5 ", b='"{square}"', end="\r\n") + "\r\n\r\n", {}),
        (lines(["# from a lab", "# in mm", "", "a,b"]), {}),
        (lines(["sep=;", "a;b"], apart=";"), {}),
        (lines(["a,b,"], b="{square},"), {}),
        (lines([",a,b"], a="{square},{i}.5"), {}),
        (lines(["Unnamed: 0,a,b"], a="{i},{i}.5"), {}),
        (SEMICOLONS, {"sep": ";", "decimal": ","}),
        (lines(["a b"], apart="   "), {"sep": r"\s+"}),
        (lines(["a\tb"], apart="\t"), {"sep": r"\t"}),
        (
            lines(["a;b"], a="{i},5", b="{square}", apart=";"),
            {"sep": ";", "decimal": ",", "thousands": "."},
        ),
        (PLAIN.encode("utf-16"), {"encoding": "utf-16"}),
        (PLAIN.encode("latin-1"), {"encoding": "latin-1"}),
        (("\ufeff" + PLAIN).encode(), {"encoding": "UTF-8"}),
    ],
)
def test_irregular_csv_files_are_read_correctly(tmp_path, content, options):
    path = write(tmp_path / "t.csv", content)
    columns, values, *_ = learned(table.read(path, {}, Format(**options)), {})
    assert [column.name for column in columns] == ["a", "b"]
    assert (values == [[i + 0.5, i * i] for i in range(1, 31)]).all()


def test_three_digits_follow_a_mark_between_thousands(tmp_path):
    content = lines(["a;b"], a="1.{square:03},5", apart=";")
    path = write(tmp_path / "t.csv", content)
    written = Format(sep=";", decimal=",", thousands=".")
    found = table.read(path, {}, written).frame["a"]
    assert found.tolist() == [1000.5 + i * i for i in range(1, 31)]
    write(path, content.replace("1.001,5", "0.125"))  # is not 125
    with pytest.raises(UserError, match=r"column a, row 1 holds '0.125', which is not a number"):
        learned(table.read(path, {}, written), {})


@pytest.mark.parametrize("encoding", ["cp1252", "klingon"])
def test_a_wrong_encoding_is_named(tmp_path, encoding):
    path = write(tmp_path / "t.csv", b"PK\x03\x04,\x00\n1,2\n")
    with pytest.raises(UserError, match=r"(is not CP1252 text|unknown encoding: klingon)$"):
        table.read(path, {}, Format(encoding=encoding))


@pytest.mark.parametrize("written", [Format(decimal=","), Format(thousands=",")])
def test_a_wrong_format_option_raises_an_error_with_advice(tmp_path, written):
    """With a decimal comma, 1.5 is not a number; with commas between thousands, 1,5 is not 15."""
    field = "{i}.5" if written.decimal == "," else '"{i},5"'
    path = write(tmp_path / "t.csv", lines(["a,b"], a=field))
    with pytest.raises(UserError, match=r"call pandas.read_csv\(path, decimal="):
        learned(table.read(path, {}, written), {})


@pytest.mark.parametrize("name", ["t.tsv", "t.csv.gz", "t.TSV.GZ"])
def test_files_with_other_endings_have_the_same_bytes_each_time(tmp_path, frame, name):
    path, content = tmp_path / name, []
    for _ in range(2):
        table.write(path, [frame[:9], frame[9:]])
        content.append(path.read_bytes())
    assert content[0] == content[1]
    apart = "\t" if "tsv" in name.lower() else ","
    pd.testing.assert_frame_equal(pd.read_csv(path, sep=apart, compression="infer"), frame)
    assert (table.read_numbers(path)[1] == frame.to_numpy()).all()


def test_columns_are_selected_by_name_and_unknown_names_are_rejected(path):
    assert list(table.read(path, only=["c", "a"]).frame) == ["a", "c"]
    assert list(table.read(path, drop=["n"]).frame) == ["a", "c"]
    for wrong in ({"only": ["m"]}, {"drop": ["m"]}):
        with pytest.raises(UserError, match="there is no column m; the columns are: a, n, c"):
            table.read(path, **wrong)
    with pytest.raises(UserError, match="no column is left; the columns are: a, n, c"):
        table.read(path, only=["n"], drop=["n"])


# Parquet files


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([1.0, np.nan] * 15, "column b, row 2 holds no value"),
        ([1.0, -np.inf] * 15, "column b, row 2 holds -inf"),
    ],
)
def test_errors_in_a_parquet_file_are_one_line(tmp_path, column, said):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": np.arange(30.0), "b": column}).to_parquet(path)
    assert said in file_error(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.txt", "missing.csv", "t", "cut.parquet"])
def test_the_error_names_a_file_that_is_not_a_table(tmp_path, frame, name):
    path = tmp_path / name
    if name == "cut.parquet":
        frame.to_parquet(path)
        write(path, path.read_bytes()[: path.stat().st_size // 2])
    elif name != "missing.csv":
        write(path, "a,b\n1,2\n")
    file_error(path)


# Writing


@pytest.mark.parametrize("target", ["csv", "parquet"])
def test_added_columns_leave_the_others_unchanged_in_files(path, frame, target, tmp_path):
    out = tmp_path / f"out.{target}"
    pieces = table.stream(path, rows=10)
    table.write(out, (piece.assign(twice=2 * real_numbers(piece, "a")[:, 0]) for piece in pieces))
    names, values = table.read_numbers(out)
    assert names == ["a", "n", "c", "twice"]
    assert (values == frame.assign(twice=2 * frame["a"]).to_numpy(float)).all()


def test_parquet_types_are_kept_in_columns_with_missing_values(tmp_path, frame):
    whole, who = pd.array([None, *range(24)], "Int64"), ["x", *[None] * 24]
    frame = frame.assign(n=whole, who=who, when=pd.Timestamp("2020-01-01"))
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    for name in ("out.parquet", "out.csv"):
        table.write(tmp_path / name, table.stream(tmp_path / "t.parquet", rows=10))
    before, after = (pq.read_schema(tmp_path / name).types for name in ("t.parquet", "out.parquet"))
    assert before == after
    first, second = (tmp_path / "out.csv").read_text().splitlines()[1:3]
    assert first.split(",")[1::2] == ["", "x"]
    assert second.split(",")[1::2] == ["0", ""]


def test_the_index_of_a_data_frame_is_kept_and_not_learned(tmp_path, frame):
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "t.parquet")
    assert list(table.read(tmp_path / "t.parquet").frame) == ["a", "n", "c"]
    assert "__index_level_0__" in next(table.stream(tmp_path / "t.parquet"))


def test_fields_of_a_csv_file_are_copied_unchanged(tmp_path):
    path = write(tmp_path / "t.csv", 'who,a\n"x, y",1.50\n"say ""no""",007\n')
    pieces = table.stream(path)
    table.write(tmp_path / "out.csv", (piece.assign(b=[0.1, 1e-7]) for piece in pieces))
    expected = 'who,a,b\n"x, y",1.50,0.1\n"say ""no""",007,1e-07\n'
    assert (tmp_path / "out.csv").read_text() == expected


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_failed_write_leaves_no_file(tmp_path, name):
    path = write(tmp_path / "t.csv", "a\n1\nred\n")
    pieces = table.stream(path, rows=1)
    changed = (piece.assign(b=real_numbers(piece, "a")[:, 0]) for piece in pieces)
    with pytest.raises(UserError, match="row 2"):
        table.write(tmp_path / name, changed)
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("names", [("17", "-3"), ("1.5", "2E-7")])
def test_numbers_as_column_names_of_a_file_get_a_notice(tmp_path, names):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=names)
    frame.to_csv(tmp_path / "t.csv", index=False)
    (notice,) = learned(table.read(tmp_path / "t.csv"), {}).notices
    called = (
        f"the columns are called {', '.join(names)}; if this is a row of the file, write a line"
    )
    assert notice.text(shell_words).startswith(called)
    assert learned(parsing.parse(frame, dict.fromkeys(names, "")), {}).notices == []


def test_rows_are_counted_for_the_progress_bar(tmp_path):
    frame = every_sort(240)[["a", "visits"]]
    for name, save in {"t.csv": frame.to_csv, "t.csv.gz": frame.to_csv}.items():
        save(tmp_path / name, index=False)
        assert files.count_rows(tmp_path / name) == 240
    frame.to_parquet(tmp_path / "t.parquet")
    assert files.count_rows(tmp_path / "t.parquet") == 240
    assert files.count_rows(tmp_path / "missing.csv") is None
