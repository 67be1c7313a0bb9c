"""Constraints between the columns of a table: their grammar, their types and their values."""

from __future__ import annotations

import builtins
import itertools
import os
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from helpers import error_message, field, learned

from flows.tables.columns.constraint import Constraint, Constraints
from flows.tables.columns.field import Field
from flows.tables.columns.formulas import Term
from flows.tables.columns.kinds.category import Category
from flows.tables.columns.kinds.unlearned import Carried, Excluded
from flows.tables.columns.notices import TableError
from flows.tables.columns.parsing import from_user
from flows.tables.columns.schema import Schema

NAN = np.nan
FORM = "%d/%m/%Y"


class Sound(Field):
    """A kind of a user whose values are neither numbers, dates nor labels."""


FIELDS = (
    field("a"),
    field("b", "positive"),
    field("c", "count"),
    field("start", "date", unit="days", form=FORM),
    field("end", "date", unit="seconds"),
    field("city", "category", labels=["Bonn", "Rome", "a`b"]),
    field("home", "category", labels=["Oslo", "Rome", "Bonn"]),
    field("flag", "category", labels=[0, 1]),
    field("smokes", "category", labels=[False, True]),
    Category("town", labels=("Lund", "Ulm", "2 others"), pooled=(("Ems", 1), ("Ulm 2", 2))),
    field("stay", dtype="timedelta64[ns]"),
    field("blood pressure"),
    field("class"),
    field("it's"),
    field("\u212b"),  # Python reads the sign of the unit as the letter
    field("two\nlines"),
    Sound("sound"),
)
CARRIED = (
    Carried(field("total", decimals=1), 3.0, ((Term(("a",)), 2.0), (Term(("c",)), -1.0))),
    Carried(field("limit"), 7.5),
    Carried(field("mirror", "category", labels=["no", "yes"]), 1.0, ((Term(("flag",)), -1.0),)),
    Carried(field("empty"), None),
)
NAMES = tuple(each.name for each in (*FIELDS, *CARRIED))
SCHEMA = Schema(FIELDS, (*NAMES, "id"), (*CARRIED, Excluded("id", "identifier")))
PLACES = {each.name: d for d, each in enumerate(FIELDS)}


def parse(text: str) -> Constraint:
    return Constraint.parse(text, SCHEMA)


def met(each: list[Constraint], rows: np.ndarray) -> np.ndarray:
    return Constraints(FIELDS, tuple(each)).met(rows)


def rows_of(**columns) -> np.ndarray:
    """Return rows with gaps in all other columns."""
    values = np.broadcast_arrays(*columns.values())
    rows = np.full((values[0].size, len(FIELDS)), NAN)
    for name, x in zip(columns, values, strict=True):
        rows[:, PLACES[name.replace("_", " ")]] = x
    return rows


def decided(text: str, **columns) -> list[float]:
    return parse(text).holds(rows_of(**columns)).tolist()


def days(*dates: str) -> np.ndarray:
    return np.array([pd.Timestamp(date).timestamp() / 86_400 for date in dates])


def seconds(*dates: str) -> np.ndarray:
    return np.array([pd.Timestamp(date).timestamp() for date in dates])


# Values


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("a <= b", lambda a, b, c: a <= b),
        ("a < b", lambda a, b, c: a < b),
        ("c == 2", lambda a, b, c: c == 2),
        ("c != 2", lambda a, b, c: c != 2),
        ("a + b * 2 <= 3", lambda a, b, c: a + b * 2 <= 3),
        ("(a + b) * (2 - 0.5) <= c - 3", lambda a, b, c: (a + b) * 1.5 <= c - 3),
        ("a / (2 / 3) < 1 - -b / 2", lambda a, b, c: a * 1.5 < 1 + b / 2),
        ("-2 * +b < - - a", lambda a, b, c: -2 * b < a),
        ("a >= b > 0.5", lambda a, b, c: (a >= b) & (b > 0.5)),
        ("a + b + c - 2 * a <= c", lambda a, b, c: b <= a),
        ("-(a + 1) < 0", lambda a, b, c: -(a + 1) < 0),
        ("0 <= a <= b", lambda a, b, c: (a >= 0) & (a <= b)),
        ("not a < b and c > 1", lambda a, b, c: ~(a < b) & (c > 1)),
        ("not (a < b and c > 1)", lambda a, b, c: ~((a < b) & (c > 1))),
        ("a < b or c > 1 and a > 0", lambda a, b, c: (a < b) | ((c > 1) & (a > 0))),
        ("total > 1", lambda a, b, c: np.round(2 * a - c + 3, 1) > 1),
        ("(a\n<= b)", lambda a, b, c: a <= b),
    ],
)
def test_a_constraint_agrees_with_numpy(text, own):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=400), rng.exponential(size=400)
    c = rng.integers(0, 4, 400).astype(float)
    found = parse(text).holds(rows_of(a=a, b=b, c=c))
    np.testing.assert_array_equal(found, own(a, b, c).astype(float))
    assert 0 < found.mean() < 1


