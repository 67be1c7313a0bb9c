"""Densities as pictures."""

from __future__ import annotations

from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from flows.plotting.scene import Row, Scene, figure
from flows.plotting.style import Array, explain, frame, panels

COLUMNS = 4


@figure("density.png", needs=("plane", "density"))
def density(scene: Scene) -> Figure:
    """On one colour scale: a line of references, then of every model one member and the ensemble, or a word where it has no density."""
    references = [panel for row in scene.rows if not row.is_model for panel in _panels(row)]
    models = [panel for row in scene.rows if row.is_model for panel in _panels(row)]
    first = -(-len(references) // COLUMNS) * COLUMNS  # panel of the models
    sheet, axes = panels(first + len(models), COLUMNS, 2.3, tuple(range(len(references), first)), sharex=True, sharey=True)
    scale = Normalize(0, max(grid.max() for _, grid in references or models if grid is not None))
    box = next((row.arrays["box"] for row in scene.rows if "box" in row.arrays), None)  # corners of the grid
    low, high = scene.truth.box() if box is None else box
    for axis, (title, grid) in zip(axes[: len(references)] + axes[first:], references + models, strict=True):
        axis.set_title(title, fontsize=10)
        if grid is not None:
            picture = axis.imshow(grid, "magma", scale, origin="lower", extent=(low[0], high[0], low[1], high[1]), interpolation="bilinear")
        frame(axis, low, high)
    sheet.colorbar(picture, ax=axes, label="density (per unit area)", shrink=0.7, aspect=30, extend="max")
    explain(sheet, "KL: from the truth" if scene.truth is not None else "", *scene.columns)
    return sheet


def _panels(row: Row) -> list[tuple[str, Array | None]]:
    """Title and picture: one of a reference, two of a model."""
    if "density" not in row.arrays:
        return [(f"{row.label}:\nno density, only samples", None)]
    found = [(row.label, row.headline.get("kl"), "density")]
    if row.is_model:
        member = row.members["kl"].iloc[0] if "kl" in row.members else None
        found = [(f"{row.label}, one member", member, "density"), (f"{row.label}, ensemble", row.headline.get("kl_ensemble"), "density_ensemble")]
    return [(f"{words}\nKL {kl:.3f} nat" if kl else words, row.arrays[key]) for words, kl, key in found]
