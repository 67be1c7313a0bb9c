"""Draws inside a box near a mixture of Gaussians, as a proposal for importance sampling::

    r(z) = sum_k s_k r_k(z),      s_k = 0.95 v_k Q_k / sum_l v_l Q_l + 0.05 v_k

k are the K components of the mixture, with v_k = 0.9 w_k, and copies of these components with 4
times the covariance, with v_k = 0.1 w_k. Q_k is the product of the probabilities of the intervals
under the margins of component k.

With sets of labels, Q_k is also multiplied by the probabilities of the sets. The labels of a draw
from a component are drawn from their sets, with the probabilities of the component.

The coordinates of a draw from a component are drawn one after another, each from the normal
distribution given the coordinates before it. A restricted coordinate is drawn inside its intervals.
With u = L^-1 (z - mu), Sigma = L L^T and P_kj the probability of the intervals of coordinate j
given the coordinates before it, the density of the draws of a component is::

    r_k(z) = N(z; mu_k, Sigma_k) / prod_j P_kj(u_1, ..., u_{j-1})

Source: Genz 1992 (Numerical computation of multivariate normal probabilities); the estimator is
also known as GHK (Geweke 1991, Hajivassiliou 1994, Keane 1994).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtri_exp, softmax

from flows.core.arrays import Array, Mask, Whole, choose
from flows.core.rows import Rows
from flows.mixtures.mixture import Mixture

WIDE, WIDER = 0.1, 4.0  # weight of the copies of the components, and the factor of the covariances
ANY = 0.05  # share of the draws whose component is selected without regard to the box


class BoxProposal:
    """A proposal whose draws lie inside a box of intervals and of sets of labels.

    Args:
        mixture: the mixture over all coordinates and labels.
        intervals: intervals ``(I, 2)`` by coordinate, which do not overlap; ends may be infinite.
            Coordinates without intervals are not restricted.
        sets: the codes of the allowed labels ``(A,)`` by column of labels. Columns without a set
            are not restricted.
    """

    def __init__(
        self,
        mixture: Mixture,
        intervals: Mapping[int, Array],
        sets: Mapping[int, Whole] | None = None,
    ) -> None:
        dim = mixture.means.shape[1]
        self.order = [*intervals, *(d for d in range(dim) if d not in intervals)]
        self.intervals = list(intervals.values())
        means = mixture.means[:, self.order]
        covariances = mixture.covariances[:, self.order][:, :, self.order]
        self.means = np.concatenate([means, means])
        covariances = np.concatenate([covariances, WIDER * covariances])
        self.factors = np.linalg.cholesky(covariances).astype(np.float64)
        log_weights = np.log(mixture.weights)
        prior = np.concatenate([log_weights + np.log1p(-WIDE), log_weights + np.log(WIDE)])
        inside = prior.copy()
        for j, own in enumerate(self.intervals):
            variances: Array = covariances[:, j, j]
            inside += _log_mass(own, self.means[:, j], np.sqrt(variances))
        self.shares: list[Array] = []  # of the allowed labels, with the sum 1
        for j, share in enumerate(mixture.shares):
            allowed = np.zeros(share.shape[1])
            allowed[(sets or {}).get(j, slice(None))] = 1.0
            both = np.concatenate([share * allowed] * 2)
            mass = both.sum(axis=1, keepdims=True)
            inside += np.log(mass[:, 0])
            self.shares.append(both / mass)
        shares = (1 - ANY) * softmax(inside) + ANY * np.exp(prior)
        self.log_shares = np.log(shares / shares.sum())

    @classmethod
    def given(
        cls,
        mixture: Mixture,
        known: Rows,
        columns: tuple[Sequence[int], Sequence[int]],
        intervals: Mapping[int, Array],
        ends: Callable[[int, Array], Array],
    ) -> tuple[BoxProposal, Mixture, float]:
        """Return the proposal of the gaps of a row, given its known values.

        Args:
            mixture: the mixture of whole rows.
            known: the row, one row with gaps.
            columns: the column of the table of each of the mixture's numbers, and of its labels.
            intervals: intervals ``(I, 2)`` in the user's units, by column of the table; a label is
                allowed if its code lies in one of them.
            ends: maps intervals of a column of numbers to the units of the mixture.

        Returns the proposal, the mixture of the gaps, and the log-density of the known values.
        """
        of_gaps, log_known = mixture.given(known.numbers[0], known.codes[0])
        numbers = [d for d, x in zip(columns[0], known.numbers[0], strict=True) if np.isnan(x)]
        labels = [d for d, code in zip(columns[1], known.codes[0], strict=True) if code < 0]
        boxes, sets = dict[int, Array](), dict[int, Whole]()
        for d, own in intervals.items():
            if d in numbers:
                boxes[numbers.index(d)] = ends(d, own)
            else:
                j = labels.index(d)
                sets[j] = codes_inside(own, of_gaps.sizes[j])
        return cls(of_gaps, boxes, sets), of_gaps, log_known

    def sample(self, n: int, generator: np.random.Generator) -> tuple[Array, Whole]:
        """Draw ``n`` points ``(n, D)`` and codes of labels ``(n, C)`` inside the box."""
        component = generator.choice(len(self.means), n, p=np.exp(self.log_shares))
        means, factors = self.means[component], self.factors[component]
        u = generator.standard_normal(means.shape)
        for j, own in enumerate(self.intervals):
            center = means[:, j] + np.einsum("ni,ni->n", factors[:, j, :j], u[:, :j])
            ends = (own - center[:, None, None]) / factors[:, j, j, None, None]  # (n, I, 2)
            log_mass = log_interval(log_ndtr, ends[..., 0], ends[..., 1])
            which = choose(softmax(log_mass, axis=1), generator.random(n))
            low, high = ends[np.arange(n), which].T
            u[:, j] = truncated_normal(low, high, generator.random(n))
        z = np.empty_like(u)
        z[:, self.order] = means + np.einsum("nij,nj->ni", factors, u)
        codes = np.empty((n, len(self.shares)), np.int64)
        for j, share in enumerate(self.shares):
            codes[:, j] = choose(share[component], generator.random(n))
        return z, codes

    def log_prob(self, z: Array, codes: Whole) -> Array:
        """Return the log-density of the draws at points of the box, ``(n,)``.

        Args:
            z: the points ``(n, D)``.
            codes: the codes of the labels ``(n, C)``.
        """
        difference = z[:, self.order] - self.means[:, None]  # (K, n, D)
        u = difference @ np.linalg.inv(self.factors).transpose(0, 2, 1)
        log_norm = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)
        log_norm += 0.5 * z.shape[1] * np.log(2 * np.pi)
        terms = -0.5 * np.square(u).sum(axis=2) - log_norm[:, None]
        for j, own in enumerate(self.intervals):
            before = np.einsum("kni,ki->kn", u[:, :, :j], self.factors[:, j, :j])
            center = self.means[:, j, None] + before
            terms -= _log_mass(own, center, self.factors[:, j, j, None])
        for share, column in zip(self.shares, codes.T, strict=True):
            terms += np.log(share[:, column])
        return np.asarray(logsumexp(terms + self.log_shares[:, None], axis=0))


def codes_inside(intervals: Array, count: int) -> Whole:
    """Return the codes of ``count`` labels that lie in one of the intervals ``(I, 2)``."""
    codes = np.arange(count)[:, None]
    return np.flatnonzero(((intervals[:, 0] <= codes) & (codes <= intervals[:, 1])).any(axis=1))


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
