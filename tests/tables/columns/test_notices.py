"""Notices and faults, in the words of each front end."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import SHORT, SMALL, learned

import flows
from flows.__main__ import main
from flows.tables.columns import parsing
from flows.tables.columns.notices import Notice, TableError, merged, python_words
from flows.tables.command_line.wording import shell_words
from stages.pipeline.runner import pipeline_words


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (python_words, ["frame.drop(columns='b')", "columns={'c': 'category'}", "na=['x']"]),
        (shell_words, ["pass --drop b", "pass --column c=category", "pass --na x"]),
        (pipeline_words, ["remove the column b", "data.columns.c: category", "hold x empty"]),
    ],
)
def test_notices_have_advice_in_the_words_of_each_front_end(words, advice):
    x = np.random.default_rng(0).normal(size=30)
    years, ids = range(1990, 2020), [f"p{k}" for k in range(30)]
    frame = pd.DataFrame({"a": x, "b": years, "c": ids, "d": x**2 + np.abs(x)}, range(1, 31))
    frame = frame.astype({"d": object})
    frame.loc[3, "d"] = "x"
    found = learned(parsing.parse(frame, dict.fromkeys(frame, "")), missing="learn")
    said = {notice.column: notice.text(words) for notice in found.notices}
    assert said["b"].startswith("column b is taken as years, 1990 to 2019; to leave the column ")
    assert said["c"].startswith("column c holds 30 different texts in 30 rows, so it is excluded ")
    assert said["d"].startswith("column d holds text among numbers in 1 row, such as 'x', which ")
    assert [word in said[name] for word, name in zip(advice, "bcd", strict=True)] == [True] * 3


def test_all_faulty_columns_are_reported_at_once():
    x = np.random.default_rng(0).normal(size=30)
    frame = pd.DataFrame({"a": x, "b": np.abs(x), "c": x}, range(1, 31))
    frame.loc[2, "b"], frame.loc[3, "c"] = -1.0, np.inf
    kinds = {"b": "positive"}
    with pytest.raises(TableError) as caught:
        learned(parsing.parse(frame, {name: kinds.get(name, "") for name in frame}), kinds)
    b, c = sorted(caught.value.text(shell_words).splitlines())
    assert b.startswith("column b, row 2 holds -1.0; positive values must be ")
    assert c.startswith("column c, row 3 holds inf, ")


def test_a_user_error_with_several_faults_has_one_line_each_in_the_shell(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + 20 * "1,2\n2,3\n" + "inf,3\n1,inf\n")
    two = r"^flows: .*column a, row 41 holds [^\n]*\n.*column b, row 42 holds [^\n]*$"
    with pytest.raises(SystemExit, match=two):
        main(["fit", f"{tmp_path}/t.csv", "-o", f"{tmp_path}/t.flow"])


def test_notices_are_warnings_of_a_class_at_the_line_of_the_caller():
    frame = pd.DataFrame(
        {"a": np.arange(60) % 7 + 0.5, "b": np.random.default_rng(0).normal(size=60)}
    )
    quick = {"recipe": "quick"}
    with pytest.warns(flows.TableNotice, match="column a holds 7 distinct values") as caught:
        density = flows.fit(frame, SMALL, members=1, settings=quick)
    assert {each.filename for each in caught} == {__file__}
    with pytest.warns(flows.TableNotice, match="column a is given as 10000, far") as caught:
        density.sample(2, given={"a": 1e4})
    assert [each.filename for each in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", flows.TableNotice)
        flows.fit(frame, SMALL, members=1, settings=quick)


def test_equal_notices_of_several_columns_are_one():
    notices = [
        Notice("is rounded to 0.1", "a", together="are rounded"),
        Notice("is a date", "d", together="are dates"),
        Notice("numbers the rows", "id"),
        Notice("is rounded to 0.5", "b", together="are rounded"),
        Notice("2 rows are copies"),
        Notice("is rounded to 10", "c", together="are rounded"),
        Notice("is rounded twice", "a", together="are rounded"),
    ]
    assert [each.text(shell_words) for each in merged(notices)] == [
        "3 columns are rounded: a, b, c; to see each, run flows inspect",
        "column d is a date",
        "column id numbers the rows",
        "2 rows are copies",
    ]


def wide(n: int = 200) -> pd.DataFrame:
    """Return a table of 30 columns: labels, gaps, rounded, closed, constant, computed columns."""
    r = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"p{k}" for k in range(n)], "const": 1})
    for k in range(6):
        frame[f"label{k}"] = r.choice(["a", "b", "c"], n)
        frame[f"rounded{k}"] = r.normal(5, 1, n).round(1)
        frame[f"month{k}"] = r.integers(1, 13, n)
        frame[f"gap{k}"] = np.where(r.random(n) < 0.1, np.nan, r.normal(size=n))
    frame["sum"] = frame.gap0 + frame.gap1
    frame["double"] = 2 * frame.rounded0
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(r.integers(0, 300, n), "D")
    frame["other"] = pd.Timestamp("2021-01-01") + pd.to_timedelta(r.integers(0, 300, n), "D")
    return frame


@pytest.mark.slow
def test_a_fit_of_thirty_columns_says_at_most_ten_lines():
    frame = wide()
    assert frame.shape[1] == 30
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flows.fit(frame, members=1, settings=SHORT)
    said = [str(each.message) for each in caught if each.category is flows.TableNotice]
    assert len(said) <= 10
    assert any(text.startswith("6 columns are taken as categories: label0, ") for text in said)
    assert any(text.startswith("2 columns are taken as dates: day, other; ") for text in said)
    assert sum(flows.inspect(frame).notice != "") >= 20
