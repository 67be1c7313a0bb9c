"""A question about the rows of a table: from regions to answers.

The classes in ``flows/tables/questions`` are the questions, and ``asking.py`` asks any of them.
``docs/extending.md`` shows how to add a question.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from flows.core.arrays import Array, Mask
from flows.core.errors import UserError
from flows.tables.columns.lazy import pd
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import ENOUGH
from flows.tables.posterior.region import Region


@dataclass(frozen=True)
class Asked:
    """Rows of a user that a question is about.

    Args:
        frame: the user's rows; a frame without columns for conditions.
        region: the rows as numbers.
        parsed: the learned columns of the rows, parsed.
        carried: the carried columns that the rows hold, parsed.
    """

    frame: pd.DataFrame
    region: Region
    parsed: pd.DataFrame
    carried: pd.DataFrame

    @classmethod
    def of_conditions(cls, region: Region) -> Asked:
        """Return the rows of a region of conditions."""
        nothing = pd.DataFrame(index=pd.RangeIndex(len(region)))
        return cls(nothing, region, nothing, nothing)


@dataclass(frozen=True)
class Answer:
    """The results of a question for the n rows of a region.

    Args:
        results: the results by name, arrays whose first axis has n entries.
        effective: the effective numbers of draws, ``(n,)``; infinite for a row without draws.
        low: the lower ends of the intervals of results, by name; empty unless they are asked for.
        high: the upper ends.
    """

    results: dict[str, Array]
    effective: Array
    low: dict[str, Array] = field(default_factory=dict)
    high: dict[str, Array] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        """Return the results of this name."""
        return self.results[name]

    @property
    def lacks_interval(self) -> Mask:
        """Which rows have a result without an interval, ``(n,)``; none if none were asked for."""
        found = np.zeros(len(self.effective), bool)
        for name, low in self.low.items():
            without = np.isnan(low) & np.isfinite(self.results[name])
            found |= without.any(axis=tuple(range(1, without.ndim)))
        return found

    @classmethod
    def joined(cls, parts: Sequence[Answer]) -> Answer:
        """Return the answers for several blocks of rows as one answer."""

        def together(of_parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
            names = of_parts[0]
            return {name: np.concatenate([each[name] for each in of_parts]) for name in names}

        return cls(
            together([part.results for part in parts]),
            np.concatenate([part.effective for part in parts]),
            together([part.low for part in parts]),
            together([part.high for part in parts]),
        )


class Question(ABC):
    """A question. A subclass is a frozen dataclass, whose fields are the settings.

    A question knows neither files nor notices on rows. Answers for a row do not depend on the other
    rows: random streams are selected by the row's number.
    """

    noun: ClassVar[str]  # the results, in the plural, for notices
    needs_all: ClassVar[bool] = True  # whether rows must hold all learned columns
    scores: ClassVar[bool] = False  # whether notices say that disallowed values are impossible
    fills_gaps: ClassVar[bool] = False  # whether the answer is about all unknown values together
    given: Sequence[str] = ()  # columns to condition on, beside the known values of gappy rows
    missing: str = "keep"  # what happens to rows with missing values (``apply_missing_policy``)

    def check(self, density: ArrayDensity) -> None:
        """Raise ``UserError`` or ``TableError`` for wrong settings, before rows are read.

        Args:
            density: the density.
        """
        return  # by default, no setting is wrong

    def refuse(self, density: ArrayDensity, region: Region) -> None:
        """Raise ``UserError`` for rows about which the density cannot answer the question.

        A joint density answers about all rows. The density of a target is conditional on the other
        columns, so it has no distribution of these columns, nor of a part of the targets; the error
        names the alternative.

        Args:
            density: the density.
            region: the rows or the conditions.
        """
        gaps, inputs, find = region.gaps, density.inputs, density.schema.find
        for name in dict.fromkeys(self.hidden(density)):
            if not gaps[:, find(name)].all():  # of conditions, because hidden columns are not read
                raise UserError(f"given: {name} is predicted; leave it out, or give a range")
        if not density.targets:
            return
        names = ", ".join(density.targets)
        if self.given:
            raise UserError(
                f"given: the density of {names} is conditional on all other columns already"
            )
        described = self.describes(density, region)
        if len(described) == len(density.columns):
            raise UserError(
                f"the density of {names} is conditional: give values of other columns (given, or "
                "--given and --given-rows on the command line), or fit the table without a target"
            )
        for name in described:
            if inputs[find(name)]:
                raise UserError(
                    f"column {name} is not a target, so its values cannot be predicted or filled; "
                    f"the density is of {names} given the other columns: fit the table without a "
                    "target"
                )
        if not self.fills_gaps:
            return
        knows_target = ~gaps[:, ~inputs].all(axis=1)
        for k in np.flatnonzero(knows_target & gaps.any(axis=1))[:1].tolist():
            unknown = density.columns[int(gaps[k].argmax())].name
            raise UserError(
                f"a row with a known target has no value of {unknown}; only {names} can be drawn, "
                "all together: leave the targets out, or fit the table without a target"
            )

    def hidden(self, density: ArrayDensity) -> Sequence[str]:
        """Return the names of the columns whose values are not read, and are unknown.

        Args:
            density: the density.
        """
        return ()

    def describes(self, density: ArrayDensity, region: Region) -> Sequence[str]:
        """Return the names of the columns whose distributions the answer describes.

        Args:
            density: the density.
            region: the rows.
        """
        return ()

    def given_rows(self, density: ArrayDensity, rows: Array) -> Array | None:
        """Return the values that the answer is conditional on, ``(n, D)``; ``None`` for none.

        By default, these are the known values of rows with an unknown value.

        Args:
            density: the density.
            rows: the rows ``(n, D)``, ``NaN`` for unknown values.
        """
        return rows

    def unanswered(self, density: ArrayDensity, region: Region) -> Mask:
        """Return which rows have no answer, because they lack a target, ``(n,)``; by default none.

        Args:
            density: the density.
            region: the rows.
        """
        return np.zeros(len(region), bool)

    @abstractmethod
    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        """Return the answer for the rows of a region.

        Args:
            density: the density.
            region: the rows and the conditions.
        """

    def adds(self, density: ArrayDensity) -> list[str]:
        """Return the names of the columns that the answer adds to the rows.

        Args:
            density: the density.
        """
        return []

    def added(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        """Return the columns that the answer adds, with the index of the rows.

        Args:
            density: the density.
            asked: the rows.
            answer: the answer.
        """
        return pd.DataFrame(index=asked.frame.index)

    def rows(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        """Return the rows with the answer: by default the user's rows and the added columns.

        Args:
            density: the density.
            asked: the rows.
            answer: the answer.
        """
        added = self.added(density, asked, answer)
        return asked.frame.assign(**{str(name): column for name, column in added.items()})

    def roughness(self, rough: int, rows: int, least: float) -> str:
        """Return the notice on rows with fewer effective draws than ``enough``.

        Args:
            rough: the number of these rows.
            rows: the number of all rows.
            least: the smallest effective number of draws.
        """
        return (
            f"the {self.noun} of {rough} of {rows} rows are rough: fewer than {self.enough:g} "
            f"draws are effective (at worst {least:.0f})"
        )

    @property
    def enough(self) -> float:
        """The effective number of draws of a row, below which a notice says so."""
        return ENOUGH
