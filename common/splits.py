"""The split into training and test rows of the pipeline, the studies and the benchmarks."""

from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.core.truth import Truth


def holdout(rows: Array, test_rows: int, seed: int) -> tuple[Array, Array]:
    """Split ``rows`` ``(n, D)`` at random into training and test rows.

    Return copies ``(n - test_rows, D)`` and ``(test_rows, D)``. Their random order depends only on
    ``seed``. Either part may be empty.
    """
    order = numpy_generator(seed, "split").permutation(len(rows))
    return rows[order[test_rows:]], rows[order[:test_rows]]


def draw_split(
    truth: Truth, rows: int, test_rows: int, *, seed: int, split_seed: int
) -> tuple[Array, Array]:
    """Draw training and test rows ``(n, D)`` from the true density ``truth``.

    For the same seeds, the stages ``generate`` and ``prepare`` of the pipeline give the same rows.
    ``seed`` is the seed of the rows, and ``split_seed`` the seed of the split.
    """
    return holdout(truth.sample(rows, numpy_generator(seed, "generate")), test_rows, split_seed)
