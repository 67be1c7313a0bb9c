"""The data that a model learns from and is scored on."""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.core.arrays import Array
from flows.mixtures.mixture import Truth
from flows.tables.columns import Column


@dataclass(frozen=True)
class Problem:
    """Rows to learn from and rows to be scored on, in the user's units.

    Args:
        train: the rows to learn from, ``(n, *event)``.
        test: the rows to be scored on, ``(n, *event)``.
        truth: the distribution behind the rows, where it is known.
        columns: the columns of a table, with their names and kinds; none for drawn data and for
            images.

    Raises ``ValueError`` where the parts don't fit together.
    """

    train: Array
    test: Array
    truth: Truth | None = None
    columns: Sequence[Column] = ()

    def __post_init__(self) -> None:
        if self.train.shape[1:] != self.test.shape[1:]:
            raise ValueError(
                f"training rows of shape {self.train.shape[1:]} and test rows of shape "
                f"{self.test.shape[1:]} are of two tables"
            )
        if any(not isinstance(column, Column) for column in self.columns):
            raise ValueError("columns must be flows.Column objects, as Column(name, kind)")
        if self.columns and self.event_shape != (len(self.columns),):
            raise ValueError(f"{len(self.columns)} columns for rows of shape {self.event_shape}")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.train.shape[1:]
