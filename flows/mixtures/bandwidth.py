"""The bandwidth h of a Gaussian kernel density, chosen by the likelihood of held-out rows::

    p(x) = 1/n sum_j N(x; x_j, h^2 I)

Two functions choose it, because their callers have different needs:

- ``cross_validated_bandwidth`` chooses from a list by cross-validation, which is the usual way. The
  reference ``kde`` uses it, and ``references.kde.bandwidths`` and ``references.kde.folds`` of
  ``params.yaml`` are its arguments.
- ``likelihood_bandwidth`` maximises the leave-one-out likelihood over an interval. Training uses it
  for the noise level: it needs no folds, no list and no seed, so the level depends on the rows
  alone, and smoothly.

The cost is quadratic, so both use a subsample of large data sets and rescale the result: the best
bandwidth shrinks as n^(-1/(D+4)) (Silverman 1986). Rows are ``(n, D)`` and standardised, and
bandwidths are in standard deviations of the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from scipy.special import logsumexp

from flows.core.arrays import Array, subsample
from flows.core.progress import progress

ROWS = 4_000  # largest number of rows for cross-validation
# The leave-one-out likelihood uses fewer, because it holds the distances of all pairs in memory
LEAVE_ONE_OUT_ROWS = 2_000
LIMITS = (0.01, 1.0)  # of the leave-one-out bandwidth


def bandwidths(count: int) -> list[float]:
    """Return ``count`` bandwidths from 0.02 to 1, evenly spaced in the logarithm."""
    return np.geomspace(0.02, 1.0, count).tolist()


def cross_validated_bandwidth(
    rows: Array, *, bandwidths: Sequence[float], folds: int, seed: int, most: int = ROWS
) -> float:
    """Return the bandwidth with the best cross-validated likelihood of ``rows`` ``(n, D)``::

        h = argmax  sum_f sum_{i in f} log 1/n_f sum_{j not in f} N(x_i; x_j, h^2 I)

    The maximum is over ``bandwidths``, and n_f is the number of rows outside of fold f. The fold of
    a row depends on ``seed``. A subsample of at most ``most`` rows is used, and the result is
    rescaled to all rows. Raises ``ValueError`` for fewer rows than ``folds``.

    Examples:
        >>> import numpy as np
        >>> from flows.mixtures.bandwidth import bandwidths, cross_validated_bandwidth
        >>> rows = np.random.default_rng(0).standard_normal((200, 2))
        >>> h = cross_validated_bandwidth(rows, bandwidths=bandwidths(20), folds=5, seed=0)
        >>> round(h, 2)
        0.54
    """
    from sklearn.model_selection import KFold

    few = subsample(rows, most)
    score = np.zeros(len(bandwidths))
    with progress("bandwidth", folds * len(bandwidths), "fit") as bar:
        for train, held_out in KFold(folds, shuffle=True, random_state=seed).split(few):
            squared = scipy.spatial.distance.cdist(few[held_out], few[train], "sqeuclidean")
            for k, h in enumerate(bandwidths):
                score[k] += len(held_out) * _log_likelihood(squared, rows.shape[1], np.log(h))
                bar.update()
    return rescaled(bandwidths[int(score.argmax())], few, rows)


def likelihood_bandwidth(points: Array, most: int = LEAVE_ONE_OUT_ROWS) -> float:
    """Return the bandwidth with the best leave-one-out likelihood of ``points`` ``(n, D)``::

        h = argmax  sum_i log 1/(n-1) sum_{j != i} N(x_i; x_j, h^2 I)

    The maximum is over the interval ``LIMITS``. A subsample of at most ``most`` points is used, and
    the result is rescaled to all points. Source: Habbema, Hermans and van den Broek 1974 (A
    stepwise discriminant analysis program using density estimation).

    Examples:
        >>> import numpy as np
        >>> from flows.mixtures.bandwidth import likelihood_bandwidth
        >>> points = np.random.default_rng(0).standard_normal((200, 2))
        >>> round(likelihood_bandwidth(points), 2)
        0.55
    """

    few, dim = subsample(points, most), points.shape[1]
    squared = scipy.spatial.distance.cdist(few, few, "sqeuclidean")
    np.fill_diagonal(squared, np.inf)
    found = scipy.optimize.minimize_scalar(
        lambda log_h: -_log_likelihood(squared, dim, log_h),
        bounds=np.log(LIMITS),
        method="bounded",
        options={"xatol": 0.001},
    )
    return rescaled(float(np.exp(found.x)), few, points)


def _log_likelihood(squared: Array, dim: int, log_h: float) -> float:
    """Return the mean log-density of m points, up to a number that does not depend on h.

    ``squared`` ``(m, n)`` holds the squared distances from the points to the centres of the n
    kernels, in ``dim`` dimensions.
    """
    log_kernels = -squared / (2 * np.exp(2 * log_h))
    return float(logsumexp(log_kernels, axis=1).mean() - dim * log_h)


def rescaled(bandwidth: Any, few: Array, rows: Array) -> Any:
    """Rescale a ``bandwidth`` chosen on the subsample ``few`` to all ``rows`` ``(n, D)``.

    The bandwidth is a number, or an array with one number per column.
    """
    return bandwidth * (len(few) / len(rows)) ** (1 / (rows.shape[1] + 4))