def test_values_that_differ_by_a_rounding_error_are_equal():
    own = {"a": 0.1, "b": 0.2, "class": 0.3}
    for text in (
        "a + b <= `class`",
        "a + b == `class`",
        "(a + b) / 3 <= `class` / 3",
        "3 * (a + b) == 0.9",
    ):
        assert decided(text, **own) == [1], text
        assert decided(f"not {text}", **own) == [0]
    for text in ("a + b > `class`", "a + b < `class`", "a + b != `class`", "a + b - `class` > 0"):
        assert decided(text, **own) == [0], text
    assert decided("a < b", a=[1e6, 1e6], b=[1e6 + 1, 1e6 + 1e-4]) == [1, 0]
    assert decided("a == b", a=[1e-12, 0.0], b=[2e-12, 1e-12]) == [0, 0]


# Gaps


def test_logic_with_gaps_is_that_of_kleene():
    both = list(itertools.product((0.0, 1.0, NAN), repeat=2))
    a, b = np.array(both).T
    conjunction = [0 if 0 in each else min(each) if NAN not in each else NAN for each in both]
    disjunction = [1 if 1 in each else max(each) if NAN not in each else NAN for each in both]
    rows = rows_of(a=a, b=b)
    for text, expected in (
        ("a > 0.5 and b > 0.5", conjunction),
        ("a > 0.5 or b > 0.5", disjunction),
        ("not (a <= 0.5 or b <= 0.5)", conjunction),
        ("not a > 0.5", 1 - a),
        ("0.5 < a < b + 1", np.where(a == 0, 0, np.where(np.isnan(a + b), NAN, a <= b))),
    ):
        np.testing.assert_array_equal(parse(text).holds(rows), expected, err_msg=text)


@pytest.mark.parametrize(
    "text",
    [
        "a < b + c",
        "start <= end",
        "city == 'Rome'",
        "city != home",
        "total > 1",
        "mirror == 'yes'",
    ],
)
def test_a_comparison_with_a_gap_is_undecided(text):
    assert np.isnan(parse(text).holds(rows_of(a=1.0)))
    assert not met([parse(text)], rows_of(a=1.0))[0]


# Dates


def test_dates_in_two_units_are_compared_to_the_second():
    start = days("1980-02-28", "1980-02-29", "1980-03-01", "1980-03-01")
    end = seconds("1980-02-28 00:00:01", "1980-02-29", "1980-02-29 23:59:59", "1981-03-01")
    own = {"start": start, "end": end}
    assert decided("start <= end", **own) == [1, 1, 0, 1]
    assert decided("start == end", **own) == [0, 1, 0, 0]
    assert decided("end - start < 0", **own) == [0, 0, 1, 0]
    assert decided("end - start == 1 / 86400", **own) == [1, 0, 0, 0]
    assert decided("end - start >= 365", **own) == [0, 0, 0, 1]
    assert decided("start + 365 <= end", **own) == [0, 0, 0, 1]


def test_a_quoted_date_is_read_as_its_column_reads_dates():
    start = days("1980-12-30", "1980-12-31", "1981-01-01")
    for text in (
        "start <= '31/12/1980'",
        "'31/12/1980' >= start",
        "'31/12/1980' - start >= 0",
    ):
        assert decided(text, start=start) == [1, 1, 0], text
    end = seconds("1980-12-31 12:30", "1980-12-31 12:31")
    assert decided("'1980-12-31' < end <= '1980-12-31 12:30'", end=end) == [1, 0]
    for text in ("now", "today", "1981", "March 1981"):  # would change, or be read in several ways
        with pytest.raises(TableError, match="neither a date in the format of the column nor like"):
            parse(f"end >= '{text}'")


# Labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("city == 'Rome'", [0, 1, 0]),
        ('city == "a`b" or `class` < 1', [1, 1, 1]),
        ("city == home", [0, 1, 0]),
        ("city != home", [1, 0, 1]),
        ("flag == 1", [0, 1, 0]),
        ("smokes == 'True'", [1, 0, 0]),
        ("mirror == 'yes'", [1, 0, 1]),
        ("town == 'Ulm'", [0, 1, 0]),
    ],
)
def test_labels_are_compared_by_their_text(text, expected):
    own = {"city": [0, 1, 2], "home": [0, 1, 2], "flag": [0, 1, 0], "smokes": [1, 0, 0]}
    assert decided(text, **own, town=[0, 1, 2], **{"class": 0}) == expected


def test_a_label_may_be_a_negative_number():
    schema = Schema.of([field("sign", "category", labels=[-1, 1])])
    found = Constraint.parse("sign == -1", schema).holds(np.array([[0.0], [1.0], [NAN]]))
    np.testing.assert_array_equal(found, [1, 0, NAN])


def test_a_label_that_the_fit_refused_equals_no_label():
    own = {"city": [-1, -1, 0], "home": [-1, 0, -1]}
    for text in ("city == 'Bonn'", "city == home", "home == city"):
        assert decided(text, **own)[:2] == [0, 0], text
    assert decided("home == city", **own)[2] == 0


# Names


def test_names_in_backticks_may_be_no_identifiers():
    assert decided("`blood pressure` <= 200", blood_pressure=[199, 201]) == [1, 0]
    assert decided("`class`<=3", **{"class": [3, 4]}) == [1, 0]
    assert decided("`it's` < 2 or city == 'a`b'", **{"it's": [1, 3]}, city=[0, 2]) == [1, 1]
    assert decided("\u212b < 1", **{"\u212b": [0, 2]}) == [1, 0]
    assert decided("`two\nlines` < 1", **{"two\nlines": [0, 2]}) == [1, 0]
    assert parse("`a`< `blood pressure`").names == ("a", "blood pressure")


# Wrong texts


HOSTILE = [
    "__import__('os').system('x') < 1",
    "eval('1') < a",
    "(lambda: 0)() < a",
    "a.__class__ == b",
    "a[0] < 1",
    "a ** 9 ** 9 ** 9 < 1",
    "a % b < 1",
    "a < 1 & b < 2",
    "~a < 1",
    "[x for x in a]",
    'f"{a}"',
    "a if b else c",
    "(a := 1) < 2",
    "a in (1, 2)",
    "a is b",
    "a < (1, 2)",
    "await a < 1",
    "print(a) < 1",
    "a < True",
    "city == b'Rome'",
]
MALFORMED = [
    "",
    "a <",
    "a = 1",
    "a <= 1\nb <= 2",
    "import os",
    "class < 1",
    "`a < 1",
    "`a``b` < 1",
    "city == 'Rome",
    "a\x00 < 1",
    "\ud800 < 1",
    "a && b",
    "(" * 450 + "a" + ")" * 450 + " < 1",
]
DEEP = [
    "-" * 900 + "a < 1",
    "not " * 200 + "a < 1",
    "lambda: " * 105 + "a",
]


@pytest.mark.parametrize(
    ("texts", "said"),
    [(HOSTILE, r"'.+' is not allowed; a constraint has columns"), (MALFORMED, "is not understood")],
)
def test_another_grammar_is_one_clear_error_and_is_not_executed(texts, said, monkeypatch):
    executed = []
    monkeypatch.setattr(os, "system", executed.append)
    for name in ("eval", "exec", "print"):
        monkeypatch.setattr(builtins, name, lambda *each, name=name: executed.append(name))
    for text in texts:
        message = error_message(parse, text, error=TableError).replace('"', "'")
        assert message.startswith("constraint '"), message
        assert re.search(f"': ({said})", message), message
        assert "and, or, not" in message
        assert len(message) < 400
    assert not executed


