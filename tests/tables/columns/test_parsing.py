"""Frames as parsed tables: missing values, and one-line errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import file_error, learned, real_numbers, write

from flows.core.errors import UserError
from flows.tables.columns import files as table
from flows.tables.columns import parsing


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    a, c = rng.normal(size=(2, 25))
    return pd.DataFrame({"a": a, "n": rng.integers(0, 9, 25), "c": c})


def test_rows_that_are_not_dropped_keep_their_numbers_and_infinite_values_are_errors(
    tmp_path, frame
):
    frame.loc[[3, 7], "a"] = np.nan
    for name, save in (("t.csv", frame.to_csv), ("t.parquet", frame.to_parquet)):
        save(tmp_path / name, index=False)
        kept = parsing.apply_missing_policy(table.read(tmp_path / name), "drop").frame
        assert list(kept.index) == [row for row in range(1, 26) if row not in (4, 8)]
        assert "row 4" in file_error(tmp_path / name)
    infinite = write(tmp_path / "t.csv", "a,b\n1,\n3,inf\n")
    assert "inf" in file_error(infinite, "drop")  # never dropped


def test_errors_in_a_data_frame_are_one_line(frame):
    with pytest.raises(UserError, match="column a, row 0 holds 'red'"):
        real_numbers(frame.assign(a="red"), "a")
    with pytest.raises(UserError, match=r"with a missing value, pass missing='drop'"):
        real_numbers(frame.assign(a=[np.nan] + [1.0] * 24), "a")
    with pytest.raises(UserError, match="there is no column b; the columns are: a, n, c"):
        real_numbers(frame, "a", "b")
    with pytest.raises(UserError, match="2 columns are called a; rename them"):
        real_numbers(pd.concat([frame, frame], axis=1), "a")


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


def test_a_question_refuses_another_policy_for_missing_values():
    frame = pd.DataFrame({"x": [1.0, np.nan]})
    with pytest.raises(ValueError, match="missing = 'learn': must be 'keep', 'stop' or 'drop'"):
        parsing.apply_missing_policy(parsing.from_user(frame, {}), "learn")
