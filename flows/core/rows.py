"""Rows of a table: numbers and labels apart, equal rows, and the number of rows with weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    @classmethod
    def of_numbers(cls, numbers: Array) -> Rows:
        """Return rows of ``numbers`` ``(n, D)`` alone."""
        return cls(numbers, np.empty((len(numbers), 0), np.int64), ())

    @classmethod
    def of_labels(cls, codes: Whole, sizes: Sequence[int]) -> Rows:
        """Return rows of labels alone, with these ``codes`` ``(n, C)``."""
        return cls(np.empty((len(codes), 0)), codes, tuple(sizes))

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


def codes_of(x: Array, sizes: Sequence[int]) -> Whole:
    """Return the codes of the nearest labels of ``x`` ``(..., C)``; -1 for ``NaN``.

    ``sizes`` are the numbers of labels of the C columns.
    """
    codes = x.round().clip(0, np.array(sizes) - 1)
    return np.where(np.isnan(x), -1, codes).astype(np.int64)


def equal_rows(values: Array) -> Whole:
    """Group equal rows of ``values`` ``(n, D)``, and return the group number of each row, ``(n,)``.

    Groups are numbered from 0 in the order of their first rows. Missing values (``NaN``) are equal
    to each other.
    """
    order = np.lexsort(values.T[::-1])  # stable, so the first of equal rows comes first
    sorted_rows = values[order]
    before, after = sorted_rows[:-1], sorted_rows[1:]
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    starts = np.concatenate([[True], ~same.all(axis=1)])
    first = np.empty(len(values), dtype=np.int64)
    first[order] = order[starts][starts.cumsum() - 1]
    return np.unique(first, return_inverse=True)[1]


def digests(values: Array) -> Whole:
    """Return a 63-bit number for each row of ``values`` ``(n, D)``, ``(n,)``.

    Equal rows have equal numbers, in any table and on any machine; different rows have different
    numbers except by chance. A missing value (``NaN``) counts as a value.
    """
    bits = np.where(np.isnan(values), np.nan, values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    found = np.zeros(len(values), np.uint64)
    for column in bits.T:  # the finalizer of splitmix64 (Steele, Lea and Flood 2014)
        found = (found ^ column) + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found ^= found >> np.uint64(31)
    return (found >> np.uint64(1)).astype(np.int64)


def matched(own: Whole, known: Whole) -> Whole | None:
    """Return the place of each row among the ``known`` digests, ``(n,)``.

    The result is ``None`` unless both hold the same rows, in any order.
    """
    if len(own) != len(known):
        return None
    order, there = np.argsort(own, kind="stable"), np.argsort(known, kind="stable")
    if (own[order] != known[there]).any():
        return None
    places = np.empty(len(own), np.int64)
    places[order] = there
    return places


def effective_rows(row_ids: Whole) -> float:
    """Return the effective number of rows with the same weighted mean, (sum c)^2 / sum c^2.

    Args:
        row_ids: the row that each copy repeats, ``(n,)``; c is how often each row occurs.

    Source: Kish 1965 (Survey sampling).
    """
    sizes = np.unique(row_ids, return_counts=True)[1].astype(float)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def standard_error(x: Array, groups: Whole) -> float:
    """Return the standard error of the mean of ``x`` ``(n,)``, whose rows depend within groups.

    The rows of a group count as copies of one row.

    Args:
        x: the values of the rows, ``(n,)``.
        groups: the group of each row, ``(n,)``.
    """
    return float(x.std() / np.sqrt(effective_rows(groups)))


def by_value(numbers: Whole) -> Iterator[tuple[int, Whole]]:
    """Yield each number of ``numbers`` ``(n,)`` in rising order, and the indices of its places."""
    for number in np.unique(numbers).tolist():
        yield number, np.flatnonzero(numbers == number)


def with_values(rows: Array, columns: Whole, x: Array) -> Array:
    """Return each row K times, with values in one of its columns, ``(n K, D)``.

    Args:
        rows: the rows ``(n, D)``.
        columns: the column of each row, ``(n,)``.
        x: the values ``(n, K)``.
    """
    found = rows.repeat(x.shape[1], axis=0)
    found[np.arange(len(found)), columns.repeat(x.shape[1])] = x.ravel()
    return found
