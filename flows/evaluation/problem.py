"""The data that a model learns from and is scored on."""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.core.arrays import Array
from flows.core.truth import Truth
from flows.tables.field import Field


@dataclass(frozen=True)
class Problem:
    """The training rows and the test rows of a data set, and its true distribution if known.

    Args:
        train: the rows to learn from, ``(n, *event)`` in the user's units.
        test: the rows to be scored on, ``(n', *event)``.
        truth: the distribution of the rows, such as ``flows.Mixture``; ``None`` if unknown.
        columns: the names and kinds of the columns of a table; empty for drawn data and images.

    Raises ``ValueError`` if shapes or columns do not match.

    Examples:
        >>> import flows, numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> problem = flows.Problem(train=rows[:80], test=rows[80:])
        >>> problem.event_shape, problem.truth is None
        ((2,), True)
    """

    train: Array
    test: Array
    truth: Truth | None = None
    columns: Sequence[Field] = ()

    def __post_init__(self) -> None:
        if self.train.shape[1:] != self.test.shape[1:]:
            raise ValueError(
                f"training rows of shape {self.train.shape[1:]} and test rows of shape "
                f"{self.test.shape[1:]} do not match"
            )
        if any(not isinstance(column, Field) for column in self.columns):
            raise ValueError("columns must be fields, such as flows.Field.parse(name, kind)")
        if self.columns and self.event_shape != (len(self.columns),):
            raise ValueError(
                f"{len(self.columns)} columns for rows of shape {self.event_shape}; vectors need a "
                "column per number, and images none"
            )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of a row, ``(D,)`` or ``(C, H, W)``."""
        return self.train.shape[1:]
