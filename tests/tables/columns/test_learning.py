"""What a density learns from a table: rows with gaps, and tables that are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from closed_forms import gappy
from frames import gappy_labels
from helpers import field, further, learned, quick_fit, rng, taken

import flows
from flows.core.errors import UserError
from flows.tables.columns import parsing
from flows.tables.columns.checking import check
from flows.tables.columns.notices import TableError, python_words
from flows.tables.columns.parsing import from_user


def test_a_table_without_a_column_to_learn_is_refused():
    frame = pd.DataFrame({"a": "x", "b": 3, "id": [f"p{k}" for k in range(240)]})
    with pytest.raises(TableError, match="no column has a density"):
        flows.fit(frame)
    with pytest.raises(TableError, match="there is no column to learn"):
        flows.fit(frame[["id"]])


NUMBERS = {"a": np.arange(20) % 7, "b": np.arange(20) % 5, "y": np.arange(20) % 3 + 0.5}


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"a": [1, None] * 10, "b": [None, 1] * 10}, {"missing": "drop"}, "lacks a value"),
        ({"y": None}, {"target": "y"}, "lacks a target"),
    ],
)
def test_a_table_in_which_no_row_is_left_is_refused(change, options, said):
    with pytest.raises(TableError, match=f"^no row is left: every row {said}$"):
        flows.inspect(pd.DataFrame(NUMBERS | change), **options)


@pytest.mark.parametrize(
    ("value", "kinds"), [(3.0, {}), ("2020-01-31", {"a": "date"}), ("2020-01-31", {})]
)
def test_a_column_with_values_only_in_rows_without_a_target_is_carried(value, kinds):
    frame = pd.DataFrame(NUMBERS | {"a": [value, None] * 10, "y": [None, 1.5, 2.5, None] * 5})
    frame.loc[~frame["y"].isna(), "a"] = None
    frame = pd.concat([frame, pd.DataFrame({"a": None, "b": NUMBERS["b"], "y": NUMBERS["y"]})])
    found = flows.inspect(frame, target="y", columns=kinds).loc["a"]
    assert found["use"] == "carried"
    assert "holds a value in 0 rows" in found["notice"]


def test_gaps_are_kept_and_counted(capsys):
    columns, values, _, found, *_ = learned(
        parsing.parse(gappy_labels(), dict.fromkeys(gappy_labels(), "")), {}, "learn"
    )
    notices = [notice.text(python_words) for notice in found]
    assert len(values) == 59
    assert np.isnan(values[:, 0]).sum() == 3
    assert set(values[~np.isnan(values[:, 0]), 0]) == {0, 1}
    assert [column.kind for column in columns] == ["category"] + ["real"] * 3 + ["count"]
    assert [bool(column.cell) for column in columns] == [True] + [False] * 3 + [True]
    assert notices[0] == "1 row without a value is left out"
    assert "3 in label" in notices[1]
    few = np.where(np.arange(30) < 7, gappy(30)[0][:, 0], np.nan)
    for values, said in (
        (np.stack([gappy(30)[0][:, 0], few], axis=1), "holds a value in 7 rows; a fit needs 8"),
        (gappy(60)[1][:, [0, 0]], "equals a"),
    ):
        found = check([field("a"), field("b")], values)
        (notice,) = (each for each in found.notices if each.is_decision)
        assert notice.text(python_words).startswith(f"column b {said}")


# Columns that are computed

ALLOWED = "whole numbers from 500 to 2359"


def times(n: int = 300) -> pd.DataFrame:
    """Return clock times before their hours and minutes."""
    rng = np.random.default_rng(0)
    hour, minute = rng.integers(5, 24, n), rng.integers(0, 60, n)
    frame = pd.DataFrame({"time": 100 * hour + minute, "hour": hour, "minute": minute})
    return frame.assign(delay=rng.normal(hour, 4).round(1))


def shares(n: int = 300) -> pd.DataFrame:
    """Return three percentages that sum to 100."""
    parts = np.random.default_rng(0).multinomial(10, [0.3, 0.3, 0.4], n) * 10
    return pd.DataFrame(parts, columns=[*"abc"])


def doubles() -> pd.DataFrame:
    """Return numbers above 0, and twice these numbers."""
    p = np.random.default_rng(0).gamma(2, 3, 100)
    return pd.DataFrame({"p": p, "q": 2 * p, "x": p[::-1]})


def test_text_among_the_numbers_of_a_given_column_counts_as_missing_with_a_notice():
    x = [f"{value:.3f}" for value in rng(0).normal(size=60)]
    x[3] = "n.d."
    rows, said = taken(pd.DataFrame({"x": x, "y": rng(1).normal(size=60)}), targets=["y"])
    assert np.isnan(rows.values[:, 0]).nonzero()[0].tolist() == [3]
    assert "text among numbers in 1 row, such as 'n.d.'" in said["x"]


@pytest.mark.parametrize(
    ("frame", "kinds", "formula", "require"),
    [
        (times(), {}, "time = 100 hour + minute", ()),
        (times(), {"minute": "integer:0:59"}, "time = 100 hour + minute", ()),
        (
            times(),
            {"hour": "integer", "minute": "integer:0:59", "time": "integer:500:2359"},
            "time = 100 hour + minute",
            ("time >= 500", "time <= 2359"),
        ),
        (times()[["hour", "time", "delay"]].assign(x=times().time / 10), {}, "x = 0.1 time", ()),
        (doubles(), {"p": "real", "q": "positive"}, "p = 0.5 q", ()),
        (shares(), dict.fromkeys("abc", "integer:0:100"), "c = -a - b + 100", ("c >= 0",)),
        (shares().rename(columns={"c": "of c"}), {}, "of c = -a - b + 100", ("`of c` >= 0",)),
        (shares()[["a", "b"]].assign(both=lambda x: x.a + x.b), {}, "both = a + b", ()),
        (shares().assign(a=lambda x: x.a + x.b), {}, "c = -a + 100", ("c >= 0",)),
    ],
)
def test_the_column_that_keeps_its_equation_and_its_bounds_is_computed(
    frame, kinds, formula, require
):
    found = learned(from_user(frame, {}), kinds)
    assert [f"{each.name} = {each.formula}" for each in found.schema.carried] == [formula]
    assert found.schema.require == require
    said = [notice.text(python_words) for notice in found.notices]
    assert any("so samples must meet" in text for text in said) == bool(require)


@pytest.mark.parametrize("first", ["time", further("minute")])
def test_samples_keep_the_equation_and_the_bounds_of_computed_columns(first):
    frame = times()
    frame = frame[[first, *(name for name in frame if name != first)]]
    kinds = {"minute": "integer:0:59", "time": "integer:500:2359"}
    density = quick_fit(frame, columns=kinds)
    drawn = density.sample(2_000)
    assert (drawn.time == 100 * drawn.hour + drawn.minute).all()
    assert drawn.time.between(500, 2359).all()
    assert drawn.minute.between(0, 59).all()
    found = density.check(frame)
    assert found.carried.iloc[0].drop("formula").tolist() == ["time", ALLOWED, 1.0]
    assert f"; 100.0% of samples are within its bounds ({ALLOWED})" in str(found)


@pytest.mark.slow
def test_samples_keep_the_equation_of_labels():
    """Three columns of 0 and 1, of which one is 1, are labels."""
    one = np.eye(3)[np.random.default_rng(0).integers(0, 3, 200)].astype(int)
    frame = pd.DataFrame(one, columns=["p", "q", "is r"]).assign(x=rng().normal(size=200))
    density = quick_fit(frame)
    assert density.schema.require == ("q == '0' or q == '1'",)
    assert (density.sample(2_000)[["p", "q", "is r"]].astype(int).sum(axis=1) == 1).all()
    assert np.isneginf(density.log_prob(frame.head(1).assign(p=1, q=1))).all()
    assert "are within its bounds (one of the labels 0, 1)" in str(density.check(frame))


def test_a_name_with_a_backtick_cannot_be_in_a_constraint():
    frame = shares().rename(columns={"c": "of `c`"})
    found = learned(from_user(frame, {}))
    assert found.schema.carried[0].name == "of `c`"
    assert found.schema.require == ()


def test_a_computed_value_is_not_moved_to_a_bound():
    """The third column is computed from two others, and its bound is dropped by hand."""
    density = quick_fit(shares())
    free = flows.Density(density.population, replace(density.schema, require=()))
    drawn = free.sample(2_000)
    assert (drawn.a + drawn.b + drawn.c == 100).all()
    assert (drawn.c < 0).any()
    assert free.log_prob(pd.DataFrame({"a": [80.0], "b": [90.0], "c": [-70.0]})) > -np.inf


@pytest.mark.slow
def test_bounds_that_hardly_any_draw_meets_are_dropped_with_a_notice(monkeypatch, capsys):
    monkeypatch.setattr("flows.recipe.mass.LEAST", 1.1)
    density = quick_fit(shares())
    assert density.schema.require == ()
    said = capsys.readouterr().err
    assert "hardly any draw meets c >= 0; the fit starts again without this constraint" in said
    with pytest.raises(UserError, match="require: at most"):
        quick_fit(shares(), require=["a <= b + 200"])


@pytest.mark.parametrize("name", ["Unnamed: 0", "", np.nan])
@pytest.mark.parametrize("first", [np.arange(20.0), rng().normal(size=20) ** 2])
@pytest.mark.parametrize(
    ("role", "said"), [("target", "a target"), ("group", "the group"), ("weights", "the weights")]
)
def test_a_column_without_a_name_is_refused_as_a_target_a_group_or_weights(name, first, role, said):
    frame = pd.DataFrame(NUMBERS)
    frame.insert(0, "", first)
    frame.columns = [name, "a", "b", "y"]
    problem = f"^column '{name}' has no name, so it cannot be {said}; give it one$"
    with pytest.raises(TableError, match=problem):
        flows.inspect(frame, **{role: name})
    kinds = {str(name): "real"}  # calls the column by this name
    uses = flows.inspect(frame, columns=kinds, **{role: name})["use"]
    assert uses[str(name)] == ("learned" if role == "target" else "excluded")


def test_a_column_may_have_the_name_nan_or_a_number():
    frame = pd.DataFrame({"nan": NUMBERS["y"], 3: NUMBERS["a"], "b": NUMBERS["b"]})
    for target in ("nan", 3):
        assert flows.inspect(frame, target=target)["use"][str(target)] == "learned"
