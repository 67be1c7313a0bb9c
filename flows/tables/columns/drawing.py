"""The columns of a table for figures, which know no kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.tables.columns.field import Field

if TYPE_CHECKING:
    from flows.plotting.scene import Column


def drawn(fields: Sequence[Field]) -> list[Column]:
    """Return how figures draw the columns."""
    from flows.plotting.scene import Column  # imports matplotlib

    return [
        Column(
            field.name,
            labels=field.labels,
            step=field.cell,
            bounds=field.bounds,
            is_discrete=field.is_discrete,
            text=field.short_text,
            ticks=field.ticks,
        )
        for field in fields
    ]
