"""Adaptive quadrature: one integral from 0 to 1 for each row, with all rows in parallel.

Each interval is integrated with the Gauss-Legendre rule, once as a whole and once as two halves.
If the two results differ, each half is divided in the same way. There are ``FIRST`` intervals at
first, because two results may agree by chance if both miss a narrow peak. Source: Davis and
Rabinowitz 1984, section 6.2.

The whole line, or an interval of it, becomes 0 to 1 by a smooth map with long tails, the
distribution function of Student's t with two degrees of freedom::

    u(v) = 1/2 + v / (2 sqrt(1 + v^2)),     v = (u - w) / (2 sqrt(u w)),     w = 1 - u
    dv/du = (u w)^(-3/2) / 4

so that far intervals and far peaks have nodes, too.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array, Whole

FIRST = 2  # intervals
NODES = 8  # of the rule, in each interval
HALVINGS = 24  # the largest number of halvings
PARTS = 32  # of an interval, for its distribution function
NEAR_END = 0.01  # of a part, the distance of its ends from 0 and 1
LEAST = -700.0  # logarithm of the smallest value, relative to the largest of an interval

# From indices of rows (r,) and points u (r, NODES) to log-integrands (r, NODES, M)
LogIntegrand = Callable[[Whole, Array], Array]


class Line:
    """Intervals of the line, as the images of 0 to 1.

    Args:
        low: the lower ends ``(r,)``, perhaps infinite.
        high: the upper ends ``(r,)``.
    """

    def __init__(self, low: Array, high: Array) -> None:
        self.u, self.w = [[_share_below(sign * end) for end in (low, high)] for sign in (1, -1)]
        width = np.where(low > 0, self.w[0] - self.w[1], self.u[1] - self.u[0])
        self.log_width = np.log(width)

    def at(self, row: Whole, t: Array) -> tuple[Array, Array]:
        """Return the points of the line at ``t``, and log dv/dt, ``(r, K)`` each.

        Args:
            row: the index of the interval of each row, ``(r,)``.
            t: positions between 0 and 1, ``(r, K)``.
        """
        u, w = (low[row, None] * (1 - t) + high[row, None] * t for low, high in (self.u, self.w))
        log_product = np.log(u) + np.log(w)
        v = (u - w) / (2 * np.exp(0.5 * log_product))
        return v, self.log_width[row, None] - 1.5 * log_product - np.log(4)


def _share_below(v: Array) -> Array:
    """Return u(v) without cancellation below 0."""
    root = np.hypot(1.0, v)
    with np.errstate(divide="ignore", over="ignore"):
        tail = 0.5 / (root * (root + np.abs(v)))
    return np.where(v < 0, tail, 1 - tail)


class Nodes(NamedTuple):
    """The nodes of all integrals, ``NODES`` in each of P intervals.

    Args:
        row: the row that each interval belongs to, ``(P,)``.
        start: the lower ends of the intervals, ``(P,)``.
        width: their widths, ``(P,)``.
        log_mass: the logarithms of the integrands times the weights of the nodes,
            ``(P, NODES, M)``.
    """

    row: Whole
    start: Array
    width: Array
    log_mass: Array

    @property
    def u(self) -> Array:
        """The positions of the nodes, ``(P, NODES)``."""
        return self.start[:, None] + self.width[:, None] * _NODES

    @property
    def edges(self) -> Array:
        """The ends of ``PARTS`` equal parts of each interval, ``(P, PARTS + 1)``.

        0 and 1, which may stand for infinity, are moved a little to the inside.
        """
        found = self.start[:, None] + self.width[:, None] * np.arange(PARTS + 1) / PARTS
        least = NEAR_END * self.width[:, None] / PARTS
        return found.clip(least, 1 - least)

    def shares(self, log_mass: Array) -> Array:
        """Return the integrals of one function over the parts of each interval, ``(P, PARTS)``.

        The logarithm of the function is interpolated linearly between the nodes, so its tails stay
        small, and the parts of an interval sum to the integral over the interval.

        Args:
            log_mass: the logarithms of the function times the weights of the nodes,
                ``(P, NODES)``.
        """
        most = np.max(log_mass, axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):  # of an interval in which the function is 0
            log_f = np.maximum(np.nan_to_num(log_mass - most), LEAST) - np.log(_WEIGHTS)
        at_edges = log_f @ _TO_EDGES
        low, rise = at_edges[:, :-1], np.diff(at_edges, axis=1)
        rise = np.where(np.abs(rise) < 1e-6, 1e-6, rise)
        parts = np.exp(low) * np.expm1(rise) / rise
        mass = np.exp(log_mass).sum(axis=1, keepdims=True)
        return parts / parts.sum(axis=1, keepdims=True) * mass


def _to_edges() -> Array:
    """Return the matrix that interpolates values at the nodes at the ends of the parts."""
    edges = np.arange(PARTS + 1) / PARTS
    place = np.searchsorted(_NODES[1:-1], edges)
    share = (edges - _NODES[place]) / (_NODES[place + 1] - _NODES[place])
    found, column = np.zeros((NODES, PARTS + 1)), np.arange(PARTS + 1)
    found[place, column], found[place + 1, column] = 1 - share, share
    return found


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(NODES)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2
_TO_EDGES = _to_edges()


def integrate(
    log_integrand: LogIntegrand, n: int, tolerance: float, weights: Array | None = None
) -> Nodes:
    """Integrate ``M`` functions in each of ``n`` rows.

    An interval is halved until its integral changes by at most ``tolerance`` times the sum of the
    row's ``M`` integrals and, with ``weights``, their weighted sum. Functions and integrals are
    logarithms, so none overflows.

    Args:
        log_integrand: the logarithms of the functions.
        n: the number of rows.
        tolerance: the largest change.
        weights: the weights of the functions, ``(M,)``.
    """
    log_weights = np.log(_WEIGHTS)
    with np.errstate(divide="ignore"):
        views = [0.0] if weights is None else [0.0, np.log(weights)]

    def panel(row: Whole, start: Array, width: float) -> Array:
        u = start[:, None] + width * _NODES
        return log_integrand(row, u) + (log_weights + np.log(width))[:, None]

    def is_far(both: Array, whole: Array, total: Array) -> Array:
        # Relative to the current integral of the row; the first guess may be far too large
        scale = np.nan_to_num(logsumexp(total, axis=1), neginf=0.0)[:, None]
        change = np.exp(np.minimum(both - scale, 50)) - np.exp(np.minimum(whole - scale, 50))
        return np.asarray(np.abs(change).sum(axis=1) > tolerance)

    width = 1 / FIRST
    row, start = np.arange(n).repeat(FIRST), np.tile(np.arange(FIRST) * width, n)
    whole = logsumexp(panel(row, start, width), axis=1)
    agreed = np.full((n, whole.shape[1]), -np.inf)  # the sum of the finished intervals
    found: list[tuple[Array, ...]] = []
    for halving in range(HALVINGS):
        width /= 2
        row, start = np.repeat(row, 2), np.stack([start, start + width], axis=1).ravel()
        log_mass = panel(row, start, width)
        half = logsumexp(log_mass, axis=1)
        total = agreed.copy()
        np.logaddexp.at(total, row, half)
        both, of_row = np.logaddexp(half[::2], half[1::2]), total[row[::2]]
        far = np.any([is_far(both + w, whole + w, of_row + w) for w in views], axis=0)
        far = np.repeat(far & (halving < HALVINGS - 1), 2)
        np.logaddexp.at(agreed, row[~far], half[~far])
        found.append((row[~far], start[~far], np.full((~far).sum(), width), log_mass[~far]))
        row, start, whole = row[far], start[far], half[far]
        if not len(row):
            break
    return Nodes(*map(np.concatenate, zip(*found, strict=True)))
