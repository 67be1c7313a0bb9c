"""The scene that figures are drawn from, and the register of figures with their needs.

A need is a part of the scene, such as the truth. A figure is left out if a need is missing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context

from flows.core.arrays import Array
from flows.plotting.style import STYLE, Picture, save


@dataclass(frozen=True)
class Column:
    """How a column of rows is drawn.

    Args:
        name: the name.
        labels: the labels, by their codes; empty for numbers.
        step: the distance between adjacent values; 1 for labels, 0 for real numbers.
        bounds: the lower and the upper bound.
        is_discrete: whether only multiples of the step have a probability.
        text: returns the text of a value.
        ticks: returns the text of a tick; ``None`` for its number.
    """

    name: str
    labels: Sequence[Any] = ()
    step: float = 0.0
    bounds: tuple[float, float] = (-math.inf, math.inf)
    is_discrete: bool = False
    text: Callable[[float], str] = "{:.5g}".format
    ticks: Callable[[float], str] | None = None


@dataclass(frozen=True)
class Row:
    """One model or reference."""

    name: str
    label: str
    color: str
    headline: dict[str, float | None]
    members: pd.DataFrame  # scores, one line per member, or per draw of the truth
    arrays: Mapping[str, Array]
    is_model: bool

    @property
    def mark(self) -> str:
        """The marker: a dot for a mean over members or draws, a square for a single fit."""
        return "o" if len(self.members) > 1 else "s"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The data, the models, the references and the scores of one data set."""

    rows: Sequence[Row] = ()
    histories: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # curves, by model
    columns: Sequence[Column]
    data: Array  # all rows, training and test, (n, D)
    truth: Any = None  # None if unknown
    entropy: float | None = None  # of the truth in nats; None if unknown
    fresh: int = 0  # number of draws from the truth with which the calibration was computed
    test: Array  # the test rows, (n, D)

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
        """The number of members of a model: the smallest number if the models differ."""
        return min((len(row.members) for row in self.rows if row.is_model), default=1)

    def mean(self, row: Row, metrics: list[str]) -> tuple[Array, Array]:
        """Return the mean and two standard errors of each of the ``metrics``, both ``(K,)``.

        The errors are ``NaN`` for a single fit. The truth has more draws than a model has members.
        To make the error bars comparable, its error is the error of the mean of ``members`` draws.
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
# By file name: the needs of the figure, and the function that draws it
FIGURES: dict[str, tuple[Sequence[str], Draw]] = {}


def figure(name: str, needs: Sequence[str] = ()) -> Callable[[Draw], Draw]:
    """Register the decorated function: it draws the file ``name`` from a scene with ``needs``."""

    def register(function: Draw) -> Draw:
        FIGURES[name] = (needs, function)
        return function

    return register


def missing(scene: Scene) -> dict[str, list[str]]:
    """Return the figures that cannot be drawn, each with its missing needs."""
    return {
        name: lacks
        for name, (needs, _) in FIGURES.items()
        if (lacks := [need for need in needs if not NEEDS[need](scene)])
    }


def draw(name: str, scene: Scene) -> Picture:
    """Return the figure ``name`` of a scene, or a film as a list of images."""
    with rc_context(STYLE):
        return FIGURES[name][1](scene)


def draw_figure(name: str, scene: Scene, path: Path) -> None:
    """Write a figure to ``path``, whole or not at all. Raises ``OSError``."""
    save(draw(name, scene), path)
