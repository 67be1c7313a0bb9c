"""What a model is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from flows.bijections import ToReal
from flows.core.arrays import Array
from flows.core.columns import Column
from flows.core.mixture import Truth


@dataclass(frozen=True)
class Problem:
    """Rows to learn from and rows to be scored on, ``(n, *event)`` in the user's units.

    And the ``truth`` behind them, where it is known.

    ``columns`` are the names of the features; by default x0, x1, ... ``kinds`` are the columns of a
    table: what kind of number each holds. Raises ``ValueError`` where the parts don't fit together.
    """

    train: Array
    test: Array
    truth: Truth | None = None
    columns: Sequence[str] = field(default=())
    kinds: Sequence[Column] = ()

    def __post_init__(self) -> None:
        if self.train.shape[1:] != self.test.shape[1:]:
            raise ValueError(
                f"training rows of shape {self.train.shape[1:]} and test rows of shape "
                f"{self.test.shape[1:]} are of two tables"
            )
        count = int(np.prod(self.event_shape))
        if not self.columns:
            object.__setattr__(self, "columns", tuple(f"x{k}" for k in range(count)))
        if len(self.columns) != count:
            raise ValueError(f"{len(self.columns)} column names for {count} columns")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.train.shape[1:]


def on_line(
    kinds: Sequence[Column], rows: Array, *, inverse: bool = False, whole: bool = False
) -> Array:
    """Rows ``(n, D)`` with every column of a table on the real line by its kind.

    There a small positive number keeps its digits. Or back in the user's units, and then also with
    whole integers.
    """
    if all(column.kind == "real" for column in kinds):
        return rows
    columns, x = ToReal(kinds), torch.from_numpy(rows.T.copy())[None]
    x = columns.inverse(x)[0] if inverse else columns(x)[0]
    return np.ascontiguousarray((columns.whole(x) if whole else x)[0].numpy().T)
