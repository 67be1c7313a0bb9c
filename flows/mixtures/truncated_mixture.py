"""Draws inside a box near a mixture of Gaussians, as a proposal for importance sampling::

    r(z) = sum_k s_k r_k(z),      s_k = 0.95 v_k Q_k / sum_l v_l Q_l + 0.05 v_k

k are the K components of the mixture given the known values of a row, with v_k = 0.9 w_k, and
copies of these components with 4 times the covariance, with v_k = 0.1 w_k. Q_k is the product of
the probabilities of the intervals under the margins of component k. Without intervals, r is the
mixture itself.

The coordinates of a draw from a component are drawn one after another, each from the normal
distribution given the coordinates before it. A restricted coordinate is drawn inside its intervals.
With u = L^-1 (z - mu), Sigma = L L^T and P_kj the probability of the intervals of coordinate j
given the coordinates before it, the density of the draws of a component is::

    r_k(z) = N(z; mu_k, Sigma_k) / prod_j P_kj(u_1, ..., u_{j-1})

Source: Genz 1992 (Numerical computation of multivariate normal probabilities); the estimator is
also known as GHK (Geweke 1991, Hajivassiliou 1994, Keane 1994).

Unknown labels are drawn from their sets, given the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.special import log_ndtr, log_softmax, ndtri_exp, softmax

from flows.core.arrays import Array, Mask, Whole, choose, in_intervals
from flows.core.rows import Rows
from flows.mixtures.mixture import Mixture

WIDE, WIDER = 0.1, 4.0  # weight of the copies of the components, and the factor of the covariances
ANY = 0.05  # share of the draws whose component is selected without regard to the box


class BoxProposal:
    """A proposal of the gaps of rows; its draws lie inside intervals and sets of labels.

    Args:
        mixture: the mixture over all numbers and labels.
        known: n rows that lack the same values.
        intervals: intervals ``(I, 2)`` by unknown number, which do not overlap; ends may be
            infinite. Numbers without intervals are not restricted.
        sets: the codes of the allowed labels ``(A,)`` by unknown column of labels. Labels without a
            set are not restricted.
    """

    def __init__(
        self,
        mixture: Mixture,
        known: Rows,
        intervals: Mapping[int, Array] | None = None,
        sets: Mapping[int, Whole] | None = None,
    ) -> None:
        self.mixture = mixture.with_labels(sets) if sets else mixture
        self.known, intervals = known, intervals or {}
        unknown = np.isnan(known.numbers[0])
        given = self.mixture.conditional(known.numbers, unknown, known.codes)
        gaps = np.flatnonzero(unknown).tolist()
        # The restricted numbers come first
        self.places = [*intervals, *(d for d in gaps if d not in intervals)]
        order = [gaps.index(d) for d in self.places]
        self.intervals = list(intervals.values())
        self.means = given.means[:, :, order]  # (n, K, U)
        covariances, log_shares = given.covariances[:, order][:, :, order], given.log_weights
        if intervals:
            self.means = np.concatenate([self.means, self.means], axis=1)
            covariances = np.concatenate([covariances, WIDER * covariances])
            wide = [log_shares + np.log1p(-WIDE), log_shares + np.log(WIDE)]
            prior = np.concatenate(wide, axis=1)
            inside = prior.copy()
            for j, own in enumerate(self.intervals):
                inside += _log_mass(own, self.means[:, :, j], np.sqrt(covariances[:, j, j]))
            log_shares = np.logaddexp(
                np.log(1 - ANY) + log_softmax(inside, axis=1), np.log(ANY) + prior
            )
        self.log_shares = log_shares - np.logaddexp.reduce(log_shares, axis=1, keepdims=True)
        mirrored = covariances.transpose(0, 2, 1)
        self.factors = np.asarray(np.linalg.cholesky((covariances + mirrored) / 2), np.float64)

    @property
    def uniforms(self) -> int:
        """The number of uniform numbers that a draw needs."""
        return 1 + 2 * len(self.intervals)

    def sample(self, row: Whole, levels: Array, noise: Array) -> Array:
        """Draw the unknown numbers, ``(N, U)``, in the order of ``places``.

        Args:
            row: the index of the row of each draw, ``(N,)``.
            levels: uniform numbers from 0 to 1, ``(N, uniforms)``.
            noise: standard normal numbers, ``(N, U)``.
        """
        component = choose(np.exp(self.log_shares[row]), levels[:, 0])
        means, factors, u = self.means[row, component], self.factors[component], noise.copy()
        for j, own in enumerate(self.intervals):
            center = means[:, j] + np.einsum("ni,ni->n", factors[:, j, :j], u[:, :j])
            ends = (own - center[:, None, None]) / factors[:, j, j, None, None]  # (N, I, 2)
            log_mass = log_interval(log_ndtr, ends[..., 0], ends[..., 1])
            which = choose(softmax(log_mass, axis=1), levels[:, 1 + 2 * j])
            low, high = ends[np.arange(len(row)), which].T
            u[:, j] = truncated_normal(low, high, levels[:, 2 + 2 * j])
        return means + np.einsum("nij,nj->ni", factors, u)

    def log_prob(self, row: Whole, z: Array) -> Array:
        """Return the log-density of the draws of numbers inside the intervals, ``(N,)``.

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
        for j, own in enumerate(self.intervals):
            center = means[:, j] + np.einsum("kin,ki->kn", u[:, :j], self.factors[:, j, :j])
            terms -= _log_mass(own, center, self.factors[:, j, j, None])
        return np.asarray(np.logaddexp.reduce(terms, axis=0))

    def is_inside(self, z: Array) -> Mask:
        """Return which numbers ``(N, U)`` lie inside the intervals, ``(N,)``."""
        found = np.full(len(z), True)
        for own, x in zip(self.intervals, z.T, strict=False):
            found &= in_intervals(x, own)
        return found

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
    columns: tuple[Sequence[int], Sequence[int]],
    sizes: Sequence[int],
    ends: Callable[[int, Array], Array],
) -> tuple[dict[int, Array], dict[int, Whole]]:
    """Return the intervals and the sets of a ``BoxProposal``.

    Args:
        intervals: intervals ``(I, 2)`` in the user's units, by unknown column of a table; a label
            is allowed if its code lies in one of them.
        columns: the column of the table of each of the mixture's numbers, and of its labels.
        sizes: the numbers of labels.
        ends: maps intervals of a column of numbers to the units of the mixture.
    """
    numbers, labels = columns
    boxes = {numbers.index(d): ends(d, own) for d, own in intervals.items() if d in numbers}
    codes = {labels.index(d): own for d, own in intervals.items() if d in labels}
    return boxes, {j: codes_inside(own, sizes[j]) for j, own in codes.items()}


