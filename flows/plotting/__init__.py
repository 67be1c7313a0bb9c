"""The figures, one file per family. Each figure is drawn from a ``Scene``.

They need neither torch nor the files of the pipeline.
"""

# Importing a file registers its figures.
from flows.plotting import by_column, plane, summary
from flows.plotting.scene import FIGURES, Column, Row, Scene, draw, draw_figure, missing
from flows.plotting.style import STYLE

__all__ = [
    "FIGURES",
    "STYLE",
    "Column",
    "Row",
    "Scene",
    "by_column",
    "draw",
    "draw_figure",
    "missing",
    "plane",
    "summary",
]
