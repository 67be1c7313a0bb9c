"""Draws inside a box near a mixture of Gaussians, as a proposal for importance sampling::

    r(z) = sum_k s_k r_k(z),      s_k = 0.95 v_k Q_k / sum_l v_l Q_l + 0.05 u_k

k are the K components of the mixture given the known values of a row, with v_k = 0.9 w_k, and
copies of these components with 4 times the covariance, with v_k = 0.1 w_k. w_k is the weight of
component k given the known values; u_k is v_k with its weight given nothing, because far away from
the data, the mixture errs about the component to which a row belongs. Q_k is the product of
the probabilities of the intervals under the margins of component k. Without intervals, Q_k is 1,
and there are no copies.

The coordinates of a draw from a component are drawn one after another, each from the normal
distribution given the coordinates before it. A restricted coordinate is drawn inside its intervals.
With u = L^-1 (z - mu), Sigma = L L^T and P_kj the probability of the intervals of coordinate j
given the coordinates before it, the density of the draws of a component is::

    r_k(z) = N(z; mu_k, Sigma_k) / prod_j P_kj(u_1, ..., u_{j-1})

The intervals of a coordinate may depend on the coordinates before it, as a constraint between
columns does.

Source: Genz 1992 (Numerical computation of multivariate normal probabilities); the estimator is
also known as GHK (Geweke 1991, Hajivassiliou 1994, Keane 1994).

Unknown labels are drawn from their sets, given the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.special import log_ndtr, log_softmax, softmax

from flows.core.arrays import Array, Whole, choose
from flows.core.intervals import in_intervals, log_interval, truncated_normal
from flows.core.rows import Rows
from flows.mixtures.mixture import Mixture

# From indices of rows (N,), and draws of the coordinates before one, (N, j), ``NaN`` if not drawn,
# to the intervals of this coordinate, (N, I, 2); empty intervals have infinite ends
Limit = Callable[[Whole, Array], Array]

WIDE, WIDER = 0.1, 4.0  # weight of the copies of the components, and the factor of the covariances
ANY = 0.05  # share of the draws whose component is selected without regard to the row and the box


class BoxProposal:
    """A proposal of the gaps of rows; its draws lie inside intervals and sets of labels.

    Args:
        mixture: the mixture over all numbers and labels.
        known: n rows that lack the same values.
        limits: the intervals of unknown numbers, in the order in which these are drawn. Numbers
            without intervals are not restricted, and are drawn last.
        sets: the codes of the allowed labels ``(A,)`` by unknown column of labels. Labels without a
            set are not restricted.
    """

    def __init__(
        self,
        mixture: Mixture,
        known: Rows,
        limits: Mapping[int, Limit] | None = None,
        sets: Mapping[int, Whole] | None = None,
    ) -> None:
        self.mixture = mixture.with_labels(sets) if sets else mixture
        self.known, limits = known, limits or {}
        unknown = np.isnan(known.numbers[0])
        given = self.mixture.conditional(known.numbers, unknown, known.codes)
        gaps = np.flatnonzero(unknown).tolist()
        self.places = [*limits, *(d for d in gaps if d not in limits)]
        order = [gaps.index(d) for d in self.places]
        self.limits = list(limits.values())
        self.means = given.means[:, :, order]  # (n, K, U)
        covariances, log_shares = given.covariances[:, order][:, :, order], given.log_weights
        anywhere = np.log(self.mixture.weights)
        if limits:
            self.means = np.concatenate([self.means, self.means], axis=1)
            covariances = np.concatenate([covariances, WIDER * covariances])
            log_wide = np.log1p(-WIDE), np.log(WIDE)
            prior = np.concatenate([log_shares + each for each in log_wide], axis=1)
            anywhere = np.concatenate([anywhere + each for each in log_wide])
            inside = prior.copy()
            rows = np.arange(len(self.means))
            for j, limit in enumerate(self.limits):
                own = limit(rows, np.full((len(rows), j), np.nan))
                inside += _log_mass(own, self.means[:, :, j], np.sqrt(covariances[:, j, j]))
            is_empty = np.isneginf(inside).all(axis=1, keepdims=True)  # nothing is possible
            log_shares = np.where(is_empty, prior, inside)
        self.log_shares = np.logaddexp(
            np.log(1 - ANY) + log_softmax(log_shares, axis=1), np.log(ANY) + anywhere
        )
        mirrored = covariances.transpose(0, 2, 1)
        self.factors = np.asarray(np.linalg.cholesky((covariances + mirrored) / 2), np.float64)

    @property
    def uniforms(self) -> int:
        """The number of uniform numbers that a draw needs."""
        return 1 + 2 * len(self.limits)

    def sample(self, row: Whole, levels: Array, noise: Array) -> Array:
        """Draw the unknown numbers, ``(N, U)``, in the order of ``places``.

        Args:
            row: the index of the row of each draw, ``(N,)``.
            levels: uniform numbers from 0 to 1, ``(N, uniforms)``.
            noise: standard normal numbers, ``(N, U)``.
        """
        component = choose(np.exp(self.log_shares[row]), levels[:, 0])
        means, factors, u = self.means[row, component], self.factors[component], noise.copy()
        z, rows, limits = np.full(noise.shape, np.nan), np.arange(len(row)), list[Array]()
        for j, limit in enumerate(self.limits):
            center = means[:, j] + np.einsum("ni,ni->n", factors[:, j, :j], u[:, :j])
            own = limit(row, z[:, :j])
            ends = (own - center[:, None, None]) / factors[:, j, j, None, None]  # (N, I, 2)
            log_mass = log_interval(log_ndtr, ends[..., 0], ends[..., 1])
            is_empty = np.asarray(np.isneginf(log_mass).all(axis=1))  # nothing is possible
            shares = softmax(np.where(is_empty[:, None], 0.0, log_mass), axis=1)
            which = choose(shares, levels[:, 1 + 2 * j])
            low, high = ends[rows, which].T
            inside = truncated_normal(low, high, levels[:, 2 + 2 * j])
            u[:, j] = np.where(is_empty, noise[:, j], inside)
            # Rounding errors may put a number beyond an end
            limits.append(np.where(is_empty[:, None], [-np.inf, np.inf], own[rows, which]))
            z[:, j] = np.clip(center + factors[:, j, j] * u[:, j], *limits[-1].T)
        found = means + np.einsum("nij,nj->ni", factors, u)
        for j, ends in enumerate(limits):
            found[:, j] = np.clip(found[:, j], *ends.T)
        return found

    def log_prob(self, row: Whole, z: Array) -> Array:
        """Return the log-density of draws of the numbers, ``(N,)``.

        It is minus infinity for numbers outside of their intervals.

        Args:
            row: the index of the row of each draw, ``(N,)``.
            z: the numbers ``(N, U)``, in the order of ``places``.
        """
        means, log_shares = self.means.transpose(1, 2, 0), self.log_shares.T
        if len(self.means) > 1:  # one row needs no copies
            means, log_shares = means[:, :, row], log_shares[:, row]
        u = np.linalg.inv(self.factors) @ (z.T - means)  # (K, U, N)
        log_norm = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)
        log_norm += 0.5 * z.shape[1] * np.log(2 * np.pi)
        terms = log_shares - 0.5 * np.einsum("kun,kun->kn", u, u) - log_norm[:, None]
        inside = np.full(len(z), True)
        for j, limit in enumerate(self.limits):
            center = means[:, j] + np.einsum("kin,ki->kn", u[:, :j], self.factors[:, j, :j])
            own = limit(row, z[:, :j])
            inside &= in_intervals(z[:, j], own)
            terms -= _log_mass(own, center.T, self.factors[:, j, j]).T
        terms[:, ~inside] = -np.inf
        return np.asarray(np.logaddexp.reduce(terms, axis=0))

    def draw(self, row: Whole, generator: np.random.Generator) -> tuple[Rows, Array]:
        """Draw complete rows, and return them with the log-densities of the draws, ``(N,)``.

        Args:
            row: the index of the row of each draw, ``(N,)``.
            generator: the source of random numbers.
        """
        levels = generator.random((len(row), self.uniforms))
        z = self.sample(row, levels, generator.standard_normal((len(row), len(self.places))))
        rows, log_labels = self.with_labels(row, z, generator)
        return rows, self.log_prob(row, z) + log_labels

    def with_labels(
        self, row: Whole, z: Array, generator: np.random.Generator
    ) -> tuple[Rows, Array]:
        """Return the rows of draws with labels, and the log-densities of the labels, ``(N,)``.

        Args:
            row: the index of the row of each draw, ``(N,)``.
            z: the numbers ``(N, U)``, in the order of ``places``.
            generator: draws the labels.
        """
        rows = self.known.take(row)
        rows.numbers[:, self.places] = z
        return self.mixture.draw_missing(rows, generator)


def restriction(
    intervals: Mapping[int, Array],
    sizes: Sequence[int],
    ends: Callable[[int, Array], Array],
) -> tuple[dict[int, Limit], dict[int, Whole]]:
    """Return the limits and the sets of a ``BoxProposal``.

    Args:
        intervals: intervals ``(I, 2)`` in the user's units, by unknown column of a table; a label
            is allowed if its code lies in one of them.
        sizes: the numbers of labels of the first columns; the others hold numbers.
        ends: maps intervals of a column of numbers to the units of the mixture.
    """
    count, of_numbers, of_labels = len(sizes), dict[int, Limit](), dict[int, Whole]()
    for d, own in intervals.items():
        if d < count:
            of_labels[d] = codes_inside(own, sizes[d])
        else:
            of_numbers[d - count] = fixed(ends(d, own))
    return of_numbers, of_labels


def fixed(intervals: Array) -> Limit:
    """Return the limit of a number whose intervals ``(I, 2)`` depend on nothing."""
    return lambda row, before: np.broadcast_to(intervals, (len(row), *intervals.shape))


def codes_inside(intervals: Array, count: int) -> Whole:
    """Return the codes of ``count`` labels that lie in one of the intervals ``(I, 2)``."""
    return np.flatnonzero(in_intervals(np.arange(count), intervals))


def _log_mass(intervals: Array, center: Array, deviation: Array) -> Array:
    """Return the log-probability of intervals under normal distributions, ``(N, K)``.

    Args:
        intervals: the intervals of each of N draws, ``(N, I, 2)``.
        center: the means ``(N, K)``.
        deviation: the standard deviations ``(K,)``.
    """
    if np.isinf(intervals).all() and (intervals[..., 0] < intervals[..., 1]).all():
        return np.zeros_like(center)
    parts = [
        log_interval(
            log_ndtr, (low[:, None] - center) / deviation, (high[:, None] - center) / deviation
        )
        for low, high in intervals.transpose(1, 2, 0)
    ]
    return np.logaddexp.reduce(parts, axis=0)
