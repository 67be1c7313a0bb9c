"""The data that a model learns from and is scored on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.core.arrays import Array
from flows.core.plurals import counted
from flows.core.truth import Truth

if TYPE_CHECKING:  # a problem needs no torch
    from flows.networks.to_real import ToReal


@dataclass(frozen=True)
class Problem:
    """The training rows and the test rows of a data set, and its true distribution if known.

    Args:
        train: the rows to learn from, ``(n, *event)`` in the user's units.
        test: the rows to be scored on, ``(n', *event)``.
        truth: the distribution of the rows, such as ``flows.Mixture``; ``None`` if unknown.
        to_real: the map of the rows to the real line, which populations of ``flows.build`` get,
            too. Distances are then measured on the real line, in standard deviations of the
            training rows, because columns may have different units; with ``None``, in the user's
            unit.

    Raises ``ValueError`` if shapes do not match, and for a map of images.

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
    to_real: ToReal | None = None

    def __post_init__(self) -> None:
        if self.train.shape[1:] != self.test.shape[1:]:
            raise ValueError(
                f"training rows of shape {self.train.shape[1:]} and test rows of shape "
                f"{self.test.shape[1:]} do not match"
            )
        if self.to_real is None:
            return
        if len(self.event_shape) != 1:
            raise ValueError(f"to_real is for vectors; the rows have the shape {self.event_shape}")
        if (names := self.to_real.names) and len(names) != self.event_shape[0]:
            numbers = counted(self.event_shape[0], "number")
            raise ValueError(f"{counted(len(names), 'column')} for rows of {numbers}")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of a row, ``(D,)`` or ``(C, H, W)``."""
        return self.train.shape[1:]
