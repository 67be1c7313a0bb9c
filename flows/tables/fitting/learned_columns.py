"""The columns of the rows that the recipe learns from: given columns, then learned ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.core.arrays import Array
from flows.tables.columns.column_maps import ColumnMaps
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
        fields: the columns.
        given: the number of given columns, which come first.
        is_context: whether the given columns are the context of a target.
    """

    fields: Sequence[Field]
    given: int
    is_context: bool

    @classmethod
    def of(cls, schema: Schema, sample: Sample) -> LearnedColumns:
        """Return the columns of a table."""
        if sample.target_count:
            given = len(schema.fields) - sample.target_count
            return cls(schema.fields, given, is_context=True)
        given = sum(bool(field.labels) for field in schema.fields)
        return cls(schema.fields, given, is_context=False)

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
        """Return the rows of a sample, ``(n, D)``, with spread values.

        Known values of a context are not spread.

        Args:
            sample: the rows.
            seed: the seed of the spread.
        """
        how = {"given": self.given, "is_narrow": self.is_context}
        return dequantise(self.fields, sample.values, sample.copies, seed, **how)
