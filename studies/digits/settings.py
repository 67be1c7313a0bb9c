"""The study's ``params.yaml``, and where the results are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from flows.core.errors import UserError
from flows.core.settings import Count, Section, Seed, TrainingSettings
from stages.shared.settings import label_and_color, read

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
Split = Literal["random", "contiguous"]
# What is no model of the library, and what is one at other settings: its name and its colour (Tol's muted palette, which colour-blind readers tell apart).
NAMES = {
    **{"independent": ("independent pixels", "#BBBBBB"), "gaussian": ("one Gaussian", "#999999"), "mixture": ("Gaussian mixture", "#777777")},
    **{"vine": ("vine copula", "#444444"), "normflows": ("normflows' Glow", "#882255"), "vector": ("vector flow", "#0072B2")},
    **{"glow_published": ("Glow, as published", "#D55E00"), "held_out": ("held-out digits", "#000000")},
}


class Row(Section):
    """A row of the results: ``model`` as ``flows.build`` knows it, or ``vector``, on ``shape`` with its ``settings``; without, a peer of ``fits.py``.

    ``members``: networks of a cell, whose number is the last word of its name.
    """

    model: str = ""
    members: Count = 1
    shape: list[Count] = [1, 8, 8]
    settings: dict[str, Any] = {}
    training: TrainingSettings = TrainingSettings()


class Settings(Section):
    """``cells``: split and number, of the rows that are ``ensembles``, and of the rows ``single``."""

    class Cells(Section):
        ensembles: list[str]
        single: list[str]

    class Compare(Section):
        draws: Count
        floor: Count
        neighbours: Count

    seed: Seed
    train: Count
    test: Count
    draws: Count
    cells: Cells
    compare: Compare
    splits: list[Split]
    ensembles: dict[str, Row]
    single: dict[str, Row]

    @property
    def rows(self) -> dict[str, Row]:
        return {**self.single, **self.ensembles}

    def of(self, row: str, split: str = "") -> list[str]:
        """The cells of a row, of all splits or one."""
        cells = self.cells.ensembles if row in self.ensembles else self.cells.single if row in self.single else []
        return [cell for cell in cells if cell.startswith(split)]


def load() -> Settings:
    return read(HERE / "params.yaml", Settings)


def checked(params: Settings, row: str, cell: str) -> tuple[Row, str, range]:
    """The row, its split and its members in this cell. Raises ``UserError`` where there is no such cell."""
    if cell not in params.of(row):
        raise UserError(f"there is no cell {row!r} {cell!r}; the rows are: {', '.join(params.rows)}; the cells: {', '.join(params.cells.ensembles)}")
    split, _, part = cell.partition("_")
    first = int(part) * params.rows[row].members
    return params.rows[row], split, range(first, first + params.rows[row].members)


def path(kind: str, row: str, cell: str, suffix: str = "npz") -> Path:
    """``fits`` and ``networks`` come out the same again, and DVC holds them; ``seconds`` don't, so it is not told of them."""
    return HERE / "results" / kind / f"{row}_{cell}.{suffix}"


def label(row: str) -> tuple[str, str]:
    """Name and colour."""
    return NAMES.get(row) or label_and_color(row)
