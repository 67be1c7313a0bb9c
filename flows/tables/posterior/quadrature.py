"""Adaptive quadrature: one integral from 0 to 1 for each row, with all rows in parallel.

Each interval is integrated with the rule of Kronrod with 15 nodes, and with that of Gauss with 7 of
these nodes. If the two results differ, the interval is halved. There are ``FIRST`` intervals at
first, because two results may agree by chance if both miss a narrow peak. Source: Piessens, de
Doncker-Kapenga, Ueberhuber and Kahaner 1983 (QUADPACK).

A smooth map takes the line, or an interval of the line, to the numbers from 0 to 1. The map is the
distribution function of Student's t with two degrees of freedom, which has long tails::

    u(v) = 1/2 + v / (2 sqrt(1 + v^2)),     v = (u - w) / (2 sqrt(u w)),     w = 1 - u
    dv/du = (u w)^(-3/2) / 4

so that far intervals and far peaks have nodes, too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array, Whole
from flows.networks.population import ensemble_log_prob

FIRST = 4  # intervals
HALVINGS = 40  # the largest number of halvings
PARTS = 32  # of an interval, for its distribution function
NEAR_END = 0.01  # of a part, the distance of its ends from 0 and 1
LEAST = -700.0  # logarithm of the smallest value, relative to the largest of an interval
# The positive nodes on -1 to 1, with the weights of Kronrod's and of Gauss's rule, and the middle
HALF_NODES = (
    (0.9914553711208126, 0.0229353220105292, 0.0),
    (0.9491079123427585, 0.0630920926299786, 0.1294849661688697),
    (0.8648644233597691, 0.1047900103222502, 0.0),
    (0.7415311855993944, 0.1406532597155259, 0.2797053914892767),
    (0.5860872354676911, 0.1690047266392679, 0.0),
    (0.4058451513773972, 0.1903505780647854, 0.3818300505051189),
    (0.2077849550078985, 0.2044329400752989, 0.0),
)
MIDDLE = (0.0, 0.2094821410847278, 0.4179591836734694)

# From indices of rows (r,) and points u (r, K) to log-integrands (r, K, M)
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
        with np.errstate(divide="ignore"):  # of an interval that rounding made empty
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
    """The nodes of all integrals, K = 15 in each of P intervals.

    Args:
        row: the row that each interval belongs to, ``(P,)``.
        start: the lower ends of the intervals, ``(P,)``.
        width: their widths, ``(P,)``.
        log_mass: the logarithms of the integrands times the weights of the nodes, ``(P, K, M)``.
    """

    row: Whole
    start: Array
    width: Array
    log_mass: Array

    @property
    def u(self) -> Array:
        """The positions of the nodes, ``(P, K)``."""
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
            log_mass: the logarithms of the function times the weights of the nodes, ``(P, K)``.
        """
        most = np.max(log_mass, axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):  # of an interval in which the function is 0
            log_f = np.maximum(np.nan_to_num(log_mass - most), LEAST) - np.log(_WEIGHTS)
        at_edges = log_f @ _TO_EDGES
        most = np.maximum(at_edges[:, :-1], at_edges[:, 1:])
        rise = np.maximum(np.abs(np.diff(at_edges, axis=1)), 1e-6)
        parts = np.exp(most) * -np.expm1(-rise) / rise
        mass = np.exp(log_mass).sum(axis=1, keepdims=True)
        return parts / parts.sum(axis=1, keepdims=True) * mass


class Curves:
    """The distribution functions of rows, for any weights of the M functions.

    Args:
        nodes: the nodes of the integrals.
        edges: the values at the ends of the parts of each interval, ``(P, PARTS + 1)``.
    """

    def __init__(self, nodes: Nodes, edges: Array) -> None:
        self.nodes, self.edges = nodes, edges
        self._shares: dict[bytes, Array] = {}  # of all rows, by the weights

    def of(self, own: Whole, weights: Array) -> tuple[Array, Array]:
        """Return the distribution function of a row: values, and their levels, ``(E,)`` each.

        The levels rise from 0 to 1. All are 0 if the weighted sum of the functions is 0.

        Args:
            own: the indices of the intervals of the row, in the order of their values.
            weights: the weights of the functions, ``(M,)``.
        """
        levels = np.zeros((len(own), PARTS + 1))
        levels[:, 1:] = self.shares(weights)[own]
        levels = levels.cumsum()
        return self.edges[own].ravel(), levels / levels[-1] if levels[-1] else levels

    def shares(self, weights: Array) -> Array:
        """Return the integrals of the weighted sum over the parts, ``(P, PARTS)``.

        Args:
            weights: the weights of the functions, ``(M,)``.
        """
        key = weights.tobytes()
        if key not in self._shares:
            own = weights > 0
            log_mass = ensemble_log_prob(self.nodes.log_mass[..., own], weights[own])
            self._shares[key] = self.nodes.shares(log_mass)
        return self._shares[key]


