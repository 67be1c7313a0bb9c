"""Probabilities of labels: a density, integrated over the cells of its categories.

The code of a label stands for a cell of the line (``tables/cells.py``). The cells tile the line, so
the probabilities of a column's labels sum to the density of the rest of the row::

    q(k, rest) = integral over the cell of k of  q(x, rest) dx

One category is integrated by adaptive quadrature (``quadrature.py``). Several categories are
integrated together with ``POINTS`` quasi-random points in the product of their cells (Sobol 1967).
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import qmc

from flows.conditionals.quadrature import NODES, integrate
from flows.core.arrays import Array, Whole
from flows.tables.cells import concentrated, within
from flows.tables.field import Field

# From rows (n, D) to log-densities (n, M) of the M members of an ensemble
LogDensity = Callable[[Array], Array]

TOLERANCE = 1e-6  # relative
POINTS = 1_024
ROWS = 2_000  # integrated at a time


def log_probability(
    log_density: LogDensity,
    columns: Sequence[Field],
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
    places = [d for d, column in enumerate(columns) if column.labels]
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