@pytest.mark.parametrize("text", DEEP)
def test_a_constraint_with_too_many_levels_is_refused(text):
    message = error_message(parse, text, error=TableError)
    assert "is nested too deeply; at most 100 levels" in message or "not understood" in message


@pytest.mark.parametrize("text", ["(" * 5_000, "a" * 11_000, "_" * 11_000, "`" * 1_001])
def test_a_long_constraint_is_refused(text):
    message = error_message(parse, text, error=TableError)
    assert f"has {len(text)} characters; at most 1000 are allowed" in message
    assert len(message) < 200


def test_the_largest_constraints_are_read():
    assert decided("+".join("a" * 90) + " <= 90", a=[1, 2]) == [1, 0]
    assert decided(" or ".join(["a < 1"] * 100), a=[0, 1]) == [1, 0]
    assert decided("a <" + " " * 996 + "1", a=[0, 1]) == [1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "'a' is a number, not a comparison"),
        ("a + 1", "'a + 1' is a number, not a comparison"),
        ("a < 1 and 1", "'1' is a number, not a comparison"),
        ("(a < b) < c", "'a < b' is a comparison, where a number, a date or a label is needed"),
        ("a + (not b < 1) < 2", "'not b < 1' is a comparison, where"),
        ("1 < 2", "names no column"),
        ("a <= 'x'", "compares a number with a quoted text; numbers are compared with numbers"),
        ("a < start", "'a < start' compares a number with a date"),
        ("city < home", "'city < home' compares a label with a label"),
        ("flag == a", "'flag == a' compares a label with a number"),
        ("start * 2 < end", "'start * 2' combines a date with a number; numbers take + - * /"),
        ("-start < 1", "'-start' has a sign before a date"),
        ("flag < 2", "to learn column flag as numbers, pass columns={'flag': 'integer'}"),
        ("a < 1e999", "'1e999' is too large a number"),
        (
            "a / b <= 0.5",
            "'a / b' divides by a column; a constraint is linear in its columns: write",
        ),
        ("1 / (a + b) <= 5", "as 'b > 0 and a <= 0.5 * b or b < 0 and a >= 0.5 * b'"),
        ("a * (b + 1) < 2", "'a * (b + 1)' multiplies two columns; a constraint is linear in its"),
        ("a / (2 - 2) < 1", "'a / (2 - 2)' divides by 0"),
        ("1e308 * 10 <= a", "'1e308 * 10' has too large a number"),
        ("a / 1e-320 <= 1", "'a / 1e-320' has too large a number"),
        ("total - 2 * a < 1", "compares column total, which is computed and rounded, with columns"),
        ("start < 'x'", "column start holds 'x', which is not a date in the format %d/%m/%Y"),
        ("end < 'nan'", "column end is compared with 'nan', which counts as a missing value"),
        (
            "city == 'Oslo'",
            "column city is compared with 'Oslo', which is not one of its labels (Bonn, Rome, a`b)",
        ),
        (
            "town == 'Ems'",
            "column town is compared with 'Ems', one of its rare labels, which share",
        ),
        ("town == 'Rom'", "column town holds 'Rom', which no row of the fitted table held"),
        ("town == city", "column town has rare labels that share one code"),
        ("x < 1", "there is no column x; the columns are: a, b, c"),
        ("id < 1", "column id is excluded from the density; the learned columns are: a, b"),
        ("empty < 1", "column empty holds no value"),
        ("sound == 1", "column sound holds no numbers, dates, clock times or labels"),
        ("end - start <= stay", "column stay, which counts seconds; compare them in different"),
    ],
)
def test_a_wrong_constraint_is_one_clear_error(text, said):
    message = error_message(parse, text, error=TableError)
    assert message.startswith("constraint ")
    assert said in message


# The values of one column that a constraint allows

