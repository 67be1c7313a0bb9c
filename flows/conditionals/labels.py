"""Probabilities of labels: a density, integrated over the cells of its categories.

The code k of a label stands for the cell from k - 1/2 to k + 1/2. The first cell extends to minus
infinity, and the last cell to infinity. So the cells tile the line, and the probabilities of a
column's labels sum to the density of the rest of the row::

    q(k, rest) = integral over the cell of k of  q(x, rest) dx

One category is integrated by adaptive quadrature (``quadrature.py``). Several categories are
integrated together with ``POINTS`` quasi-random points in the product of their cells (Sobol 1967).
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import qmc

from flows.conditionals.quadrature import NODES, integrate
from flows.core.arrays import Array, Whole
from flows.tables.columns import Column

# From rows (n, D) to log-densities (n, M) of the M members, which are the networks of an ensemble
LogDensity = Callable[[Array], Array]

TOLERANCE = 1e-6  # relative
POINTS = 1_024
ROWS = 2_000  # integrated at a time
NEAR = 0.1  # share of the points that are near the codes of all categories


def log_probability(
    log_density: LogDensity,
    columns: Sequence[Column],
    rows: Array,
    tolerance: float = TOLERANCE,
    points: int = POINTS,
) -> Array:
    """Return the log-densities ``(n, M)`` of rows with labels.

    Args:
        log_density: the log-density of rows with real numbers in place of codes.
        columns: the columns.
        rows: the rows, ``(n, D)``, with codes for labels.
        tolerance: the relative tolerance of the integral over one category.
        points: the number of quasi-random points for several categories, a power of 2.
    """
    places = [d for d, column in enumerate(columns) if column.kind == "category"]
    if not places or not len(rows):
        return log_density(rows)
    size = ROWS if len(places) == 1 else max(1, NODES * ROWS // points)
    pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
    last = [len(columns[d].labels) - 1 for d in places]
    if len(places) == 1:
        found = [_adaptive(log_density, each, places[0], last[0], tolerance) for each in pieces]
    else:
        u = qmc.Sobol(len(places), rng=np.random.default_rng(0)).random(points)
        found = [_quasi_random(log_density, each, places, last, u) for each in pieces]
    return np.concatenate(found)


def within(u: Array, code: Array, last: int) -> tuple[Array, Array]:
    """Map ``u`` between 0 and 1 into the cell of ``code``; return x and the slope dx/du.

    ``last`` is the code of the last label, here and in the functions below. The infinite cells of
    the first and the last label use ``u / (1 - u)``. A tail that falls as a power, such as the tail
    of Student's t distribution, is then smooth in ``u``.
    """
    return _in_cell(u, u / (1 - u), 1 / (1 - u) ** 2, code, last)


def share_near(count: int) -> float:
    """Return the share s of ``concentrated`` for ``count`` categories."""
    return max(0.5, NEAR ** (1 / count))


def concentrated(u: Array, code: Array, last: int, count: int) -> tuple[Array, Array]:
    """Map ``u`` as ``within`` does, for one of ``count`` categories that are integrated together.

    A fitted density has most of its mass within 1/2 of the codes. In an infinite cell, a share s of
    ``u`` maps to this part, and the rest to the tail, with a continuous slope::

        last label:   x = last - 1/2 + t(u)
        first label:  x = 1/2 - t(u)

        s = max(1 / 2, NEAR^(1 / count))
        t(u) = u / s                                  if u < s
        t(u) = 1 + (1 - s) / s  (u - s) / (1 - u)     otherwise

    So at least half of the points are near the code of one category, and at least the share
    ``NEAR`` of all points are near the codes of all categories.
    """
    s = share_near(count)
    beyond = 1 + (1 - s) / s * np.maximum(u - s, 0.0) / (1 - u)
    far = np.where(u < s, u / s, beyond)
    steep = np.where(u < s, 1 / s, (1 - s) ** 2 / s / (1 - u) ** 2)
    return _in_cell(u, far, steep, code, last)


def _in_cell(u: Array, far: Array, steep: Array, code: Array, last: int) -> tuple[Array, Array]:
    """Return x and dx/du in the cell of ``code``.

    In an infinite cell, x is at the distance ``far`` from the end, and the slope is ``steep``.
    """
    x = np.where(code == last, code - 0.5 + far, np.where(code == 0, 0.5 - far, code - 0.5 + u))
    return x, np.where((code == 0) | (code == last), steep, 1.0)


def stretched(x: Array, last: int) -> tuple[Array, Array]:
    """Stretch the outer cells from width 1 to infinity with ``within``.

    Return the images of ``x``, and the logarithms of the slopes.
    """
    code = x.round().clip(0, last)
    image, slope = within(np.where(code == 0, 0.5 - x, x - code + 0.5), code, last)
    return image, np.log(slope)


def narrowed(x: Array, last: int) -> tuple[Array, Array]:
    """Apply the inverse of ``stretched``; return the images of ``x`` and the log-slopes."""
    far = np.maximum(0.0, np.maximum(0.5 - x, x - last + 0.5))  # distance into an outer cell
    end = np.where(x < last / 2, 0.5, last - 0.5)
    return np.where(far > 0, end + np.sign(x - end) * far / (1 + far), x), -2 * np.log1p(far)


def _adaptive(log_density: LogDensity, rows: Array, d: int, last: int, tolerance: float) -> Array:
    """Integrate over the cells of column ``d``.

    The tolerance is relative to the sum of the members' integrals.
    """

    def log_integrand(row: Whole, u: Array) -> Array:
        x, slope = within(u, rows[row, d][:, None], last)
        points = rows[row].repeat(u.shape[1], axis=0)
        points[:, d] = x.ravel()
        return log_density(points).reshape(*u.shape, -1) + np.log(slope)[:, :, None]

    return integrate(log_integrand, len(rows), tolerance).log_integral(len(rows))


def _quasi_random(
    log_density: LogDensity, rows: Array, places: list[int], last: list[int], u: Array
) -> Array:
    """Average over the points ``u``, mapped into the product of the cells of the categories.

    ``u`` is ``(points, C)`` for C categories, and ``places`` are their columns.
    """
    points = rows.repeat(len(u), axis=0).reshape(len(rows), len(u), -1)
    log_slope = np.zeros(points.shape[:2])
    for k, d in enumerate(places):
        points[:, :, d], slope = concentrated(u[:, k], rows[:, d, None], last[k], len(places))
        log_slope += np.log(slope)
    log_q = log_density(points.reshape(-1, rows.shape[1])).reshape(*points.shape[:2], -1)
    return np.logaddexp.reduce(log_q + log_slope[:, :, None], axis=1) - np.log(len(u))
