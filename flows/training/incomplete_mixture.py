"""A mixture of Gaussians of rows with gaps, by expectation maximisation.

What is missing of a row has a conditional mean and covariance in every component, which stand in
for it in the moments (Ghahramani and Jordan 1994). Rows are ``(n, D)``, with ``NaN`` for a gap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits

from flows.core.arrays import Array, Whole
from flows.core.mixture import Mixture

COUNTS = (1, 2, 4, 8, 16)  # numbers of components to choose from, with ten rows for each
ROWS = 1_500  # rows that a mixture is fitted to, at most
NUMBERS = 10_000_000  # of all matrices of a piece of rows: bounds the memory
STEPS, GAIN = 50, 1e-3  # of the expectation maximisation, and the least gain in nats a row
RIDGE = 1e-3  # the ``prior`` of a reference, which is fitted by maximum likelihood


class Given:
    """What is known of ``rows`` ``(n, D)``, and the inverses of a ``covariance`` there::

        S = Sigma_oo^-1, filled up with zeros      log N(o; mu, Sigma)      ``log_prob`` (n,)
        E[x | o] = mu + Sigma S (x - mu)           Cov[x | o] = Sigma - Sigma S Sigma

    The inverses are computed once for all rows with the same gaps. Source: Bishop 2006, equations
    2.81 and 2.82.
    """

    def __init__(self, rows: Array, covariance: Array) -> None:
        self.known = ~np.isnan(rows)
        patterns, pattern = np.unique(self.known, axis=0, return_inverse=True)
        self.rows, self.covariance, self.pattern = rows, covariance, pattern.ravel()
        pairs = patterns[:, :, None] & patterns[:, None, :]
        filled = np.where(pairs, covariance, np.eye(rows.shape[1]))
        self.inverses = np.linalg.inv(filled) * pairs
        self.log_norm = np.linalg.slogdet(filled)[1] + patterns.sum(axis=1) * np.log(2 * np.pi)

    def expect(self, start: Array) -> tuple[Array, Array]:
        """Return ``start + Sigma S (x - start)`` ``(n, R, D)``, and how far x is off, ``(n, R)``.

        From the mean ``(D,)`` it is the conditional mean; from draws ``(n, R, D)`` of the component
        a conditional draw each. The distance is Mahalanobis', squared.
        """
        known = self.known[:, None]
        off = np.where(known, self.rows[:, None] - start, 0.0)
        white = off @ self.inverses[self.pattern]
        filled = np.where(known, self.rows[:, None], start + white @ self.covariance)
        return filled, (white * off).sum(axis=2)

    def log_prob(self, mean: Array) -> Array:
        return -0.5 * (self.expect(mean)[1][:, 0] + self.log_norm[self.pattern])

    def spread(self, shares: Array) -> Array:
        """Return the sum of the conditional covariances by ``shares`` ``(n,)`` of the rows."""
        weights = np.bincount(self.pattern, shares, len(self.inverses))
        total = np.einsum("p,pde->de", weights, self.inverses)
        return shares.sum() * self.covariance - self.covariance @ total @ self.covariance


def log_prob(mixture: Mixture, rows: Array) -> Array:
    """Return the log-density of what is known of ``rows``, ``(n,)``."""
    size = max(1, NUMBERS // rows.shape[1] ** 2)
    log_q = np.empty(len(rows))
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        parts = zip(mixture.means, mixture.covariances, strict=True)
        terms = [Given(some, covariance).log_prob(mean) for mean, covariance in parts]
        joint = np.stack(terms, axis=1) + np.log(mixture.weights)
        log_q[start : start + size] = logsumexp(joint, axis=1)
    return log_q


def draw(
    mixture: Mixture, rows: Array, count: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Draw what is missing of ``rows``, ``count`` times, given what is known.

    Returns the complete rows ``(n, count, D)``, and the log-density of what was drawn
    ``(n, count)``.
    """
    n, dim = rows.shape
    size = max(1, NUMBERS // (dim * (dim + count * len(mixture.weights))))
    completed = np.empty((n, count, dim))
    log_r = np.empty((n, count))
    for start in range(0, n, size):
        some = rows[start : start + size]
        terms, drawn = [], []
        for mean, covariance in zip(mixture.means, mixture.covariances, strict=True):
            given = Given(some, covariance)
            terms.append(given.log_prob(mean))
            noise = generator.standard_normal((len(some), count, dim))
            drawn.append(given.expect(mean + noise @ np.linalg.cholesky(covariance).T)[0])
        joint = np.stack(terms, axis=1) + np.log(mixture.weights)
        log_evidence = logsumexp(joint, axis=1, keepdims=True)
        shares = np.exp(joint - log_evidence).cumsum(axis=1)[:, None, :-1]
        component = (shares < generator.random((len(some), count, 1))).sum(axis=2)
        own = np.stack(drawn)[component, np.arange(len(some))[:, None], np.arange(count)]
        completed[start : start + size] = own
        log_q = mixture.log_prob(own.reshape(-1, dim)).reshape(len(some), count)
        log_r[start : start + size] = log_q - log_evidence
    return completed, log_r


def fit(rows: Array, completed: Array, label: Whole, prior: float) -> Mixture:
    """Fit a mixture to ``rows``, from ``completed`` ones ``(n, D)`` and the component of each.

    ``prior`` is the weight of a standard normal in each component's moments, in rows: so few rows
    will do.
    """
    dim, last = rows.shape[1], -np.inf
    shares = np.eye(int(label.max()) + 1)[label]
    expected = [completed] * shares.shape[1]
    spread = [np.zeros((dim, dim))] * shares.shape[1]
    for _ in range(STEPS):
        weights, means, covariances = shares.sum(axis=0) + 1e-9, [], []
        for own, filled, extra, weight in zip(shares.T, expected, spread, weights, strict=True):
            means.append(own @ filled / weight)
            off = filled - means[-1]
            second = (own * off.T) @ off + extra + prior * np.eye(dim)
            covariances.append((second + second.T) / 2 / (weight + prior))
        mixture = Mixture(weights / weights.sum(), np.stack(means), np.stack(covariances))
        given = [Given(rows, covariance) for covariance in covariances]
        terms = [each.log_prob(mean) for each, mean in zip(given, means, strict=True)]
        joint = np.stack(terms, axis=1) + np.log(mixture.weights)
        log_evidence = logsumexp(joint, axis=1, keepdims=True)
        if log_evidence.mean() < last + GAIN:
            break
        last = log_evidence.mean()
        shares = np.exp(joint - log_evidence)
        expected = [each.expect(mean)[0][:, 0] for each, mean in zip(given, means, strict=True)]
        spread = [each.spread(own) for each, own in zip(given, shares.T, strict=True)]
    return mixture


def some(rows: Array) -> Array:
    """Return at most ``ROWS`` of ``rows``, or fewer of many columns, evenly spaced."""
    most = max(10, min(ROWS, NUMBERS // rows.shape[1] ** 2))
    return rows[:: -(-len(rows) // most)]


def fit_gaussian(rows: Array, *, correlated: bool = True, prior: float = RIDGE) -> Mixture:
    """Fit one Gaussian to ``rows``; without correlations, a Gaussian a column."""
    if not correlated:
        mean, variance = np.nanmean(rows, axis=0), np.nanvar(rows, axis=0)
        return Mixture(np.ones(1), mean[None], np.diag(variance)[None])
    filled = np.where(np.isnan(rows), np.nanmean(rows, axis=0), rows)
    return fit(rows, filled, np.zeros(len(rows), dtype=np.int64), prior)


def fit_best(rows: Array, prior: float, generator: np.random.Generator) -> tuple[Mixture, float]:
    """Fit a mixture whose number of components makes a third of ``rows`` most likely.

    It starts from draws of one Gaussian, in as many clusters. With it comes the mean log-density of
    that third by what the rest tells.
    """
    # Imported here, as that takes a second
    from sklearn.cluster import KMeans

    is_test = np.arange(len(rows)) % 3 == 0
    everywhere = np.ones(len(rows), dtype=bool)
    with threadpool_limits(1):
        gaussian = fit_gaussian(rows, prior=prior)
        completed = draw(gaussian, rows, 1, generator)[0][:, 0]

        def clustered(count: int, own: NDArray[np.bool_]) -> Mixture:
            label = KMeans(count, n_init=3, random_state=0).fit_predict(completed[own])
            return fit(rows[own], completed[own], label.astype(np.int64), prior)

        scores: dict[int, float] = {}
        for count in COUNTS:
            if count > 1 and 10 * count > len(rows):
                break
            scores[count] = float(log_prob(clustered(count, ~is_test), rows[is_test]).mean())
            if scores[count] < max(scores.values()):
                break
        best = max(scores, key=scores.__getitem__)
        return clustered(best, everywhere), scores[best]
