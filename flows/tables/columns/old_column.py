"""``flows.Column``, the name of fields until version 0.3, for one release."""

from __future__ import annotations

import warnings
from typing import Any

from flows.tables.columns.field import Field


class Column:
    """The name of ``flows.Field`` until version 0.3; use ``flows.Field.parse`` instead."""

    def __new__(  # type: ignore[misc]
        cls, name: str, kind: str = "real", low: Any = None, high: Any = None, **others: Any
    ) -> Field:
        """Return a field.

        Args:
            name: the name of the column.
            kind: the kind, such as ``"count"``.
            low: the lower bound of an interval, or the smallest value of an integer.
            high: the upper bound of an interval, or the largest value of an integer.
            others: other arguments of the field.
        """
        _warn()
        own = {"name": name, "kind": kind, "low": low, "high": high, **others}
        return Field.from_json(own)

    @staticmethod
    def parse(name: str, word: str) -> Field:
        """Return the field of the kind that a user writes as ``word``.

        Args:
            name: the name of the column.
            word: the kind, such as ``"interval:0:1"``.
        """
        _warn()
        return Field.parse(name, word)


def _warn() -> None:
    message = (
        "flows.Column is flows.Field since version 0.4, and goes with version 0.5: use "
        "flows.Field.parse(name, word)"
    )
    warnings.warn(message, FutureWarning, stacklevel=3)