def codes_inside(intervals: Array, count: int) -> Whole:
    """Return the codes of ``count`` labels that lie in one of the intervals ``(I, 2)``."""
    return np.flatnonzero(in_intervals(np.arange(count), intervals))


def log_interval(log_cdf: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Return log P(low < u <= high) of a distribution that is symmetric around 0.

    Differences are computed in the lower tail, where they keep their digits.

    Args:
        log_cdf: the logarithm of the distribution function.
        low: lower ends of any shape, possibly infinite.
        high: upper ends of the same shape.
    """
    _, low, high = _lower_tail(low, high)
    log_low, log_high = log_cdf(low), log_cdf(high)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(log_high + np.log(-np.expm1(np.minimum(log_low - log_high, 0.0))))


def _log_mass(intervals: Array, center: Array, deviation: Array) -> Array:
    """Return the log-probability of ``intervals`` ``(I, 2)`` under normal distributions."""
    parts = [
        log_interval(log_ndtr, (low - center) / deviation, (high - center) / deviation)
        for low, high in intervals
    ]
    return np.logaddexp.reduce(parts, axis=0)


def _lower_tail(low: Array, high: Array) -> tuple[Mask, Array, Array]:
    """Return which intervals were mirrored at 0, and the ends that lie nearer the lower tail."""
    mirrored = low > -high
    return mirrored, np.where(mirrored, -high, low), np.where(mirrored, -low, high)


def truncated_normal(low: Array, high: Array, level: Array) -> Array:
    """Return quantiles of the standard normal distribution restricted to intervals.

    Args:
        low: lower ends ``(n,)``, possibly infinite.
        high: upper ends ``(n,)``.
        level: the levels of the quantiles, from 0 to 1, ``(n,)``.
    """
    mirrored, a, b = _lower_tail(low, high)
    with np.errstate(divide="ignore"):
        log_c = np.logaddexp(np.log1p(-level) + log_ndtr(a), np.log(level) + log_ndtr(b))
    u = np.clip(ndtri_exp(log_c), a, b)
    return np.where(mirrored, -u, u)