def _to_edges() -> Array:
    """Return the matrix that interpolates values at the nodes at the ends of the parts."""
    edges = np.arange(PARTS + 1) / PARTS
    place = np.searchsorted(_NODES[1:-1], edges)
    share = (edges - _NODES[place]) / (_NODES[place + 1] - _NODES[place])
    found, column = np.zeros((len(_NODES), PARTS + 1)), np.arange(PARTS + 1)
    found[place, column], found[place + 1, column] = 1 - share, share
    return found


_RULES = np.array([(-x, *w) for x, *w in HALF_NODES] + [MIDDLE, *HALF_NODES[::-1]])
_NODES, _WEIGHTS, _OF_GAUSS = (_RULES[:, 0] + 1) / 2, *(_RULES[:, 1:] / 2).T
_TO_EDGES = _to_edges()


def integrate(
    log_integrand: LogIntegrand, n: int, tolerance: float, weights: Array | None = None
) -> Nodes:
    """Integrate ``M`` functions in each of ``n`` rows.

    Intervals are halved until the differences of the two rules sum to at most ``tolerance`` times
    the sum of the row's ``M`` integrals and, with ``weights``, of their weighted sum. Functions and
    integrals are logarithms, so none overflows.

    Args:
        log_integrand: the logarithms of the functions.
        n: the number of rows.
        tolerance: the largest difference.
        weights: the weights of the functions, ``(M,)``.
    """
    with np.errstate(divide="ignore"):
        views = [np.zeros(1)] if weights is None else [np.zeros(1), np.log(weights)]
        log_weights = np.log(np.stack([_WEIGHTS, _OF_GAUSS]))[..., None]
    row, start = np.arange(n).repeat(FIRST), np.tile(np.arange(FIRST) / FIRST, n)
    # Logarithms of the finished intervals: their integrals, and the differences in each view
    agreed, spent = np.zeros(0), np.full((len(views), n), -np.inf)
    width, found = 1 / FIRST, list[tuple[Any, ...]]()
    for halving in range(HALVINGS):
        log_f = log_integrand(row, start[:, None] + width * _NODES) + np.log(width)
        whole, by_gauss = [np.asarray(logsumexp(log_f + each, axis=1)) for each in log_weights]
        if not halving:
            agreed = np.full((n, whole.shape[1]), -np.inf)
        total, counts = agreed.copy(), np.bincount(row, minlength=n)[row]
        np.logaddexp.at(total, row, whole)
        far, differences = np.zeros(len(row), bool), list[Array]()
        for own, view in zip(spent, views, strict=True):
            difference, sums = _log_difference(whole + view, by_gauss + view), own.copy()
            np.logaddexp.at(sums, row, difference)
            budget = np.log(tolerance) + np.asarray(logsumexp(total + view, axis=1))[row]
            far |= (sums[row] > budget) & (difference > budget - np.log(2 * counts))
            differences.append(difference)
        done = ~far | (halving == HALVINGS - 1)
        np.logaddexp.at(agreed, row[done], whole[done])
        for own, difference in zip(spent, differences, strict=True):
            np.logaddexp.at(own, row[done], difference[done])
        widths = np.full(int(done.sum()), width)
        found.append((row[done], start[done], widths, log_f[done] + log_weights[0]))
        width /= 2
        row, start = row[~done].repeat(2), (start[~done, None] + np.array([0.0, width])).ravel()
        if not len(row):
            break
    return Nodes(*map(np.concatenate, zip(*found, strict=True)))


def _log_difference(left: Array, right: Array) -> Array:
    """Return the logarithm of ``sum_m |exp(left_m) - exp(right_m)|``, ``(r,)``.

    Args:
        left: logarithms ``(r, M)``.
        right: logarithms ``(r, M)``.
    """
    most = np.nan_to_num(np.maximum(left, right).max(axis=1, keepdims=True), neginf=0.0)
    difference = np.abs(np.exp(left - most) - np.exp(right - most)).sum(axis=1)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(difference) + most[:, 0])
