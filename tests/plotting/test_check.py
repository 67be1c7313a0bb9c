"""The figure of a check: its panels, and parts that a check may lack."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flows.plotting.by_column import LISTED
from flows.plotting.check import draw_check
from flows.tables.checking.result import FRAMES, Check


def result(**parts: object) -> Check:
    lines = [
        (name, level, level, 0.4, 0.95, 100) for name in [Check.WHOLE, "a"] for level in (0.5, 0.9)
    ]
    cover = pd.DataFrame(lines, columns=[*FRAMES["cover"]])
    empty = {name: pd.DataFrame(columns=[*FRAMES[name]]) for name in ("samples", "pairs")}
    own = {"rows": 4, "why": "", "known": 0, **empty, "cover": cover}
    return Check(**{**own, "ranks": np.array([0.25, 0.5, np.nan, 0.75]), **parts})  # type: ignore[arg-type]


def test_the_first_panel_shows_the_shares_of_rows_minus_ranks():
    line, *_ = draw_check(result()).axes[0].lines
    x, y = line.get_data()
    assert list(x) == [0, 0.25, 0.5, 0.75, 1]
    assert y == pytest.approx([0, 1 / 3 - 0.25, 2 / 3 - 0.5, 1 - 0.75, 0])


def test_panels_of_traces_and_the_band_appear_if_a_check_has_them():
    assert len(draw_check(result()).axes) == 2
    traces = pd.DataFrame({"members": ["networks", "mixtures"], "row": [7, 8], "score": [2.0, 1.0]})
    grid = np.linspace(0, 1, 11)
    figure = draw_check(result(traces=traces, auc=0.5, band=[grid - 0.1, grid + 0.1]))
    ranks, _, last = figure.axes
    assert len(ranks.collections) == 1
    assert [tick.get_text() for tick in last.get_yticklabels()] == ["row 7"]  # networks alone
    assert draw_check(result(ranks=np.array([]))).axes


def test_many_columns_are_cut():
    lines = [(f"c{k}", level, level, 0.4, 0.95, 9) for k in range(30) for level in (0.5, 0.9)]
    cover = pd.DataFrame(lines, columns=[*FRAMES["cover"]])
    axis = draw_check(result(cover=cover)).axes[1]
    assert len(axis.get_yticks()) == LISTED + 1
    assert "without 9 columns" in axis.get_title()
