"""The figures: one file a family, each of which says what it needs of a ``Scene``.

No torch, and no file of the pipeline.
"""

# Importing a file registers its figures.
from flows.plotting import by_column, plane, summary
from flows.plotting.scene import FIGURES, Row, Scene, draw, missing
from flows.plotting.style import DATA_COLOR, SPARE_COLOR, STYLE

__all__ = [
    "DATA_COLOR",
    "FIGURES",
    "SPARE_COLOR",
    "STYLE",
    "Row",
    "Scene",
    "by_column",
    "draw",
    "missing",
    "plane",
    "summary",
]
