"""Reading and writing tables, in all formats that users have, with one-line errors."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from helpers import SMALL, error_message, field, learned

import flows
from flows.__main__ import main
from flows.command_line.wording import shell_words
from flows.core.errors import UserError
from flows.tables import files as table
from flows.tables import parsing
from flows.tables.notices import TableError, python_words
from flows.tables.rows import numbers_of
from flows.tables.values import Format, to_floats
from stages.pipeline.runner import pipeline_words

pq = pytest.importorskip("pyarrow.parquet")


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def error(path, missing="stop"):
    """Return the error about a file, in the words of the command line."""
    with pytest.raises(TableError) as caught:
        learned(table.read(path), {}, missing, strict=True)
    message = caught.value.text(shell_words)
    assert all(line.startswith(f"{path}: ") for line in message.splitlines())
    return message


def numbers(frame, *names):
    parsed = parsing.parse(frame, dict.fromkeys(names, "real"))
    complete = parsing.apply_missing_policy(parsed)
    return numbers_of([field(name) for name in names], complete)


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
        ("", "is not a table"),
        ("a,b\n", "holds no rows"),
        (
            PLAIN + "red,2\n",
            "'red', which is not a number; to learn labels, pass --column a=category",
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
            lines(["a,b"], b=""),
            "b holds no value in any row; to leave the column out, pass --drop b",
        ),
        (PLAIN + "12%,3\n", "'12%', which is a number with a percent sign; remove the sign"),
        (lines(["a,b"], a='"{i},5 %"'), "which is a number with a percent sign"),
        (lines(["a,b"], a="${i}"), "which is a number with a currency sign; remove the sign"),
        (lines(["a,b"], a="\u2212{i}"), "which is a number with a long minus sign; write -"),
        (PLAIN + "3,4,5\n", "line 32 holds 3 fields, and the first line names 2 columns"),
        (lines(["a,b"], b="1,"), "more fields than its first line has names; name every"),
        (lines(["A title", "a,b"]), "more fields than its first line has names; name every"),
        (SEMICOLONS, "has another separator; to read the file, pass --sep ';' --decimal ,"),
        (lines(["width, mm;b"], a="{i},5", apart=";"), "--sep ';' --decimal ,"),
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
        (lines([]), "its columns are called 1.5, 1; write a line of names above"),
        (lines(["#a,b"], a="1"), "a line of names above that does not begin with #"),
        ("age,age\n1,2\n", "2 columns are called age; rename them"),
        (
            lines([",b"], a="p{i}"),
            "column 'Unnamed: 0' has no name; give it one; to leave the column out",
        ),
        (
            lines(["a,"]),
            "column 'Unnamed: 1' has no name; give it one; to leave the column out",
        ),
        (
            lines(["a,b"], b="p{i}"),
            "30 different texts; to learn them as labels, pass --column b=",
        ),
        (
            lines(["a,b"], b="x"),
            "b holds 'x' in every row; to leave the column out, pass --drop b",
        ),
        ('a,b\n"1,2\n', "is not a table"),
        (lines(["gr\u00f6\u00dfe,b"]).encode("latin-1"), "--encoding cp1252"),
        (PLAIN.encode("utf-16"), "--encoding utf-16"),
        (PLAIN.encode("utf-16-le"), "--encoding utf-16-le"),
        (b"PK\x03\x04\xff", "is a spreadsheet or an archive; save it as a CSV file"),
        (gzip.compress(PLAIN.encode()), "is compressed by gzip; rename it to .csv.gz"),
    ],
)
def test_errors_in_a_csv_file_are_one_line_with_a_remedy(tmp_path, content, said):
    assert said in error(write(tmp_path / "t.csv", content))


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
            lines(["a;b"], a="{i},5", b="0.{square:03}", apart=";"),
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


# Categories


def labels(frame, kinds=None):
    """Return the labels of the last column of a frame or of a file."""
    found = (
        frame if isinstance(frame, parsing.Table) else parsing.parse(frame, dict.fromkeys(frame))
    )
    return learned(found, kinds or {})[0][-1].labels


def with_values(values):
    return pd.DataFrame({"a": np.arange(60.0) ** 2, "b": (list(values) * 60)[:60]})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["x", "z", "y"], ("x", "y", "z")),
        ([True, False], (False, True)),
        (["TRUE", "False"], (False, True)),
        (pd.array([True, None, False], "boolean"), (False, True)),
        (pd.Categorical([3, 1, 2]), (1, 2, 3)),
        (pd.Categorical(["2", "10"]), ("10", "2")),
        ([f"group {k:02}" for k in range(20)], tuple(f"group {k:02}" for k in range(20))),
    ],
)
def test_text_with_few_values_booleans_and_categories_are_categories_by_default(values, expected):
    frame = with_values(values)
    if isinstance(values, pd.Categorical):
        frame["b"] = frame["b"].astype("category")
    parsed = parsing.parse(frame, {"a": "", "b": ""})
    (_, column), codes, _, notices, *_ = learned(parsed, {}, missing="drop")
    assert repr(column.labels) == repr(expected)
    said = f"column b is taken as a category of {len(expected)} labels"
    assert said in [notice.text(shell_words) for notice in notices]
    assert set(codes[:, 1]) == {*range(len(expected))}


def test_an_ordered_category_keeps_its_order_but_drops_unused_labels(tmp_path):
    sizes = pd.CategoricalDtype(["none", "small", "mid", "tall"], ordered=True)
    frame = with_values(["tall", "small", "mid"]).astype({"b": sizes})
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=7)
    for found in (frame, table.read(tmp_path / "t.parquet")):
        assert labels(found) == ("small", "mid", "tall")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [(["2", "10"], (2, 10)), (["007", "7"], ("007", "7")), (["3+", "1"], ("1", "3+"))],
)
def test_any_column_can_be_declared_a_category(tmp_path, fields, expected):
    with_values(fields).to_csv(tmp_path / "t.csv", index=False)
    kinds = {"b": "category"}
    assert labels(table.read(tmp_path / "t.csv", kinds), kinds) == expected
    many = with_values(np.arange(60) / 2)
    assert len(labels(parsing.parse(many, {"a": "", "b": "category"}), kinds)) == 60


def test_labels_are_identified_by_their_text_in_all_formats():
    column = field("b", "category", step=1.0, labels=(3, 4))
    for values in ([4, 3, 5], [4.0, 3.0, 5.0], ["4", " 3 ", "four"], pd.array([4, 3, 9], "Int64")):
        found = parsing.parse(pd.DataFrame({"b": values}), {"b": "category"})
        codes = numbers_of([column], parsing.apply_missing_policy(found))
        assert codes[:, 0].tolist() == [1, 0, -1]
    flags = field("b", "category", step=1.0, labels=(False, True))
    found = parsing.parse(pd.DataFrame({"b": ["True", "false", "TRUE"]}), {"b": "category"})
    assert numbers_of([flags], found)[:, 0].tolist() == [1, 0, 1]


@pytest.mark.parametrize("word", ["May", "T1", "18-25", "Q3", "mon"])
def test_words_that_pandas_parses_as_dates_are_labels(word):
    assert labels(with_values([word, "other"])) == tuple(sorted([word, "other"]))


# Parquet files


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.arange(100.0, 130.0), "column b numbers the rows (100, 101, ...), as an identifier"),
        ([1.0, np.nan] * 15, "column b, row 2 holds no value"),
        ([1.0, -np.inf] * 15, "column b, row 2 holds -inf"),
    ],
)
def test_errors_in_a_parquet_file_are_one_line(tmp_path, column, said):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": np.arange(30.0), "b": column}).to_parquet(path)
    assert said in error(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.txt", "missing.csv", "t", "cut.parquet"])
def test_the_error_names_a_file_that_is_not_a_table(tmp_path, frame, name):
    path = tmp_path / name
    if name == "cut.parquet":
        frame.to_parquet(path)
        write(path, path.read_bytes()[: path.stat().st_size // 2])
    elif name != "missing.csv":
        write(path, "a,b\n1,2\n")
    error(path)


def test_rows_that_are_not_dropped_keep_their_numbers_and_infinite_values_are_errors(
    tmp_path, frame
):
    frame.loc[[3, 7], "a"] = np.nan
    for name, save in (("t.csv", frame.to_csv), ("t.parquet", frame.to_parquet)):
        save(tmp_path / name, index=False)
        kept = parsing.apply_missing_policy(table.read(tmp_path / name), "drop").frame
        assert list(kept.index) == [row for row in range(1, 26) if row not in (4, 8)]
        assert "row 4" in error(tmp_path / name)
    assert "inf" in error(write(tmp_path / "t.csv", "a,b\n1,\n3,inf\n"), "drop")  # never dropped


# Writing


@pytest.mark.parametrize("target", ["csv", "parquet"])
def test_added_columns_leave_the_others_unchanged_in_files(path, frame, target, tmp_path):
    out = tmp_path / f"out.{target}"
    pieces = table.stream(path, rows=10)
    table.write(out, (piece.assign(twice=2 * numbers(piece, "a")[:, 0]) for piece in pieces))
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
    changed = (piece.assign(b=numbers(piece, "a")[:, 0]) for piece in pieces)
    with pytest.raises(UserError, match="row 2"):
        table.write(tmp_path / name, changed)
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]


# Frames


def test_errors_in_a_data_frame_are_one_line(frame):
    with pytest.raises(UserError, match="column a, row 0 holds 'red'"):
        numbers(frame.assign(a="red"), "a")
    with pytest.raises(UserError, match=r"with a missing value, pass missing='drop'"):
        numbers(frame.assign(a=[np.nan] + [1.0] * 24), "a")
    with pytest.raises(UserError, match="there is no column b; the columns are: a, n, c"):
        numbers(frame, "a", "b")
    with pytest.raises(UserError, match="2 columns are called a; rename them"):
        numbers(pd.concat([frame, frame], axis=1), "a")


@pytest.mark.parametrize("kind", ["complex128", "complex64", object])
def test_complex_numbers_are_refused_and_lose_no_part(kind):
    rng = np.random.default_rng(0)
    real = pd.DataFrame(rng.normal(size=(60, 2)), columns=["x", "wave"])
    odd = real.assign(wave=(real["wave"] + 1j).astype(kind))
    density = flows.fit(real, SMALL, members=1, settings={"recipe": "fixed", "epochs": 1})
    said = "column wave holds complex numbers; make two columns of the real and the imaginary parts"
    for ask in (
        flows.fit,
        flows.inspect,
        density.log_prob,
        density.impute,
        lambda frame: density.predict(frame, "x"),
        lambda frame: density.sample(given=frame),
    ):
        assert error_message(ask, odd, error=TableError) == said
    for ask in (flows.fit, density.log_prob):  # an array has one type for all columns
        assert "holds complex numbers" in error_message(ask, odd.to_numpy(), error=TableError)
    given = error_message(density.probability, {"wave": (None, 1j)})
    assert given == f"event: {said}"
    assert density.log_prob(real.assign(other=1j)).shape == (60,)  # other columns are ignored


def test_integer_column_names_of_a_file_get_a_notice(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=["17", "-3"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    (notice,) = learned(table.read(tmp_path / "t.csv"), {}).notices
    said = "the columns are called 17, -3; if this is a row of the file, write a line of names"
    assert notice.text(shell_words).startswith(said)
    assert learned(parsing.parse(frame, {"17": "", "-3": ""}), {}).notices == []


FAULTY = """column b holds 7 in every row; to leave the column out, {drop}
column c, row 1 holds 'p0', which is text; the column holds 30 different texts; \
to learn them as labels, {label_c}; to leave the column out, {drop_c}
column d, row 3 holds 'x', which is not a number; to learn labels, {label}
column e, row 2 holds -1.0; positive values must be finite and strictly between 0 and inf; \
to learn any number, {real}"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            python_words,
            {
                "drop": "call frame.drop(columns='b')",
                "drop_c": "call frame.drop(columns='c')",
                "label": "pass columns={'d': 'category'}",
                "label_c": "pass columns={'c': 'category'}",
                "real": "pass columns={'e': 'real'}",
            },
        ),
        (
            shell_words,
            {
                "drop": "pass --drop b",
                "drop_c": "pass --drop c",
                "label": "pass --column d=category",
                "label_c": "pass --column c=category",
                "real": "pass --column e=real",
            },
        ),
        (
            pipeline_words,
            {
                "drop": "remove the column b from the file",
                "drop_c": "remove the column c from the file",
                "label": "set data.columns.d: category in params.yaml",
                "label_c": "set data.columns.c: category in params.yaml",
                "real": "set data.columns.e: real in params.yaml",
            },
        ),
    ],
)
def test_all_faulty_columns_are_reported_at_once_with_advice_for_each_front_end(words, expected):
    x = np.random.default_rng(0).normal(size=30)
    ids = [f"p{k}" for k in range(30)]
    frame = pd.DataFrame({"a": x, "b": 7, "c": ids, "d": x, "e": np.abs(x)}, range(1, 31))
    frame = frame.astype({"d": object})
    frame.loc[3, "d"], frame.loc[2, "e"] = "x", -1.0
    kinds = {"e": "positive"}
    parsed = parsing.parse(frame, {name: kinds.get(name, "") for name in frame})
    with pytest.raises(TableError) as caught:
        learned(parsed, kinds, strict=True)
    said = sorted(caught.value.text(words).splitlines())
    assert said == sorted(FAULTY.format(**expected).splitlines())


