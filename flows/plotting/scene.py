"""The scene that figures are drawn from, and what each of them needs of it.

A figure whose needs are not met is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.pyplot import rc_context

from flows.core.arrays import Array
from flows.plotting.style import STYLE, Picture, save
from flows.tables.columns import Column


@dataclass(frozen=True)
class Row:
    """One model or reference."""

    name: str
    label: str
    color: str
    headline: dict[str, float | None]
    members: pd.DataFrame  # a line a member, or a draw of the truth
    arrays: Mapping[str, Array]
    is_model: bool

    @property
    def mark(self) -> str:
        """A dot for a mean over several, a square for a single fit."""
        return "o" if len(self.members) > 1 else "s"


@dataclass(frozen=True)
class Scene:
    """The data, the models, the references and the scores of one data set."""

    rows: Sequence[Row]
    histories: Mapping[str, pd.DataFrame]  # training curves by the name of a model
    columns: Sequence[Column]
    data: Array  # (n, D)
    truth: Any  # None where it is unknown, and its entropy with it
    entropy: float | None  # nat
    fresh: int  # draws of the truth that calibration was counted on
    test: Array  # the rows of the data that nothing was trained on, (n, D)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    @property
    def by_name(self) -> dict[str, Row]:
        """The rows by their names, in the same order."""
        return {row.name: row for row in self.rows}

    @property
    def members(self) -> int:
        """The number of members of a model: the smallest, where the models differ."""
        return min((len(row.members) for row in self.rows if row.is_model), default=1)

    def mean(self, row: Row, metrics: list[str]) -> tuple[Array, Array]:
        """Return the mean of each of the ``metrics``, and two standard errors of it.

        The errors are ``NaN`` for a single fit. As the truth has more draws than a model has
        members, its error is that of as many draws as there are members, so that bars compare.
        """
        values = row.members[metrics]
        count = self.members if row.name == "truth" else len(values)
        error = 2 * values.std(skipna=False) / count**0.5
        return values.mean(skipna=False).to_numpy(), error.to_numpy()


NEEDS: dict[str, Callable[[Scene], bool]] = {
    "truth": lambda scene: scene.truth is not None and "truth" in scene.by_name,
    "components": lambda scene: hasattr(scene.truth, "weights"),
    "table": lambda scene: scene.truth is None or len(scene.columns) != 2,
    "third column": lambda scene: len(scene.columns) > 2,
    "plane": lambda scene: len(scene.columns) == 2,
    "density": lambda scene: any(
        {"density", "hdr", "test_log_density"} & row.arrays.keys() for row in scene.rows
    ),
    "trajectory": lambda scene: any("trajectory" in row.arrays for row in scene.rows),
    "paths": lambda scene: any("paths" in row.arrays for row in scene.rows),
}
Draw = Callable[[Any], Picture]
# By file: its needs, and the function that draws it
FIGURES: dict[str, tuple[Sequence[str], Draw]] = {}


def figure(name: str, needs: Sequence[str] = ()) -> Callable[[Draw], Draw]:
    """Register the decorated function, which draws the file ``name`` of a scene with ``needs``."""

    def register(function: Draw) -> Draw:
        FIGURES[name] = (needs, function)
        return function

    return register


def missing(scene: Scene) -> dict[str, list[str]]:
    """Return the figures that can't be drawn, and what each of them lacks."""
    return {
        name: lacks
        for name, (needs, _) in FIGURES.items()
        if (lacks := [need for need in needs if not NEEDS[need](scene)])
    }


def draw_figure(name: str, scene: Scene, path: Path) -> None:
    """Write a figure to ``path``, whole or not at all. Raises ``OSError``."""
    with rc_context(STYLE):
        save(FIGURES[name][1](scene), path)
