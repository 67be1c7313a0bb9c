"""The columns of a table for figures, which know no kinds."""

from __future__ import annotations

from collections.abc import Sequence

from flows.plotting.scene import Column
from flows.tables.field import Field


def drawn(fields: Sequence[Field]) -> list[Column]:
    """Return how figures draw the columns."""
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