CUT_FIELDS = (
    field("x"),
    field("y", "positive", decimals=1),
    field("n", "count"),
    field("k", "integer", 2, 9),
    field("m", "count", multiple=1000.0),
    field("day", "date", unit="days"),
    field("time", "date", unit="seconds", step=60.0),
    field("s", "interval", 0.0, 1.0),
    field("z", decimals=2),
    field("w", "category", labels=["a", "b", "c"]),
)
CUT_CARRIED = (
    Carried(field("mean", decimals=1), 0.25, tuple((Term((name,)), 1 / 3) for name in "xnz")),
    Carried(field("other", "category", labels=["u", "v", "w"]), 2.0, ((Term(("w",)), -1.0),)),
)
CUT_SCHEMA = Schema(
    CUT_FIELDS, tuple(each.name for each in (*CUT_FIELDS, *CUT_CARRIED)), CUT_CARRIED
)
PLACE_OF = {each.name: d for d, each in enumerate(CUT_FIELDS)}
CUT_SPREAD = np.array([3, 1, 3, 3, 2000, 3, 200_000, 0.3, 0.3, 1])
CUTS = [
    "x <= 2 * n - 3",
    "x != 3 and (x < y or x > y + 2)",
    "n == 2 or n == 5 or n > 7 * y",
    "n != 3",
    "not (1 < x < 2) and not n == k",
    "2 * n + k <= 9",
    "m <= 2500 or m >= 4000 and n > 2",
    "k >= n and k != 4",
    "time - day < 0.5 or time - day >= 3",
    "day > '1970-01-03' and time - day <= 2",
    "day == '1970-01-04'",
    "y <= 0.7 or y == 1.2 or s > 0.5",
    "s + y <= 1.25",
    "z < 0.33 or z > x",
    "z == 0.12 or z == x",
    "mean <= 2",
    "mean == 1.5 or mean >= n",
    "0.5 * x + mean < k",
    "w != 'a' or x > 1 and n < 4",
    "other == 'u' or w == 'c' and x <= 0",
    "x + n - x <= 4",
    "y <= mean or s > 0.9",
    "0.1 * x + 0.2 * x - 0.3 * x + y <= 2.5",
    "k >= mean and z <= mean",
]


def parsed_cut(text: str) -> Constraint:
    return Constraint.parse(text, CUT_SCHEMA)


@pytest.fixture(scope="module")
def cut_rows():
    """Return rows as they are written, of which the first are far from the others."""
    rng, n = np.random.default_rng(0), 60
    rows = rng.normal(size=(n, len(CUT_FIELDS))) * CUT_SPREAD
    positive = [PLACE_OF[name] for name in ("y", "n", "m", "day", "time")]
    rows[:, positive] = np.abs(rows[:, positive]) + 0.06
    rows[:, PLACE_OF["k"]] = rng.integers(2, 10, n)
    rows[:, PLACE_OF["s"]], rows[:, PLACE_OF["w"]] = rng.random(n), rng.integers(0, 3, n)
    rows[:10, :2] = -400, 300.3
    return np.stack([each.written(x) for each, x in zip(CUT_FIELDS, rows.T, strict=True)], axis=1)


@pytest.mark.parametrize("text", CUTS)
def test_the_allowed_intervals_of_a_column_hold_the_values_that_meet_the_constraint(text, cut_rows):
    rng, found = np.random.default_rng(1), Constraints(CUT_FIELDS, (parsed_cut(text),))
    with np.errstate(all="raise"):
        for d in sorted(found.places):
            column, n = CUT_FIELDS[d], len(cut_rows)
            intervals = found.allowed(cut_rows, d)
            near = cut_rows[:, d, None] + CUT_SPREAD[d] * rng.normal(size=(n, 300))
            ends = np.where(np.isfinite(intervals), intervals, cut_rows[:, d, None, None])
            beside = ends.reshape(n, -1, 1) + max(column.spacing, 0.1) * rng.normal(size=(n, 1, 20))
            x = np.concatenate([near, beside.reshape(n, -1)], axis=1)
            low, high = np.clip(column.bounds, -1e9, 1e9) + np.array([1e-6, -1e-6])
            x = x.clip(low, high)
            values = np.repeat(cut_rows, x.shape[1], axis=0)
            known = values.copy()
            values[:, d], known[:, d] = x.ravel(), NAN
            is_met = found.met(values, known).reshape(x.shape)
            is_inside = (intervals[:, None, :, 0] < x[..., None]) & (
                x[..., None] < intervals[:, None, :, 1]
            )
            np.testing.assert_array_equal(is_inside.any(axis=2), is_met, err_msg=column.name)
            assert is_met.any()