@pytest.mark.parametrize("label", ["none", "None", "-"])
def test_marks_of_missing_values_are_labels_in_columns_of_text(tmp_path, label):
    texts, numbers = [label, "mild", "severe"] * 8, [str(k) for k in range(23)] + [label]
    frame = pd.DataFrame({"pain": texts, "age": numbers})
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = table.read(tmp_path / "t.csv")
    assert set(found.frame["pain"]) == {label, "mild", "severe"}
    with pytest.raises(UserError, match=f"column age, row 24 holds '{label}', which counts as a"):
        parsing.apply_missing_policy(found)
    columns, values, *_ = learned(found, {}, missing="drop")
    assert columns[0].labels == tuple(sorted({label, "mild", "severe"}))
    assert len(values) == 23


def test_a_user_error_with_several_faults_has_one_line_each_in_the_shell(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + 20 * "1,2\n2,3\n" + "inf,3\n1,inf\n")
    two = r"^flows: .*column a, row 41 holds [^\n]*\n.*column b, row 42 holds [^\n]*$"
    with pytest.raises(SystemExit, match=two):
        main(["fit", f"{tmp_path}/t.csv", "-o", f"{tmp_path}/t.flow"])


def test_a_message_on_a_format_names_a_value_in_this_format():
    values = pd.Series(["-", "45.5%", "46%"], dtype=object)
    with pytest.raises(TableError, match=r"row 1 holds '45.5%', which is a number with a percent"):
        to_floats(values, "share", is_fit=True)
