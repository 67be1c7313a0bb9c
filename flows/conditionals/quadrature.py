"""Adaptive quadrature: one integral from 0 to 1 a row, all rows side by side.

An interval is integrated by Gauss and Legendre's rule, and again by halves. Where the two differ,
the halves are halved, until they agree. Source: Davis and Rabinowitz 1984, section 6.2.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array, Whole

NODES = 8  # of the rule, in every interval
HALVINGS = 12  # of an interval, at most

# Of the numbers of rows (r,), and points u (r, NODES) of each: their log-integrands (r, NODES, M)
LogIntegrand = Callable[[Whole, Array], Array]


class Nodes(NamedTuple):
    """The nodes of all integrals, and what each adds to its own.

    ``row`` ``(T,)`` is the integral that a node belongs to, ``u`` ``(T,)`` its place, and
    ``log_mass`` ``(T, M)`` the logarithm of its integrand times its weight.
    """

    row: Whole
    u: Array
    log_mass: Array

    def log_integral(self, n: int) -> Array:
        """Return the logarithms of the ``n`` integrals, ``(n, M)``."""
        order = np.argsort(self.row, kind="stable")
        starts = np.searchsorted(self.row[order], np.arange(n))
        return np.logaddexp.reduceat(self.log_mass[order], starts, axis=0)


def integrate(log_integrand: LogIntegrand, n: int, tolerance: float) -> Nodes:
    """Integrate ``M`` functions in each of ``n`` rows to a relative ``tolerance`` of their sum.

    Functions are given and returned by their logarithms, so that none under- or overflows.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    nodes, log_weights = (nodes + 1) / 2, np.log(weights / 2)

    def panel(row: Whole, start: Array, width: float) -> tuple[Array, Array]:
        u = start[:, None] + width * nodes
        return u, log_integrand(row, u) + (log_weights + np.log(width))[:, None]

    row, start, width = np.arange(n), np.zeros(n), 1.0
    whole = logsumexp(panel(row, start, width)[1], axis=1)
    agreed = np.full((n, whole.shape[1]), -np.inf)  # the sum of the intervals that are done
    found: list[tuple[Array, ...]] = []
    for halving in range(HALVINGS):
        width /= 2
        row, start = np.repeat(row, 2), np.stack([start, start + width], axis=1).ravel()
        u, log_mass = panel(row, start, width)
        half = logsumexp(log_mass, axis=1)
        total = agreed.copy()
        np.logaddexp.at(total, row, half)
        # Relative to the row's integral as it is now; a bad first guess may be far above it
        scale = np.nan_to_num(logsumexp(total, axis=1)[row[::2]], neginf=0.0)[:, None]
        both = np.logaddexp(half[::2], half[1::2])
        change = np.exp(np.minimum(both - scale, 50)) - np.exp(np.minimum(whole - scale, 50))
        far = np.abs(change).sum(axis=1) > tolerance
        far = np.repeat(far & (halving < HALVINGS - 1), 2)
        np.logaddexp.at(agreed, row[~far], half[~far])
        masses = log_mass[~far].reshape(-1, whole.shape[1])
        found.append((row[~far].repeat(NODES), u[~far].ravel(), masses))
        row, start, whole = row[far], start[far], half[far]
        if not len(row):
            break
    return Nodes(*map(np.concatenate, zip(*found, strict=True)))
