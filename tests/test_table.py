"""Tables as they come: what is read, what is written, and one line for whatever is wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flows.core.errors import UserError
from flows.data import table

pq = pytest.importorskip("pyarrow.parquet")


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def error(path, *words):
    with pytest.raises(UserError) as caught:
        table.read(path, *words)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    a, c = rng.normal(size=(2, 25))
    return pd.DataFrame({"a": a, "n": rng.integers(0, 9, 25), "c": c})


@pytest.fixture(params=["csv", "parquet"])
def path(request, tmp_path, frame):
    """The same table in both formats."""
    found = tmp_path / f"t.{request.param}"
    (frame.to_csv if request.param == "csv" else frame.to_parquet)(found, index=False)
    return found


def test_a_table_is_read_as_it_was_written(path, frame):
    found = table.read(path)
    assert found.names == ["a", "n", "c"]
    assert found.dropped == 0
    assert (found.values == frame.to_numpy(float)).all()


@pytest.mark.parametrize("rows", [1, 7, 25, 100])
def test_pieces_are_the_whole(path, frame, rows):
    pieces = list(table.stream(path, rows))
    expected = np.split(np.arange(1, 26), range(rows, 25, rows))
    assert [list(piece.index) for piece in pieces] == [list(part) for part in expected]
    values = np.concatenate([table.numbers(piece, ["c", "a"])[0] for piece in pieces])
    assert (values == frame[["c", "a"]].to_numpy()).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is no table"),
        ("a,b\n", "holds no rows"),
        ("a,b\n1,2\n3,red\n", "column b, row 2 holds 'red'; every value must be a number"),
        ("a,b\n1,2\n3,inf\n", "column b, row 2 holds inf"),
        ("a,b\n1,2\n\n3,\n", "column b, row 2 holds no value"),
        ("a,b\n1,2\n3,N/A\n", "column b, row 2 holds no value"),
        ("a,b\n1,2\n3,4,5\n", "line 3 holds 3 fields, and the first line names 2 columns"),
        ("a,b\n1,2\n3\n", "column b, row 2 holds no value"),
        ("a,b\n1,2,3\n3,4,5\n", "more fields than its first line"),
        ("a;b\n1;2\n", "'a;b'; each must have a name, and commas must be between them"),
        ("a\tb\n1\t2\n", "commas"),
        ("1.5,2\n1,2\n", "each must have a name"),
        (",a\n0,2\n", "each must have a name"),
        ('a,b\n"1,2\n', "is no table"),
        (b"a,b\n\xff\xfe,2\n", "is no table"),
    ],
)
def test_what_is_wrong_with_a_csv_file_is_one_line(tmp_path, content, said):
    assert said in error(write(tmp_path / "t.csv", content))


def test_a_byte_order_mark_spaces_and_quotes_are_no_harm(tmp_path):
    found = table.read(write(tmp_path / "t.csv", '\ufeffa, b\r\n1, 2.5\r\n"3",4 \r\n'))
    assert found.names == ["a", "b"]
    assert found.values.tolist() == [[1, 2.5], [3, 4]]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["x", "y"], "column b, row 1 holds 'x'"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "column b, row 1 holds '2020-01-01"),
        ([1.0, np.nan], "column b, row 2 holds no value"),
        ([1.0, -np.inf], "column b, row 2 holds -inf"),
    ],
)
def test_what_is_wrong_with_a_parquet_file_is_one_line(tmp_path, column, said):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": [1.0, 2.0], "b": column}).to_parquet(path)
    assert said in error(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.txt", "missing.csv", "t", "cut.parquet"])
def test_a_file_that_is_no_table_is_named(tmp_path, frame, name):
    path = tmp_path / name
    if name == "cut.parquet":
        frame.to_parquet(path)
        write(path, path.read_bytes()[: path.stat().st_size // 2])
    elif name != "missing.csv":
        write(path, "a,b\n1,2\n")
    error(path)


def test_rows_with_missing_values_are_dropped_and_counted_where_that_is_asked_for(tmp_path, frame):
    frame.loc[[3, 7], "a"] = np.nan
    for name, save in (("t.csv", frame.to_csv), ("t.parquet", frame.to_parquet)):
        save(tmp_path / name, index=False)
        found = table.read(tmp_path / name, "drop")
        assert found.dropped == 2
        assert (found.values == frame.dropna().to_numpy(float)).all()
        assert list(found.rows) == [row for row in range(1, 26) if row not in (4, 8)]
        assert "row 4" in error(tmp_path / name)
    assert "inf" in error(write(tmp_path / "t.csv", "a,b\n1,\n3,inf\n"), "drop")  # never dropped


# Writing


@pytest.mark.parametrize("target", ["csv", "parquet"])
def test_what_is_written_is_what_was_read_with_more_columns(path, frame, target, tmp_path):
    out = tmp_path / f"out.{target}"
    with table.writing(out) as write:
        for piece in table.stream(path, 10):
            write(piece.assign(twice=2 * table.numbers(piece, ["a"])[0][:, 0]))
    found = table.read(out)
    assert found.names == ["a", "n", "c", "twice"]
    assert (found.values == frame.assign(twice=2 * frame["a"]).to_numpy(float)).all()


def test_types_of_a_parquet_file_are_kept_beside_missing_values(tmp_path, frame):
    whole, who = pd.array([None, *range(24)], "Int64"), ["x", *[None] * 24]
    frame = frame.assign(n=whole, who=who, when=pd.Timestamp("2020-01-01"))
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    for name in ("out.parquet", "out.csv"):
        with table.writing(tmp_path / name) as write:
            for piece in table.stream(tmp_path / "t.parquet", 10):
                write(piece)
    before, after = (pq.read_schema(tmp_path / name).types for name in ("t.parquet", "out.parquet"))
    assert before == after
    first, second = (tmp_path / "out.csv").read_text().splitlines()[1:3]
    assert first.split(",")[1::2] == ["", "x"]
    assert second.split(",")[1::2] == ["0", ""]


def test_the_index_of_a_data_frame_is_passed_on_and_is_no_column_to_learn(tmp_path, frame):
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "t.parquet")
    assert table.read(tmp_path / "t.parquet").names == ["a", "n", "c"]
    assert "__index_level_0__" in next(table.stream(tmp_path / "t.parquet"))


def test_fields_of_a_csv_file_are_passed_on_as_they_are_written(tmp_path):
    path = write(tmp_path / "t.csv", 'who,a\n"x, y",1.50\n"say ""no""",007\n')
    with table.writing(tmp_path / "out.csv") as put:
        for piece in table.stream(path):
            put(piece.assign(b=[0.1, 1e-7]))
    expected = 'who,a,b\n"x, y",1.50,0.1\n"say ""no""",007,1e-07\n'
    assert (tmp_path / "out.csv").read_text() == expected


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_nothing_is_left_of_a_table_that_could_not_be_finished(tmp_path, name):
    path = write(tmp_path / "t.csv", "a\n1\nred\n")

    def copy():
        with table.writing(tmp_path / name) as put:
            for piece in table.stream(path, 1):
                put(piece.assign(b=table.numbers(piece, ["a"])[0][:, 0]))

    with pytest.raises(UserError, match="row 2"):
        copy()
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]


# Frames


def test_columns_are_found_by_name_in_any_order_and_others_are_left_alone(frame):
    values, kept = table.numbers(frame.assign(who="x"), ["c", "a"])
    assert (values == frame[["c", "a"]].to_numpy()).all()
    assert list(kept.columns) == ["a", "n", "c", "who"]


def test_what_is_wrong_with_a_frame_is_one_line(frame):
    with pytest.raises(UserError, match="column a, row 0 holds 'red'"):
        table.numbers(frame.assign(a="red"), ["a"])
    with pytest.raises(UserError, match=r"row 0 holds no value; frame\.dropna\(\) leaves such"):
        table.numbers(frame.assign(a=[np.nan] + [1.0] * 24), ["a"])
    with pytest.raises(UserError, match="holds no column b; its columns are: a, n, c"):
        table.numbers(frame, ["a", "b"])
