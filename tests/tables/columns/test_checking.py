"""Checks of columns before a fit: faults, and notices on rounded columns."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from frames import rows_of
from helpers import checked, field, inspected, rng

import flows
from flows.tables.columns.checking import check
from flows.tables.columns.field import Field
from flows.tables.columns.notices import TableError
from flows.tables.command_line.wording import shell_words

ROWS = 100
WARDS = field("ward", "category", step=1.0, labels=("east", "north", "west"))


def named(values):
    return [field(name) for name, _ in zip("abcd", values, strict=False)]


def error(columns, values, **others):
    """Return the error about a table, in the words of the command line."""
    with pytest.raises(TableError) as caught:
        check(columns, values, **others)
    return caught.value.text(shell_words)


# Faults of a table


def test_a_sound_table_is_unchanged_and_has_no_notice():
    columns = [field("a"), Field.parse("b", "interval:0:1"), Field.parse("n", "integer")]
    assert checked(columns, rows_of("normal", "share", "count")) == (columns, [])


def test_a_fit_needs_ten_rows():
    assert "9 rows" in error([field("a")], rows_of("normal", n=9))
    check([field("a")], rows_of("normal", n=10))


@pytest.mark.parametrize(
    ("word", "value", "said"),
    [
        ("interval:0:1", 1.0, "0 and 1; to learn any number, pass --column share=real"),
        ("integer", 2.5, "must be whole numbers;"),
        ("integer:0.25", 2.6, "multiples of 0.25"),
        ("count", 2.5, "whole numbers of at least 0; to learn any number"),
        ("real", np.inf, "finite"),
    ],
)
def test_the_error_for_a_disallowed_value_names_column_and_row(word, value, said):
    sound = 0.5 if "interval" in word else np.arange(1.0, ROWS + 1)
    values = rows_of("normal", np.where(np.arange(ROWS) == 41, value, sound))
    columns = [field("a"), Field.parse("share", word)]
    message = error(columns, values)
    assert f"column share, row 42 holds {value}; " in message
    assert said in message
    assert "row 1042" in error(columns, values, rows=np.arange(1001, 1001 + ROWS))  # in the file


A, B, OTHER = rows_of("normal", "share", "count").T


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((A, np.full(ROWS, 7.0)), "column b holds 7 in every row, and in samples"),
        ((A, np.arange(ROWS), A), "column c equals a, so samples compute it"),
        (
            (A, OTHER, B, 1e6 + 3 * A - 2 * B),
            "column d equals 3 a - 2 c + 1e+06, so samples compute it",
        ),
    ],
    ids=["constant", "equal", "a combination"],
)
def test_a_notice_names_a_column_without_a_density(values, said):
    found = check(named(values), rows_of(*values))
    (carried,) = found.carried
    assert carried.name not in [each.name for each in found.fields]
    assert [each.text(shell_words) for each in found.notices if each.is_decision] == [said]


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_numbers_that_cannot_be_squared_are_refused(scale):
    assert "change its unit" in error(named([A]), rows_of(scale * A))


def test_nearly_collinear_columns_large_offsets_and_few_rows_are_accepted():
    for values in ((A, A + 1e-6 * B), (1e9 + A, B)):
        check(named(values), rows_of(*values))
    wide = np.random.default_rng(0).normal(size=(20, 40))
    check([field(f"x{d}") for d in range(40)], wide)


# Rounded columns


@pytest.mark.parametrize(
    ("start", "step", "said"),
    [
        (0, 1.0, "--column age=count"),
        (0, 0.1, "--column age=count:0.1"),
        (-20, 1.0, "--column age=integer"),
    ],
)
def test_a_rounded_column_gets_its_step_and_a_notice_with_advice(start, step, said):
    (column,), (notice,) = checked([field("age")], start + step * rows_of("count"))
    assert column.kind == "real"
    assert column.step == pytest.approx(step)
    assert "column age holds" in notice
    assert f"in steps of {step:g}; equal values have no density" in notice
    assert notice.endswith(said)


def test_a_distance_that_is_no_step_is_not_called_one():
    (column,), (notice,) = checked([field("age")], math.pi + rows_of("count"))
    assert column.step == 1
    assert notice.endswith(
        "rows; equal values have no density, so training adds uniform noise to them"
    )


def test_few_prices_far_apart_are_advised_their_step_and_labels():
    """The most common gap is 0.25, and one price is no multiple of it."""
    prices = np.repeat([9.75, 10.0, 10.25, 12.0, 16.5, 17.95, 20.25, 25.5], 25)
    _, said = inspected(prices)
    assert "in steps of 0.05; equal values" in said
    assert said.endswith("to draw only these values, pass columns={'x': 'category'}")
    _, said = inspected(prices[::2])  # fewer than 20 rows of each price
    assert "category" not in said


@pytest.mark.parametrize(("sign", "side"), [(1, "below"), (-1, "above")])
def test_a_notice_says_that_samples_of_amounts_may_have_another_sign(sign, side):
    amounts = np.arange(0.01, 400, 2.0).round(2)
    _, said = inspected(sign * np.append(amounts, 0))
    kind = "count:0.01" if sign == 1 else "integer::0:0.01"
    assert said == (
        f"column x holds 0 in 1 of 201 rows and no value {side} 0, but samples may be; "
        f"to draw no sample {side} 0, pass columns={{'x': '{kind}'}}"
    )
    column, _ = inspected(sign * np.append(amounts, 0), kind)
    assert column.ends[0 if sign == 1 else 1] == 0
    assert "but samples may be" not in inspected(sign * np.append(amounts, [0, -5]))[1]


def test_constant_and_duplicate_categories_are_carried():
    one = field("ward", "category", step=1.0, labels=("east",))
    _, (said, *_) = checked([field("a"), one], rows_of("normal", np.zeros(ROWS)))
    assert said == "column ward holds 'east' in every row, and in samples"
    codes = np.repeat([0.0, 1, 2, 2], ROWS // 4)
    columns = [WARDS, field("code", "integer", step=1.0), field("a")]
    fields, (said, *_) = checked(columns, rows_of(codes, codes, "normal"))
    assert [each.name for each in fields] == ["ward", "a"]
    assert said == "column code equals ward, so samples compute it"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.round(rng().normal(5, 0.5, 300), 1), "count:0.1"),
        (np.round(rng().normal(size=300), 1), "integer:0.1"),
    ],
)
def test_a_rounded_column_is_advised_a_kind_that_keeps_its_sign(values, kind):
    assert (
        f"to draw samples in steps of 0.1, pass columns={{'x': '{kind}'}}" in inspected(values)[1]
    )


def test_messages_count_one_row_in_the_singular():
    columns = [field("a"), field("b")]
    for count, said in ((0, "0 rows"), (1, "1 row"), (2, "2 rows")):
        with pytest.raises(TableError, match=f"^the table has {said}; a fit needs 10$"):
            check(columns, rng().normal(size=(count, 2)))
    values = rng().normal(size=(20, 2))
    values[1:, 1] = np.nan
    _, (said, *_) = checked(columns, values)
    assert said == "column b holds a value in 1 row; a fit needs 8; samples hold no value"
    frame = pd.DataFrame({"a": rng().normal(size=20), "b": rng(1).normal(size=20)})
    frame.loc[3, "b"] = np.nan
    with pytest.warns(flows.TableNotice, match="1 of 40 values is missing: 1 in b; the fit uses"):
        flows.inspect(frame)
