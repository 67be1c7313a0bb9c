"""The columns of the rows that the recipe learns from, in their own order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flows.core.arrays import Array
from flows.recipe.mass import Possible
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.constraint import Constraints
from flows.tables.columns.field import Field
from flows.tables.columns.learning import Sample
from flows.tables.columns.schema import Schema
from flows.tables.columns.spreading import dequantise


@dataclass(frozen=True)
class LearnedColumns:
    """The columns of the rows that the recipe learns from: given columns come first.

    Networks are given these columns. With a target, they are the context x, which has no density;
    otherwise they are the labels, which have a density of their own.

    Attributes:
        fields: the columns, given columns first.
        places: for each of these columns, its place in the table.
        given: the number of given columns.
        is_context: whether the given columns are the context of a target.
    """

    fields: Sequence[Field]
    places: Sequence[int]
    given: int
    is_context: bool

    @classmethod
    def of(cls, schema: Schema, sample: Sample) -> LearnedColumns:
        """Return the columns of a table, whose targets come last."""
        fields, places = schema.fields, list(range(len(schema.fields)))
        if sample.target_count:
            return cls(fields, places, len(fields) - sample.target_count, is_context=True)
        places.sort(key=lambda d: not fields[d].labels)
        given = sum(bool(field.labels) for field in fields)
        return cls([fields[d] for d in places], places, given, is_context=False)

    @property
    def to_real(self) -> ColumnMaps:
        """The map of the columns to the real line."""
        return ColumnMaps(self.fields)

    @property
    def learned(self) -> Sequence[Field]:
        """The columns that networks learn."""
        return self.fields[self.given :]

    @property
    def labels(self) -> int:
        """The number of columns of labels with a density of their own."""
        return 0 if self.is_context else self.given

    def points(self, sample: Sample, seed: int) -> Array:
        """Return the rows of a sample in this order, ``(n, D)``, with spread values.

        Known values of a context are not spread.

        Args:
            sample: the rows.
            seed: the seed of the spread.
        """
        values = sample.values[:, self.places]
        how = {"given": self.given, "is_narrow": self.is_context}
        return dequantise(self.fields, values, sample.copies, seed, **how)

    def possible(self, constraints: Constraints) -> Possible | None:
        """Return which rows in this order meet the constraints; ``None`` without constraints."""
        if not constraints:
            return None
        order = np.argsort(self.places)
        return lambda rows: constraints.met(rows[:, order])

    def in_table(self, counts: Sequence[int]) -> Sequence[int]:
        """Return numbers of these columns, such as counts of gaps, in the order of the table."""
        found = dict(zip(self.places, counts, strict=False))
        return [found[d] for d in sorted(found)]
