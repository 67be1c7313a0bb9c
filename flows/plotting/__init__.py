"""The figures: one file a family, each of which says what it needs of a ``Scene``.

No torch, and no file of the pipeline.
"""

# Importing a file registers its figures.
from flows.plotting import by_column, plane, summary
from flows.plotting.scene import FIGURES, Row, Scene, draw, missing
from flows.plotting.style import STYLE

__all__ = ["FIGURES", "STYLE", "Row", "Scene", "by_column", "draw", "missing", "plane", "summary"]
