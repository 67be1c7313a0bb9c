"""Adaptive quadrature: one integral from 0 to 1 for each row, with all rows in parallel.

Each interval is integrated with the Gauss-Legendre rule, once as a whole and once as two halves.
If the two results differ, each half is divided in the same way. There are ``FIRST`` intervals at
first, because two results may agree by chance if both miss a narrow peak. Source: Davis and
Rabinowitz 1984, section 6.2.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array, Whole

FIRST = 2  # intervals
NODES = 8  # of the rule, in each interval
HALVINGS = 12  # the largest number of halvings

# From indices of rows (r,) and points u (r, NODES) to log-integrands (r, NODES, M)
LogIntegrand = Callable[[Whole, Array], Array]


class Nodes(NamedTuple):
    """The nodes of all integrals.

    Args:
        row: the row that each node belongs to, ``(T,)``.
        u: the positions of the nodes, ``(T,)``.
        log_mass: the logarithms of the integrands times the weights of the nodes, ``(T, M)``.
    """

    row: Whole
    u: Array
    log_mass: Array


def integrate(log_integrand: LogIntegrand, n: int, tolerance: float) -> Nodes:
    """Integrate ``M`` functions in each of ``n`` rows.

    An interval is halved until its integral changes by at most ``tolerance`` times the sum of the
    row's ``M`` integrals. Functions and integrals are logarithms, so none overflows.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    nodes, log_weights = (nodes + 1) / 2, np.log(weights / 2)

    def panel(row: Whole, start: Array, width: float) -> tuple[Array, Array]:
        u = start[:, None] + width * nodes
        return u, log_integrand(row, u) + (log_weights + np.log(width))[:, None]

    width = 1 / FIRST
    row, start = np.arange(n).repeat(FIRST), np.tile(np.arange(FIRST) * width, n)
    whole = logsumexp(panel(row, start, width)[1], axis=1)
    agreed = np.full((n, whole.shape[1]), -np.inf)  # the sum of the finished intervals
    found: list[tuple[Array, ...]] = []
    for halving in range(HALVINGS):
        width /= 2
        row, start = np.repeat(row, 2), np.stack([start, start + width], axis=1).ravel()
        u, log_mass = panel(row, start, width)
        half = logsumexp(log_mass, axis=1)
        total = agreed.copy()
        np.logaddexp.at(total, row, half)
        # Relative to the current integral of the row; the first guess may be far too large
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
