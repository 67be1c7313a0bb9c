"""The schema of a table: its columns in order, learned or not.

``learning.fit_schema`` returns the schema of a table with the rows to learn, and ``frame`` converts
samples to a data frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.tables.columns.field import Field, Label, Sampled
from flows.tables.columns.kinds.unlearned import (
    Carried,
    Excluded,
    Unlearned,
    computed,
    unlearned_of,
)
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError
from flows.tables.columns.parsing import position
from flows.tables.columns.values import PLAIN, Format


@dataclass(frozen=True)
class Schema:
    """The columns of a table, of which a density learns some.

    Args:
        fields: the D learned columns, in the order of the density. Labels come before numbers, and
            targets are the last columns.
        names: the names of all columns, in the order of the table.
        unlearned: the other columns.
        na: marks of missing values that the user named.
        require: the constraints that all rows meet, as the user writes them.
        written: the format of the CSV file that was fitted.
    """

    fields: tuple[Field, ...]
    names: tuple[str, ...] = ()
    unlearned: tuple[Unlearned, ...] = ()
    na: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    written: Format = PLAIN

    @classmethod
    def of(cls, fields: Sequence[Field]) -> Schema:
        """Return the schema of a table in which all columns are learned."""
        return cls(tuple(fields), tuple(field.name for field in fields))

    @classmethod
    def from_json(cls, fields: Sequence[Field], table: Mapping[str, Any]) -> Schema:
        """Return the schema that ``to_json`` wrote.

        Args:
            fields: the learned columns, which the map to the real line holds.
            table: the other parts.
        """
        unlearned = tuple(map(unlearned_of, table.get("unlearned", ())))
        na, require = (tuple(table.get(key, ())) for key in ("na", "require"))
        written = Format(**table.get("written", {}))
        return cls(tuple(fields), tuple(table["names"]), unlearned, na, require, written)

    def to_json(self) -> dict[str, Any]:
        """Return the schema as JSON, without the fields; ``from_json`` reads it."""
        unlearned = [each.to_json() for each in self.unlearned]
        found = {"names": list(self.names), "unlearned": unlearned, "na": list(self.na)}
        if self.require:
            found["require"] = list(self.require)
        if self.written != PLAIN:
            found["written"] = self.written._asdict()
        return found

    @cached_property
    def learned(self) -> list[str]:
        """The names of the learned columns."""
        return [field.name for field in self.fields]

    @property
    def carried(self) -> list[Carried]:
        """The columns that are computed from the learned columns."""
        return [each for each in self.unlearned if isinstance(each, Carried)]

    @property
    def reasons(self) -> set[str]:
        """What the excluded columns hold: ``"identifier"``, ``"group"`` or ``"weights"``."""
        return {each.reason for each in self.unlearned if isinstance(each, Excluded)}

    def find(self, name: str) -> int:
        """Return the index of the learned column ``name``.

        Raises ``TableError`` for any other column, which says why if the column is not learned.
        """
        for each in self.unlearned:
            if each.name == name:
                why = f"{each.why}; the learned columns are: {', '.join(self.learned)}"
                raise TableError([Notice(why, name)])
        return position(self.learned, name, "the density")

    def frame(
        self,
        rows: Array,
        *,
        seed: int = 0,
        start: int = 0,
        rare: Mapping[int, Set[Label]] | None = None,
    ) -> pd.DataFrame:
        """Return samples as a data frame with all columns of the table.

        Args:
            rows: the samples ``(n, D)``, with codes for labels.
            seed: the seed of the draws of rare labels.
            start: the number of samples before these.
            rare: the rare labels to draw from, by the index of their field; by default all.
        """
        generator = numpy_generator(seed, "unknown", start, 2)
        shown = [field.shown(x) for field, x in zip(self.fields, rows.T, strict=True)]
        found = {
            field.name: field.spelled(x, generator, (rare or {}).get(d))
            for d, (field, x) in enumerate(zip(self.fields, shown, strict=True))
        }
        written = np.stack(shown, axis=1)
        sampled = Sampled(self.fields, written, start, computed(self.fields, self.carried, written))
        found |= {each.name: each.restored(sampled, generator) for each in self.unlearned}
        return pd.DataFrame({name: found[name] for name in self.names})
