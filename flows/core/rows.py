"""Rows of a table: numbers and labels apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array, Mask, Whole


class Rows(NamedTuple):
    """n rows of a table with D columns of numbers and C columns of labels, which have gaps.

    A gap is a missing value.

    Args:
        numbers: the numbers, ``(n, D)``; ``NaN`` is a gap.
        codes: the codes of the labels, ``(n, C)``, from 0; -1 is a gap.
        sizes: the number of different labels of each column, C numbers.
    """

    numbers: Array
    codes: Whole
    sizes: tuple[int, ...]

    def take(self, places: Whole) -> Rows:
        """Return the rows with the indices ``places`` ``(m,)``."""
        return Rows(self.numbers[places], self.codes[places], self.sizes)

    def indicators(self) -> list[Mask]:
        """Return the indicators of the labels of each column, ``(n, L)`` each; of a gap, none."""
        return [
            codes[:, None] == np.arange(size)
            for codes, size in zip(self.codes.T, self.sizes, strict=True)
        ]

    def frequencies(self) -> Iterator[Array]:
        """Yield the frequencies of the labels of each column, with one row spread over them."""
        for codes, size in zip(self.codes.T, self.sizes, strict=True):
            counts = np.bincount(codes[codes >= 0], minlength=size) + 1 / size
            yield counts / counts.sum()
