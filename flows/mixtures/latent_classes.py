"""Mixtures of latent classes: densities of numbers times probabilities of labels, fitted by EM::

    q(x, c) = sum_k w_k N(x; mu_k, Sigma_k) prod_j pi_kj(c_j)

x are the numbers of a row and c its labels: given the class k, labels are independent of each other
and of the numbers. A missing number or label is integrated out exactly, in fits and in densities.
One class is one Gaussian, beside the frequencies of the labels. Without labels, this is a mixture
of Gaussians.

Sources: Lawrence and Krzanowski 1996 (Mixture separation for mixed-mode data; here with covariances
per class); Ghahramani and Jordan 1994 (missing values).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array, Mask, Whole, choose, rounded
from flows.core.rows import Rows
from flows.core.settings import Recipe
from flows.core.threads import one_thread
from flows.mixtures.completion import ENOUGH, few_rows
from flows.mixtures.conditional_mixture import ConditionalMixture, patterns
from flows.mixtures.fitting import RIDGE, to_nine_digits
from flows.mixtures.mixture import Mixture

ITERATIONS, TOLERANCE = 100, 1e-3  # of EM, as in scikit-learn
PRIOR = 1.0  # rows with the frequencies of the table, which are added to the labels of each class


class Expected(NamedTuple):
    """The expectations of an E-step.

    Args:
        log_terms: log w_k + log q(row | k) of the known values, ``(K, n)``.
        filled: the numbers, with expected numbers for gaps, ``(K, n, D)``.
        spreads: for each pattern of gaps: the U columns, the rows, and the covariances of the
            missing numbers, ``(K, U, U)``.
    """

    log_terms: Array
    filled: Array
    spreads: list[tuple[Whole, Whole, Array]]


@dataclass(frozen=True)
class LatentClasses:
    """A mixture of K classes: a ``mixture`` of the numbers, and probabilities of labels.

    Args:
        mixture: the weights of the classes, and their Gaussians.
        shares: the probabilities of the labels of each column given the class, ``(K, L)`` each.
    """

    mixture: Mixture
    shares: list[Array]

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Array, Whole]:
        """Draw the numbers ``(n, D)`` and the codes ``(n, C)`` of n independent rows."""
        which = rng.choice(len(self.mixture.weights), size=n, p=self.mixture.weights)
        numbers = self.mixture.sample_components(which, rng)
        codes = np.empty((n, len(self.shares)), np.int64)
        for j, share in enumerate(self.shares):
            codes[:, j] = choose(share[which], rng.random(n))
        return numbers, codes

    def to_nine_digits(self) -> LatentClasses:
        """Return the mixture with numbers of nine digits, which are the same on every machine."""
        shares = [rounded(share) for share in self.shares]
        normalised = [share / share.sum(axis=1, keepdims=True) for share in shares]
        return LatentClasses(to_nine_digits(self.mixture), normalised)

    def log_terms(self, rows: Rows) -> Array:
        """Return log w_k + log q(row | k) of the known values, ``(K, n)``."""
        return self.expected(rows, list(patterns(rows.numbers, len(rows.numbers)))).log_terms

    def expected(self, rows: Rows, groups: Sequence[tuple[Mask, Whole]]) -> Expected:
        """Return the E-step of EM; ``groups`` are the ``patterns`` of all rows."""
        x, means, covariances = rows.numbers, self.mixture.means, self.mixture.covariances
        log_terms = np.log(self.mixture.weights)[:, None].repeat(len(x), axis=1)
        filled, spreads = np.repeat(x[None], len(means), axis=0), []
        for unknown, places in groups:
            u, o = np.flatnonzero(unknown), np.flatnonzero(~unknown)
            difference = x[places][:, o] - means[:, None, o]  # (K, n, O)
            factors = np.linalg.cholesky(covariances[:, o[:, None], o])
            whitening = np.linalg.inv(factors)
            white = difference @ whitening.transpose(0, 2, 1)
            log_norm = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
            log_norm += 0.5 * len(o) * np.log(2 * np.pi)
            squared = np.einsum("kno,kno->kn", white, white)
            log_terms[:, places] -= 0.5 * squared + log_norm[:, None]
            if len(u):
                across = whitening @ covariances[:, o[:, None], u]  # (K, O, U)
                filled[:, places[:, None], u] = means[:, None, u] + white @ across
                rest = covariances[:, u[:, None], u] - across.transpose(0, 2, 1) @ across
                spreads.append((u, places, rest))
        self._add_labels(log_terms, rows.codes)
        return Expected(log_terms, filled, spreads)

    def _add_labels(self, log_terms: Array, codes: Whole) -> None:
        """Add the log-probabilities of the known labels to ``log_terms`` ``(K, n)``."""
        for share, column in zip(self.shares, codes.T, strict=True):
            log_terms += np.where(column >= 0, np.log(share)[:, column], 0.0)

    def log_prob(self, rows: Rows) -> Array:
        """Return the log-density of the known values of each row, ``(n,)``."""
        found: Array = logsumexp(self.log_terms(rows), axis=0)
        return found

    def log_prob_of_complete(self, numbers: Array, codes: Whole) -> Array:
        """Return the log-density of rows without gaps, ``(n,)``, faster than ``log_prob``."""
        log_terms = self.mixture.log_terms(numbers)
        self._add_labels(log_terms, codes)
        return np.logaddexp.reduce(log_terms, axis=0)

    def of_labels(self) -> LatentClasses:
        """Return the density of the labels alone, with the numbers integrated out."""
        return LatentClasses(self.mixture.marginal(0), self.shares)

    @classmethod
    def stacked(cls, parts: Sequence[LatentClasses], weights: Array) -> LatentClasses:
        """Return the weighted mean of densities of labels as one mixture.

        Args:
            parts: densities of labels alone.
            weights: their weights, which sum to 1; a part of weight 0 is left out.
        """
        kept = [(part, w) for part, w in zip(parts, weights, strict=True) if w > 0]
        of_classes = np.concatenate([w * part.mixture.weights for part, w in kept])
        columns = zip(*(part.shares for part, _ in kept), strict=True)
        shares = [np.concatenate(column) for column in columns]
        return cls.of_shares(of_classes / of_classes.sum(), shares)

    @classmethod
    def of_shares(cls, weights: Array, shares: Sequence[Array]) -> LatentClasses:
        """Return classes of labels alone.

        Args:
            weights: the weights of the classes, ``(K,)``.
            shares: the probabilities of the labels of each column given the class, ``(K, L)`` each.
        """
        count = len(weights)
        return cls(Mixture(weights, np.empty((count, 0)), np.empty((count, 0, 0))), list(shares))

    def draw_missing(self, rows: Rows, rng: np.random.Generator) -> tuple[Rows, Array]:
        """Return the rows with draws in their gaps, and the log-density of the draws, ``(n,)``."""
        log_terms = self.log_terms(rows)
        log_known = np.logaddexp.reduce(log_terms, axis=0)
        chosen = choose(np.exp(log_terms - log_known).T, rng.random(len(rows.numbers)))
        numbers, codes = rows.numbers.copy(), rows.codes.copy()
        for j, share in enumerate(self.shares):
            drawn = choose(share[chosen], rng.random(len(codes)))
            codes[:, j] = np.where(codes[:, j] < 0, drawn, codes[:, j])
        noise = rng.standard_normal(numbers.shape)
        for unknown, places in patterns(rows.numbers, len(numbers)):
            if unknown.any():
                given = ConditionalMixture.of(self.mixture, rows.numbers[places], unknown)
                u, own = np.flatnonzero(unknown), chosen[places]
                means = given.means[np.arange(len(places)), own]
                moved = np.einsum("nuv,nv->nu", given.factors[own], noise[places][:, u])
                numbers[places[:, None], u] = means + moved
        complete = Rows(numbers, codes, rows.sizes)
        return complete, self.log_prob_of_complete(numbers, codes) - log_known

    def sample_numbers(self, codes: Whole, rng: np.random.Generator) -> Array:
        """Draw the numbers of rows with these ``codes`` ``(n, C)``, ``(n, D)``."""
        log_terms = np.log(self.mixture.weights)[:, None].repeat(len(codes), axis=1)
        self._add_labels(log_terms, codes)
        shares = np.exp(log_terms - np.logaddexp.reduce(log_terms, axis=0)).T
        return self.mixture.sample_components(choose(shares, rng.random(len(codes))), rng)

    @classmethod
    def fit_with_gaps(cls, rows: Rows, recipe: Recipe) -> LatentClasses:
        """Fit classes whose number has the best Schwarz's criterion (BIC), to fill gaps.

        The numbers grow through ``recipe.filler_components`` while the criterion improves.
        """
        rows = rows.take(few_rows(rows.numbers, recipe.filler_rows))
        n, dim = rows.numbers.shape
        ridge = max(RIDGE, min(1.0, (dim + len(rows.sizes)) / n) ** 4)
        least = np.inf
        for count in recipe.filler_components:
            if count > 1 and ENOUGH * count * (dim + len(rows.sizes)) > n:
                break
            fitted = cls.fit(rows, count, ridge)
            of_numbers = count * dim + count * dim * (dim + 1) / 2
            parameters = count - 1 + of_numbers + count * sum(size - 1 for size in rows.sizes)
            criterion = parameters * np.log(n) - 2 * fitted.log_prob(rows).sum()
            if criterion > least:
                break
            least, best = criterion, fitted
        return best

    def log_prob_of_labels(self, codes: Whole) -> Array:
        """Return the log-probabilities of rows of known labels ``(n, C)`` alone, ``(n,)``."""
        return self.log_prob_of_complete(np.empty((len(codes), 0)), codes)

    @classmethod
    def independent(cls, rows: Rows) -> LatentClasses:
        """Return one class with independent columns, fitted to the known values."""
        mean = np.nanmean(rows.numbers, axis=0, keepdims=True)
        covariance = np.diag(np.nanvar(rows.numbers, axis=0) + RIDGE)
        shares = [each[None] for each in rows.frequencies()]
        return cls(Mixture(np.ones(1), mean, covariance[None]), shares)

    @classmethod
    def fit(cls, rows: Rows, classes: int, ridge: float, starts: int = 1) -> LatentClasses:
        """Fit ``classes`` by EM; keep the most likely of ``starts`` fits.

        ``ridge`` is added to the variances. EM starts from k-means of the numbers, with means for
        gaps, and the labels as indicators.
        """
        with one_thread():
            fits = [cls._fit_once(rows, classes, ridge, seed) for seed in range(starts)]
            return max(fits, key=lambda each: float(each.log_prob(rows).mean()))

    @classmethod
    def _fit_once(cls, rows: Rows, classes: int, ridge: float, seed: int) -> LatentClasses:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        start = cls.independent(rows)
        filled = np.where(np.isnan(rows.numbers), start.mixture.means, rows.numbers)
        means = KMeans(classes, n_init=1, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than classes
            which = means.fit_predict(np.column_stack([filled, *rows.indicators()]))
        one = start.mixture
        copies = one.means.repeat(classes, axis=0), one.covariances.repeat(classes, axis=0)
        fitted = cls(Mixture(np.full(classes, 1 / classes), *copies), start.shares)
        groups = list(patterns(rows.numbers, len(rows.numbers)))
        responsibilities = (which == np.arange(classes)[:, None]).astype(float)
        expected, before = fitted.expected(rows, groups), -np.inf
        for _ in range(ITERATIONS):
            fitted = cls.updated(rows, responsibilities, expected, ridge)
            expected = fitted.expected(rows, groups)
            log_q = np.logaddexp.reduce(expected.log_terms, axis=0)
            if log_q.mean() - before < TOLERANCE:
                break
            before, responsibilities = log_q.mean(), np.exp(expected.log_terms - log_q)
        return fitted

    @classmethod
    def updated(
        cls, rows: Rows, responsibilities: Array, expected: Expected, ridge: float
    ) -> LatentClasses:
        """Return the M-step of EM, given the ``responsibilities`` of the classes ``(K, n)``."""
        total = responsibilities.sum(axis=1) + 1e-10
        (count, _, dim), filled = expected.filled.shape, expected.filled
        spread = np.zeros((count, dim, dim))  # covariances of the missing numbers
        for u, places, rest in expected.spreads:
            spread[:, u[:, None], u] += (
                responsibilities[:, places].sum(axis=1)[:, None, None] * rest
            )
        means = (responsibilities[:, None] @ filled)[:, 0] / total[:, None]
        centred = filled - means[:, None]
        moments = (centred * responsibilities[:, :, None]).transpose(0, 2, 1) @ centred + spread
        covariances = moments / total[:, None, None] + ridge * np.eye(dim)
        labels = [
            np.stack(
                [responsibilities[:, codes == code].sum(axis=1) for code in range(size)], axis=1
            )
            for codes, size in zip(rows.codes.T, rows.sizes, strict=True)
        ]
        smoothed = [
            counts + PRIOR * frequencies
            for counts, frequencies in zip(labels, rows.frequencies(), strict=True)
        ]
        return cls(
            Mixture(total / total.sum(), means, covariances),
            [each / each.sum(axis=1, keepdims=True) for each in smoothed],
        )
