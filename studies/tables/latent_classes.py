"""Peers for tables of numbers, labels and missing values: mixtures of classes, fitted by EM::

    q(x, c) = sum_k w_k N(x; mu_k, Sigma_k) prod_j pi_kj(c_j)

x are the numbers of a row and c its labels: given the class k, labels are independent of each other
and of the numbers. A missing number or label is integrated out exactly, in fits and in densities.
One class is one Gaussian, beside the frequencies of the labels.

Rows are ``Rows``: standardised numbers with ``NaN`` for gaps, and codes with -1 for gaps. Sources:
Lawrence and Krzanowski 1996 (Mixture separation for mixed-mode data; here with covariances per
class); Ghahramani and Jordan 1994 (missing values).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from flows.bijections import Margins
from flows.bijections.margins import normal_scores
from flows.core.arrays import Array, Mask, Whole
from flows.mixtures import fitting
from flows.mixtures.conditional_mixture import ConditionalMixture, patterns
from flows.mixtures.mixture import Mixture

MOST = 24  # classes
FOLDS, STACKED_FOLDS = 3, 5  # of the cross-validation, and of the stacked ensemble
STARTS = 5  # of the last fit
ITERATIONS, TOLERANCE = 100, 1e-3  # of EM, as in scikit-learn
PRIOR = 1.0  # rows with the frequencies of the table, which are added to the labels of each class


class Rows(NamedTuple):
    """Rows of a table.

    Args:
        numbers: ``(n, D)``, standardised, with ``NaN`` for gaps.
        codes: codes of labels, ``(n, C)``, with -1 for gaps.
        sizes: the numbers of labels, C of them.
    """

    numbers: Array
    codes: Whole
    sizes: tuple[int, ...]

    def take(self, places: Whole) -> Rows:
        return Rows(self.numbers[places], self.codes[places], self.sizes)

    def frequencies(self) -> Iterator[Array]:
        """Yield the frequencies of the labels of each column, with one row spread over them."""
        for codes, size in zip(self.codes.T, self.sizes, strict=True):
            counts = np.bincount(codes[codes >= 0], minlength=size) + 1 / size
            yield counts / counts.sum()


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
        for share, codes in zip(self.shares, rows.codes.T, strict=True):
            log_terms += np.where(codes >= 0, np.log(share)[:, codes], 0.0)
        return Expected(log_terms, filled, spreads)

    def log_prob(self, rows: Rows) -> Array:
        """Return the log-density of the known values of each row, ``(n,)``."""
        found: Array = logsumexp(self.log_terms(rows), axis=0)
        return found

    @classmethod
    def independent(cls, rows: Rows) -> LatentClasses:
        """Return one class with independent columns, fitted to the known values."""
        mean = np.nanmean(rows.numbers, axis=0, keepdims=True)
        covariance = np.diag(np.nanvar(rows.numbers, axis=0) + fitting.RIDGE)
        shares = [each[None] for each in rows.frequencies()]
        return cls(Mixture(np.ones(1), mean, covariance[None]), shares)

    @classmethod
    def fit(cls, rows: Rows, classes: int, ridge: float, starts: int = 1) -> LatentClasses:
        """Fit ``classes`` by EM; keep the most likely of ``starts`` fits.

        ``ridge`` is added to the variances. EM starts from k-means of the numbers, with means for
        gaps, and the labels as indicators.
        """
        with threadpool_limits(1):
            fits = [cls._fit_once(rows, classes, ridge, seed) for seed in range(starts)]
            return max(fits, key=lambda each: float(each.log_prob(rows).mean()))

    @classmethod
    def _fit_once(cls, rows: Rows, classes: int, ridge: float, seed: int) -> LatentClasses:
        start = cls.independent(rows)
        filled = np.where(np.isnan(rows.numbers), start.mixture.means, rows.numbers)
        indicators = [
            codes[:, None] == np.arange(size)
            for codes, size in zip(rows.codes.T, rows.sizes, strict=True)
        ]
        means = KMeans(classes, n_init=1, random_state=seed)
        which = means.fit_predict(np.column_stack([filled, *indicators]))
        one = start.mixture
        copies = one.means.repeat(classes, axis=0), one.covariances.repeat(classes, axis=0)
        fitted = cls(Mixture(np.full(classes, 1 / classes), *copies), start.shares)
        groups = list(patterns(rows.numbers, len(rows.numbers)))
        shares = (which == np.arange(classes)[:, None]).astype(float)
        expected, before = fitted.expected(rows, groups), -np.inf
        for _ in range(ITERATIONS):
            fitted = cls.updated(rows, shares, expected, ridge)
            expected = fitted.expected(rows, groups)
            log_q = np.logaddexp.reduce(expected.log_terms, axis=0)
            if log_q.mean() - before < TOLERANCE:
                break
            before, shares = log_q.mean(), np.exp(expected.log_terms - log_q)
        return fitted

    @classmethod
    def updated(cls, rows: Rows, shares: Array, expected: Expected, ridge: float) -> LatentClasses:
        """Return the M-step of EM for the ``shares`` of rows in the classes, ``(K, n)``."""
        total = shares.sum(axis=1) + 1e-10
        (count, _, dim), filled = expected.filled.shape, expected.filled
        spread = np.zeros((count, dim, dim))  # covariances of the missing numbers
        for u, places, rest in expected.spreads:
            spread[:, u[:, None], u] += shares[:, places].sum(axis=1)[:, None, None] * rest
        means = (shares[:, None] @ filled)[:, 0] / total[:, None]
        centred = filled - means[:, None]
        moments = (centred * shares[:, :, None]).transpose(0, 2, 1) @ centred + spread
        covariances = moments / total[:, None, None] + ridge * np.eye(dim)
        labels = [
            np.stack([shares[:, codes == code].sum(axis=1) for code in range(size)], axis=1)
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


@dataclass(frozen=True)
class Fitted:
    """Classes of the numbers, or of their normal scores if there are ``margins``."""

    classes: LatentClasses
    margins: Margins | None = None

    def log_prob(self, rows: Rows) -> Array:
        z, log_slope = scored(rows, self.margins)
        return self.classes.log_prob(z) + log_slope

    def draw(self, rows: Rows, rng: np.random.Generator) -> Array:
        """Draw the missing numbers of each row given its known values; return ``(n, D)``."""
        z = scored(rows, self.margins)[0]
        terms = self.classes.log_terms(z)
        shares = np.exp(terms - logsumexp(terms, axis=0)).cumsum(axis=0)
        level = rng.random(len(rows.numbers)) * shares[-1]
        chosen = (shares[:-1] < level).sum(axis=0)
        drawn = z.numbers.copy()
        for unknown, places in patterns(z.numbers, len(drawn)):
            u = np.flatnonzero(unknown)
            given = ConditionalMixture.of(self.classes.mixture, z.numbers[places], unknown)
            noise = rng.standard_normal((len(places), len(u)))
            means = given.means[np.arange(len(places)), chosen[places]]
            own = np.einsum("nuv,nv->nu", given.factors[chosen[places]], noise)
            drawn[places[:, None], u] = means + own
        if self.margins is not None:
            x = self.margins.inverse(torch.from_numpy(drawn.T.copy())[:, None])[0]
            drawn = x[:, 0].T.numpy()
        return np.where(np.isnan(rows.numbers), drawn, rows.numbers)


@dataclass(frozen=True)
class Stacked:
    """A weighted mean of densities."""

    parts: Sequence[Fitted]
    weights: Array

    def log_terms(self, rows: Rows) -> Array:
        log_q = np.stack([each.log_prob(rows) for each in self.parts])
        return log_q + np.log(self.weights)[:, None]

    def log_prob(self, rows: Rows) -> Array:
        found: Array = logsumexp(self.log_terms(rows), axis=0)
        return found

    def draw(self, rows: Rows, rng: np.random.Generator) -> Array:
        terms = self.log_terms(rows)
        shares = np.exp(terms - logsumexp(terms, axis=0)).cumsum(axis=0)
        chosen = (shares[:-1] < rng.random(len(rows.numbers)) * shares[-1]).sum(axis=0)
        drawn = np.stack([each.draw(rows, rng) for each in self.parts])
        return drawn[chosen, np.arange(len(rows.numbers))]


Peer = Fitted | Stacked


def margins_of(rows: Rows) -> Margins:
    """Return the map of each column of numbers to normal scores, fitted to its known values."""
    margins = Margins(1, rows.numbers.shape[1])
    for d, column in enumerate(rows.numbers.T):
        margins.knots[d, 0] = torch.from_numpy(normal_scores(column[~np.isnan(column)]))
    return margins


def scored(rows: Rows, margins: Margins | None) -> tuple[Rows, Array]:
    """Return the rows with normal scores, and the sums of log dz/dx over known numbers, ``(n,)``.

    Without ``margins``, they are the rows themselves and 0.
    """
    if margins is None:
        return rows, np.zeros(len(rows.numbers))
    gaps = np.isnan(rows.numbers)
    x = np.where(gaps, 0.0, rows.numbers)
    z, log_slope = margins(torch.from_numpy(x.T.copy())[:, None])
    numbers = np.where(gaps, np.nan, z[:, 0].T.numpy())
    return rows._replace(numbers=numbers), np.where(gaps, 0.0, log_slope.T.numpy()).sum(axis=1)


def search(folds: Sequence[tuple[Rows, Rows]]) -> tuple[int, float]:
    """Return the number of classes and the ridge with the best likelihood of held-out rows.

    ``folds`` are pairs of rows to learn from and rows held out. The ridge is chosen for the best
    number of classes.
    """

    def score(classes: int, ridge: float) -> float:
        fits = [(LatentClasses.fit(learned, classes, ridge), held) for learned, held in folds]
        return float(np.concatenate([fitted.log_prob(held) for fitted, held in fits]).mean())

    fewest = min(len(learned.numbers) for learned, _ in folds)
    return fitting.search(score, fitting.components(MOST, fewest))


def split(rows: Rows, folds: int) -> list[tuple[Whole, Whole]]:
    places = np.arange(len(rows.numbers))
    return list(KFold(folds, shuffle=True, random_state=0).split(places))


def independent(rows: Rows) -> Peer:
    """Fit independent columns: a Gaussian per number, and frequencies of labels."""
    return Fitted(LatentClasses.independent(rows))


def gaussian(rows: Rows) -> Peer:
    """Fit one Gaussian of the numbers, and independent frequencies of labels."""
    return Fitted(LatentClasses.fit(rows, 1, fitting.RIDGE))


def mixture(rows: Rows, *, margins: bool = False) -> Peer:
    """Fit a mixture of classes; cross-validation chooses their number and the ridge.

    With ``margins``, every number is first mapped to about a standard normal, as for the flows.
    """
    scores = margins_of(rows) if margins else None
    z = scored(rows, scores)[0]
    folds = [(z.take(learned), z.take(held)) for learned, held in split(z, FOLDS)]
    return Fitted(LatentClasses.fit(z, *search(folds), STARTS), scores)


def stacked(rows: Rows) -> Peer:
    """Fit mixtures with the treatment of our flows: margins, folds, an ensemble, and stacking.

    There are two candidates, with and without margins. Each has one mixture per fold, with the
    number of classes and the ridge that are best for the rows held out, and so are the weights of
    the candidates.
    """
    places = split(rows, STACKED_FOLDS)
    parts: list[Fitted] = []
    scores = np.empty((2, len(rows.numbers)))
    for k, behind in enumerate((True, False)):
        maps = [margins_of(rows.take(learned)) if behind else None for learned, _ in places]
        folds = [
            (scored(rows.take(learned), each)[0], scored(rows.take(held), each)[0])
            for each, (learned, held) in zip(maps, places, strict=True)
        ]
        chosen = search(folds)
        for each, (learned, _), (_, held) in zip(maps, folds, places, strict=True):
            parts.append(Fitted(LatentClasses.fit(learned, *chosen, STARTS), each))
            scores[k, held] = parts[-1].log_prob(rows.take(held))
    weights = stacking_weights(scores) / STACKED_FOLDS
    kept = weights.repeat(STACKED_FOLDS) > 0
    return Stacked(
        [each for each, keep in zip(parts, kept, strict=True) if keep],
        weights.repeat(STACKED_FOLDS)[kept],
    )


def stacking_weights(log_q: Array) -> Array:
    """Return the weights of densities with the best likelihood of the held-out rows.

    ``log_q`` ``(A, n)`` has one row per density. Source: Smyth and Wolpert 1999 (Linearly
    combining density estimators via stacking).
    """
    weights = np.full(len(log_q), 1 / len(log_q))
    for _ in range(1_000):
        with np.errstate(divide="ignore"):
            terms = log_q + np.log(weights)[:, None]
        weights = np.exp(terms - logsumexp(terms, axis=0)).mean(axis=1)
    weights = np.where(weights < 1e-6, 0.0, weights)
    return weights / weights.sum()


FITS: dict[str, Callable[[Rows], Peer]] = {
    "independent": independent,
    "gaussian": gaussian,
    "mixture": mixture,
    "margins": partial(mixture, margins=True),
    "stacked": stacked,
}
