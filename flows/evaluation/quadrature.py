"""Adaptive quadrature: one integral from 0 to 1 a row, all rows side by side.

An interval is integrated by Gauss and Legendre's rule, and again by halves. Where the two differ,
the halves are halved, until they agree. Source: Davis and Rabinowitz 1984, section 6.2.
"""

from __future__ import annotations

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

    def panel(row: Whole, start: Array, width: float) -> Nodes:
        u = start[:, None] + width * nodes
        log_mass = log_integrand(row, u) + (log_weights + np.log(width))[:, None]
        return Nodes(row, u, log_mass)

    row, start, width = np.arange(n), np.zeros(n), 1.0
    whole = logsumexp(panel(row, start, width).log_mass, axis=1)
    agreed = np.full((n, whole.shape[1]), -np.inf)
    found: list[Nodes] = []
    for halving in range(HALVINGS):
        width /= 2
        row, start = np.repeat(row, 2), np.stack([start, start + width], axis=1).ravel()
        halves = panel(row, start, width)
        each = logsumexp(halves.log_mass, axis=1)
        sums = np.logaddexp(each[::2], each[1::2])
        total = agreed.copy()
        np.logaddexp.at(total, row, each)
        scale = np.nan_to_num(logsumexp(total, axis=1)[row[::2]], neginf=0.0)[:, None]
        change = np.abs(
            np.exp(np.minimum(sums - scale, 50)) - np.exp(np.minimum(whole - scale, 50))
        )
        far = np.repeat((change.sum(axis=1) > tolerance) & (halving < HALVINGS - 1), 2)
        np.logaddexp.at(agreed, row[~far], each[~far])
        found.append(Nodes(*(part[~far] for part in halves)))
        row, start, whole = row[far], start[far], each[far]
        if not len(row):
            break
    row = np.concatenate([each.row for each in found]).repeat(NODES)
    log_mass = np.concatenate([each.log_mass for each in found])
    return Nodes(
        row,
        np.concatenate([each.u for each in found]).ravel(),
        log_mass.reshape(len(row), -1),
    )
