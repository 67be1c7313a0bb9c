"""What a density learns from a table: rows with gaps, and tables that are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from closed_forms import gappy
from frames import gappy_labels
from helpers import field, learned

import flows
from flows.core.errors import UserError
from flows.tables import parsing
from flows.tables.checking import check
from flows.tables.notices import TableError, python_words


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
    assert np.isnan(values[:, 3]).sum() == 3
    assert set(values[~np.isnan(values[:, 3]), 3]) == {0, 1}
    assert [column.kind for column in columns] == ["real"] * 3 + ["category", "count"]
    assert [bool(column.cell) for column in columns] == [False] * 3 + [True] * 2
    assert notices[0] == "1 row without a value is left out"
    assert "3 in label" in notices[1]
    few = np.where(np.arange(30) < 7, gappy(30)[0][:, 0], np.nan)
    with pytest.raises(UserError, match="column b holds a value in 7 rows; a fit needs 8"):
        check([field("a"), field("b")], np.stack([gappy(30)[0][:, 0], few], axis=1))
    with pytest.raises(UserError, match="column b equals a"):
        check([field("a"), field("b")], gappy(60)[1][:, [0, 0]])
