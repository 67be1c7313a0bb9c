"""The associations of pairs of columns, as a matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from flows.plotting import by_column
from flows.plotting.style import NARROW, STYLE, explain, panels

WRITTEN = 8  # columns up to which cells hold their number
CELL = 0.26  # inches: least height of a cell


def draw_associations(pairs: pd.DataFrame, of: str) -> Figure:
    """Draw the associations of pairs of columns, of rows or of samples.

    If there are more than ``LISTED`` columns, those with the largest differences are drawn. With a
    target, each pair has a target, and the matrix has a column per target.

    Args:
        pairs: the pairs, a frame ``Check.pairs``, the largest difference first.
        of: ``"rows"`` or ``"samples"``.
    """
    both = pairs[["first", "second"]].to_numpy()
    shown = [*dict.fromkeys(both.ravel())][: by_column.LISTED]
    own = pairs[np.isin(both, shown).all(axis=1)]
    matrix = own.pivot_table(index="first", columns="second", values=of, sort=False)
    is_square = len(own) == len(shown) * (len(shown) - 1) // 2
    if is_square:
        matrix = matrix.reindex(index=shown, columns=shown)
        matrix = matrix.combine_first(matrix.T).reindex(index=shown, columns=shown)
    height = max(2.4, CELL * len(matrix) + 1.2)
    with rc_context(STYLE):
        sheet, (axis,) = panels(1, 1, height, width=NARROW)
        axis.set_facecolor("#dddddd")  # of a column with itself
        image = axis.imshow(matrix, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
        if len(matrix) <= WRITTEN:
            for (i, j), value in np.ndenumerate(matrix.to_numpy(float)):
                if not np.isnan(value):
                    color = "white" if abs(value) > 0.7 else "black"
                    text = f"{value + 0.0:.2f}".replace("-", "\u2212")
                    axis.text(j, i, text, ha="center", va="center", fontsize=8, color=color)
        heads = [by_column.short(name, by_column.LABEL) for name in matrix.columns]
        axis.set_xticks(range(len(heads)), heads, rotation=90 if len(heads) > 3 else 0)
        axis.set_yticks(range(len(matrix)), [by_column.short(name) for name in matrix.index])
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0, labelsize=9)
        bar = sheet.colorbar(image, ax=axis, orientation="horizontal", aspect=40, pad=0.02)
        bar.set_label("association (from 0 to 1 with a column of labels)", fontsize=9)
        bar.outline.set_visible(False)
        explain(sheet, f"associations in {of}")
    return sheet
