"""Training and test rows.

The pipeline, the studies and the benchmarks split their data in this one way.
"""

from __future__ import annotations

from flows.core.arrays import Array
from flows.core.mixture import Truth
from flows.core.seeds import numpy_generator


def holdout(rows: Array, test_rows: int, seed: int) -> tuple[Array, Array]:
    """A random split of ``rows`` ``(n, D)``.

    The training rows ``(n - test_rows, D)`` and the test rows ``(test_rows, D)``, each a copy.

    The order is random too, and ``seed`` alone decides it. Nothing is raised for ``test_rows`` of 0
    or of n, where one part is empty.
    """
    order = numpy_generator(seed, "split").permutation(len(rows))
    return rows[order[test_rows:]], rows[order[:test_rows]]


def draw(
    truth: Truth, rows: int, test_rows: int, *, seed: int, split_seed: int
) -> tuple[Array, Array]:
    """Training and test rows of a data set drawn from ``truth``.

    As the pipeline's ``generate`` and ``prepare`` make them from a data seed.
    """
    return holdout(truth.sample(rows, numpy_generator(seed, "generate")), test_rows, split_seed)