def test_a_gap_counts_as_any_value_within_its_bounds():
    both = Constraints(FIELDS, (parse("b + c <= a"),))
    rows = rows_of(a=[-1.0, 5.0])
    assert both.broken(rows).ravel().tolist() == [True, False]
    intervals = both.allowed(rows, PLACES["b"])
    assert intervals[1].tolist() == [[0.0, pytest.approx(5.0)]]
    assert decided("b + c <= a", a=[-1.0, 1.0]) == [0, pytest.approx(NAN, nan_ok=True)]
    assert decided("c >= 0 and b > a", a=[-2.0]) == [1]


def test_dates_in_seconds_are_compared_to_the_second():
    fields = tuple(field(name, "date", unit="seconds", step=1.0) for name in ("start", "end"))
    start = 1_700_000_000.0
    for text, expected in (
        ("start <= end", [start - 0.5, np.inf]),
        ("start < end", [start + 0.5, np.inf]),
        ("start == end", [start - 0.5, start + 0.5]),
    ):
        found = Constraints(fields, (Constraint.parse(text, Schema.of(fields)),))
        assert found.allowed(np.array([[start, NAN]]), 1).tolist() == [[expected]], text


# Several constraints


def test_rows_meet_all_constraints_or_break_one():
    several = [parse("a <= b"), parse("c <= 5 or b > 9"), parse("a <= 5 * b")]
    a, b = np.array([1, 1, 3, NAN, 2, 0]), np.array([2, 2, 2, 2, NAN, 0.1])
    rows = rows_of(a=a, b=b, c=[5, 6, 6, 6, 6, 0])
    assert met(several, rows).tolist() == [True, False, False, False, False, True]
    found = Constraints(FIELDS, tuple(several)).broken(rows)
    assert np.argwhere(found).tolist() == [[1, 1], [2, 0], [2, 1], [3, 1]]
    assert met([], rows).all()
    assert Constraints(FIELDS).broken(rows).shape == (6, 0)
    assert met(several, rows[:0]).shape == (0,)


def test_a_constraint_is_a_value_that_another_process_reads():
    text = "0 <= a <= b and (start < end or city == home) and not total > 3 or flag == 1"
    own = parse(text)
    assert own == parse(text)
    assert hash(own) == hash(parse(text))
    assert repr(parse("a <= b")) == "Constraint(text='a <= b', names=('a', 'b'))"
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, len(FIELDS)))
    rows[:, [PLACES[name] for name in ("city", "home", "flag")]] = rng.integers(0, 2, (50, 3))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(own)).holds(rows), own.holds(rows))


def test_the_constraints_of_a_learned_table_agree_with_pandas():
    rng, n = np.random.default_rng(0), 200
    birth = pd.Timestamp("1960-01-01") + pd.to_timedelta(rng.integers(0, 9_000, n), "D")
    visit = birth + pd.to_timedelta(rng.integers(-200_000, 20_000_000, n), "min")
    frame = pd.DataFrame(
        {
            "birth": birth.strftime(FORM),
            "last visit": visit,
            "a": rng.normal(size=n).round(2),
            "b": rng.normal(size=n).round(2),
            "ward": rng.choice(["north", "south", "west"], n),
        }
    )
    frame["sum"] = (frame.a + 2 * frame.b).round(2)
    found = learned(from_user(frame, {}))
    assert [each.name for each in found.schema.carried] == ["sum"]
    for text, expected in (
        ("birth <= `last visit`", birth <= visit),
        ("`last visit` - birth >= 18 * 365.25", visit - birth >= pd.Timedelta(days=18 * 365.25)),
        ("`last visit` < '1984-07-01 12:00'", visit < pd.Timestamp("1984-07-01 12:00")),
        ("birth < '01/07/1970'", birth < pd.Timestamp("1970-07-01")),
        ("sum <= 0.3 or ward == 'west'", (frame["sum"] <= 0.3) | (frame.ward == "west")),
    ):
        constraint = Constraint.parse(text, found.schema)
        cut = Constraints(found.schema.fields, (constraint,))
        np.testing.assert_array_equal(cut.met(found.values), expected, err_msg=text)
        assert 0 < np.mean(expected) < 1
