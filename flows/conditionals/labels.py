"""The probability of labels: a density, integrated over the cells of its categories.

The code k of a label stands for the cell from k - 1/2 to k + 1/2; the first cell has no lower end,
and the last no upper one. So the cells tile the line, and the probabilities of a column's labels
sum to the density of the rest of the row::

    q(k, rest) = integral over the cell of k of  q(x, rest) dx

Over one category it is integrated adaptively (``quadrature.py``). Over several together, the cells'
product is sampled by ``POINTS`` quasi-random points (Sobol 1967).
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import qmc

from flows.conditionals.quadrature import NODES, integrate
from flows.core.arrays import Array, Whole
from flows.tables.columns import Column

LogDensity = Callable[[Array], Array]  # of rows (n, D), per member: (n, M)

TOLERANCE = 1e-6  # relative
POINTS = 1_024
ROWS = 2_000  # at a time


def log_probability(
    log_density: LogDensity,
    columns: Sequence[Column],
    rows: Array,
    tolerance: float = TOLERANCE,
) -> Array:
    """Return the log-density ``(n, M)`` of ``rows`` ``(n, D)`` whose categories are codes.

    ``log_density`` is of rows with real numbers in place of the codes. Over one category it is
    integrated to the relative ``tolerance``.
    """
    places = [d for d, column in enumerate(columns) if column.kind == "category"]
    if not places or not len(rows):
        return log_density(rows)
    size = ROWS if len(places) == 1 else max(1, NODES * ROWS // POINTS)
    pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
    last = [len(columns[d].labels) - 1 for d in places]
    if len(places) == 1:
        found = [_adaptive(log_density, each, places[0], last[0], tolerance) for each in pieces]
    else:
        u = qmc.Sobol(len(places), rng=np.random.default_rng(0)).random(POINTS)
        found = [_quasi_random(log_density, each, places, last, u) for each in pieces]
    return np.concatenate(found)


def within(u: Array, code: Array, last: int) -> tuple[Array, Array]:
    """Return the place in the cell of ``code`` at ``u`` from 0 to 1, and its slope by ``u``.

    An end at infinity is reached by ``u / (1 - u)``, under which a tail that falls as a power, as
    Student's t does, stays smooth.
    """
    x, slope = code - 0.5 + u, np.ones(np.broadcast(u, code).shape)
    far, steep = u / (1 - u), 1 / (1 - u) ** 2
    x = np.where(code == last, code - 0.5 + far, np.where(code == 0, 0.5 - far, x))
    return x, np.where((code == 0) | (code == last), steep, slope)


def stretched(x: Array, last: int) -> tuple[Array, Array]:
    """Return the places on the line of ``x``, where all cells are one wide, and the log-slopes.

    The outer cells are stretched to infinity, by ``within``.
    """
    code = x.round().clip(0, last)
    place, slope = within(np.where(code == 0, 0.5 - x, x - code + 0.5), code, last)
    return place, np.log(slope)


def narrowed(x: Array, last: int) -> tuple[Array, Array]:
    """Return the inverse of ``stretched``, and its log-slopes."""
    far = np.maximum(0.0, np.maximum(0.5 - x, x - last + 0.5))  # from where an outer cell begins
    end = np.where(x < last / 2, 0.5, last - 0.5)
    return np.where(far > 0, end + np.sign(x - end) * far / (1 + far), x), -2 * np.log1p(far)


def _adaptive(log_density: LogDensity, rows: Array, d: int, last: int, tolerance: float) -> Array:
    """Integrate over the cells of column ``d``; the measure is the sum of the members."""

    def log_integrand(row: Whole, u: Array) -> Array:
        x, slope = within(u, rows[row, d][:, None], last)
        points = rows[row].repeat(u.shape[1], axis=0)
        points[:, d] = x.ravel()
        return log_density(points).reshape(*u.shape, -1) + np.log(slope)[:, :, None]

    return integrate(log_integrand, len(rows), tolerance).log_integral(len(rows))


def _quasi_random(
    log_density: LogDensity, rows: Array, places: list[int], last: list[int], u: Array
) -> Array:
    """Average over the points ``u`` ``(POINTS, places)`` in the product of the cells."""
    points = rows.repeat(len(u), axis=0).reshape(len(rows), len(u), -1)
    log_slope = np.zeros(points.shape[:2])
    for k, d in enumerate(places):
        points[:, :, d], slope = within(u[:, k], rows[:, d, None], last[k])
        log_slope += np.log(slope)
    log_q = log_density(points.reshape(-1, rows.shape[1])).reshape(*points.shape[:2], -1)
    return np.logaddexp.reduce(log_q + log_slope[:, :, None], axis=1) - np.log(len(u))
