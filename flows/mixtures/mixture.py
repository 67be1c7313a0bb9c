"""The mixture: of Gaussians, or of latent classes if rows have labels, too.

Only NumPy is needed, so that drawing data does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from flows.core.arrays import Array, Mask, Whole, choose, rounded
from flows.core.rows import Rows, by_value

PAIRS = 100_000  # of a point and a component, per chunk
LEAST = 1e-12  # weight of a part of a mean of densities
NUMBERS = 10_000_000  # numbers in the matrices of a chunk of rows with gaps, to bound the memory


@dataclass(frozen=True)
class Mixture:
    """A mixture of K Gaussians in D dimensions::

        p(x) = sum_k w_k N(x; mu_k, Sigma_k)
        log N(x; mu, Sigma) = -|L^-1 (x - mu)|^2 / 2 - sum_d log L_dd - D log(2 pi) / 2
        Sigma = L L^T

    With C columns of labels c, it is a mixture of K latent classes: given the class, the labels are
    independent of each other and of the numbers x::

        p(x, c) = sum_k w_k N(x; mu_k, Sigma_k) prod_j pi_kj(c_j)

    A missing number (``NaN``) or label (the code -1) is integrated out exactly.

    Args:
        weights: the weights ``(K,)``, above 0 and with the sum 1.
        means: the means ``(K, D)``.
        covariances: the covariances ``(K, D, D)``, symmetric and positive definite.
        shares: for each column of L labels, their probabilities pi given the class, ``(K, L)``;
            empty for a mixture of Gaussians.

    Raises ``ValueError`` if the arguments do not describe a mixture. Source of the classes:
    Lawrence and Krzanowski 1996 (Mixture separation for mixed-mode data; here with covariances per
    class).

    Examples:
        >>> import flows
        >>> import numpy as np
        >>> means = np.array([[-1.0, 0.0], [1.0, 0.0]])
        >>> mixture = flows.Mixture(np.array([0.5, 0.5]), means, np.stack([np.eye(2)] * 2))
        >>> mixture.log_prob(np.zeros((1, 2))).round(3)
        array([-2.338])
    """

    weights: Array
    means: Array
    covariances: Array
    shares: Sequence[Array] = ()

    def __post_init__(self) -> None:
        if self.means.ndim != 2:
            raise ValueError(f"the means must have the shape (K, D); got {self.means.shape}")
        count, dim = self.means.shape
        if self.weights.shape != (count,) or self.covariances.shape != (count, dim, dim):
            raise ValueError(
                f"{count} means of {dim} numbers need {count} weights and {count} covariances of "
                f"{dim} x {dim}; got arrays of shape {self.weights.shape} and "
                f"{self.covariances.shape}"
            )
        if not np.isfinite(self.means).all():
            raise ValueError(f"the means must be finite; they are {self.means.tolist()}")
        if not (self.weights > 0).all() or not np.isclose(self.weights.sum(), 1):
            weights = self.weights.tolist()
            raise ValueError(f"the weights must be above 0 and sum to 1; they are {weights}")
        for j, share in enumerate(self.shares):
            is_valid_share = share.shape[:1] == (count,) and share.ndim == 2 and (share >= 0).all()
            if not is_valid_share or not np.allclose(share.sum(axis=1), 1):
                raise ValueError(
                    f"the probabilities of label column {j} must be {count} rows of numbers of at "
                    f"least 0 that sum to 1; they are {share.tolist()}"
                )
        # Without a loop: this runs for every batch of conditionals, and with one kernel per row
        mirrored = self.covariances.transpose(0, 2, 1)
        is_near = np.isclose(self.covariances, mirrored)
        is_valid: Mask = np.logical_and.reduce(is_near, axis=(1, 2))
        is_valid[is_valid] = (np.linalg.eigvalsh(self.covariances[is_valid]) > 0).all(axis=1)
        for k in np.flatnonzero(~is_valid)[:1].tolist():
            raise ValueError(
                f"the covariance of component {k} must be symmetric and positive definite; "
                f"it is {self.covariances[k].tolist()}"
            )

    @classmethod
    def isotropic(cls, means: Array, deviation: float) -> Mixture:
        """Return the mixture of ``N(mu_k, deviation^2 I)`` with equal weights.

        Args:
            means: the means mu_k ``(K, D)``.
            deviation: the standard deviation of a component in every direction.
        """
        count, dim = means.shape
        covariances = np.tile(deviation**2 * np.eye(dim), (count, 1, 1))
        return cls(np.full(count, 1 / count), means, covariances)

    @classmethod
    def of_labels(cls, weights: Array, shares: Sequence[Array]) -> Mixture:
        """Return classes of labels alone, with D = 0 numbers.

        Args:
            weights: the weights of the classes, ``(K,)``.
            shares: the probabilities of the labels of each column given the class, ``(K, L)`` each.
        """
        count = len(weights)
        return cls(weights, np.empty((count, 0)), np.empty((count, 0, 0)), shares)

    @classmethod
    def stacked(cls, parts: Sequence[Mixture], weights: Array) -> Mixture:
        """Return the weighted mean of densities as one mixture.

        Args:
            parts: the densities.
            weights: their weights, which sum to 1; a part without weight is left out.
        """
        kept = [(part, w) for part, w in zip(parts, weights, strict=True) if w > LEAST]
        of_components = np.concatenate([w * part.weights for part, w in kept])
        means, covariances = (
            np.concatenate([getattr(part, name) for part, _ in kept])
            for name in ("means", "covariances")
        )
        columns = zip(*(part.shares for part, _ in kept), strict=True)
        shares = [np.concatenate(column) for column in columns]
        return cls(of_components / of_components.sum(), means, covariances, shares)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of labels of each column of labels."""
        return tuple(share.shape[1] for share in self.shares)

    def to_nine_digits(self) -> Mixture:
        """Return the mixture with numbers of nine digits, which are the same on every machine."""
        weights, shares = rounded(self.weights), [rounded(share) for share in self.shares]
        return Mixture(
            weights / weights.sum(),
            rounded(self.means),
            rounded(self.covariances),
            [share / share.sum(axis=1, keepdims=True) for share in shares],
        )

    # Samples

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw the numbers of n independent points, ``(n, D)``.

        Args:
            n: the number of points.
            rng: the generator.

        Examples:
            >>> import flows
            >>> import numpy as np
            >>> mixture = flows.Mixture.isotropic(np.array([[-1.0, 0.0], [1.0, 0.0]]), 0.1)
            >>> mixture.sample(5, np.random.default_rng(0)).shape
            (5, 2)
        """
        return self.sample_rows(n, rng).numbers

    def sample_rows(self, n: int, rng: np.random.Generator) -> Rows:
        """Draw n independent rows of numbers and labels.

        Args:
            n: the number of rows.
            rng: the generator.
        """
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        numbers = self.sample_components(component, rng)
        gaps = np.full((n, len(self.shares)), -1)
        return Rows(numbers, self._filled_codes(gaps, component, rng), self.sizes)

    def sample_components(self, component: Whole, rng: np.random.Generator) -> Array:
        """Draw a point from each of several components, ``(n, D)``.

        Args:
            component: the indices of the components, ``(n,)``.
            rng: the generator.
        """
        noise = rng.standard_normal((len(component), self.means.shape[1]))
        factors = np.linalg.cholesky(self.covariances)
        return self.means[component] + np.einsum("nij,nj->ni", factors[component], noise)

    def draw_missing(self, rows: Rows, rng: np.random.Generator) -> tuple[Rows, Array]:
        """Draw the gaps of rows, given the known values of each row.

        Args:
            rows: the rows.
            rng: the generator.

        Returns the complete rows, and the log-density of the draws in nats, ``(n,)``; 0 for a row
        without a gap.
        """
        numbers, codes, log_r = rows.numbers.copy(), rows.codes.copy(), np.zeros(len(rows.codes))
        gaps = np.flatnonzero(np.isnan(numbers).any(axis=1) | (codes < 0).any(axis=1))
        if not len(gaps):
            return Rows(numbers, codes, rows.sizes), log_r
        given = rows.take(gaps)
        log_terms = self.log_terms(given.numbers, given.codes)
        log_known = np.logaddexp.reduce(log_terms, axis=0)
        component = choose(np.exp(log_terms - log_known).T, rng.random(len(gaps)))
        noise = rng.standard_normal(given.numbers.shape)
        for unknown, own in self._patterns(given.numbers):
            if unknown.any():
                part = self.conditional(given.numbers[own], unknown, given.codes[own])
                drawn = part.sample_components(component[own], noise[own][:, unknown])
                numbers[np.ix_(gaps[own], np.flatnonzero(unknown))] = drawn
        codes[gaps] = self._filled_codes(given.codes, component, rng)
        log_r[gaps] = self.log_prob(numbers[gaps], codes[gaps]) - log_known
        return Rows(numbers, codes, rows.sizes), log_r

    def sample_numbers(self, codes: Whole, rng: np.random.Generator) -> Array:
        """Draw the numbers of rows with given labels, ``(n, D)``.

        Args:
            codes: the codes of the labels ``(n, C)``.
            rng: the generator.
        """
        log_terms = np.log(self.weights)[:, None] + self._log_labels(codes)
        shares = np.exp(log_terms - np.logaddexp.reduce(log_terms, axis=0)).T
        return self.sample_components(choose(shares, rng.random(len(codes))), rng)

    def _filled_codes(self, codes: Whole, component: Whole, rng: np.random.Generator) -> Whole:
        """Return ``codes`` ``(n, C)`` with draws from the rows' components in their gaps."""
        filled = codes.copy()
        for j, share in enumerate(self.shares):
            drawn = choose(share[component], rng.random(len(codes)))
            filled[:, j] = np.where(codes[:, j] < 0, drawn, codes[:, j])
        return filled

    # Densities

    def log_prob(self, x: Array, codes: Whole | None = None) -> Array:
        """Return the log-densities in nats, ``(n,)``, of the known values of rows.

        Args:
            x: points ``(n, D)``, ``NaN`` in gaps.
            codes: codes of labels ``(n, C)``, -1 in gaps; ``None`` integrates all labels out.

        Examples:
            >>> import flows
            >>> import numpy as np
            >>> mixture = flows.Mixture.isotropic(np.array([[0.0]]), deviation=1.0)
            >>> mixture.log_prob(np.array([[0.0], [1.0]])).round(3)
            array([-0.919, -1.419])
        """
        if np.isnan(x).any():
            log_q = np.empty(len(x))
            for unknown, own in patterns(x, len(x)):
                known = np.flatnonzero(~unknown)
                of_rows = None if codes is None else codes[own]
                log_q[own] = self.marginal(known).log_prob(x[own[:, None], known], of_rows)
            return log_q
        parts = [np.empty(0)]
        # The intermediate arrays of a chunk stay in the cache
        count = -(-len(x) * len(self.weights) // PAIRS)
        for own in np.array_split(np.arange(len(x)), count) if len(x) else ():
            terms = self.log_terms(x[own], None if codes is None else codes[own])
            highest = terms.max(axis=0)
            highest[np.isneginf(highest)] = 0.0
            terms -= highest
            with np.errstate(divide="ignore"):
                parts.append(highest + np.log(np.exp(terms, out=terms).sum(axis=0)))
        return np.concatenate(parts)

    def log_labels(self, codes: Whole) -> Array:
        """Return the log-probabilities of the known labels, ``(n,)``; numbers integrate out.

        Args:
            codes: codes of labels ``(n, C)``, -1 in gaps.
        """
        of_labels = self.marginal(0) if self.means.shape[1] else self
        return of_labels.log_prob(np.empty((len(codes), 0)), codes)

    def log_terms(self, x: Array, codes: Whole | None = None) -> Array:
        """Return ``log w_k + log p(row | k)`` of the known values of rows, ``(K, n)``.

        Args:
            x: points ``(n, D)``, ``NaN`` in gaps.
            codes: codes of labels ``(n, C)``, -1 in gaps; ``None`` integrates all labels out.
        """
        if np.isnan(x).any():
            terms = np.empty((len(self.weights), len(x)))
            for unknown, own in self._patterns(x):
                known = np.flatnonzero(~unknown)
                terms[:, own] = self.marginal(known)._log_gaussians(x[own[:, None], known])
        else:
            terms = self._log_gaussians(x)
        return terms if codes is None else terms + self._log_labels(codes)

    def _log_gaussians(self, x: Array) -> Array:
        """Return ``log w_k + log N(x; mu_k, Sigma_k)`` of complete points, ``(K, n)``."""
        whitening, log_scale = self._components
        white = whitening @ (x - self.means[:, None]).transpose(0, 2, 1)  # (K, D, n)
        return log_scale - 0.5 * np.einsum("kdn,kdn->kn", white, white)

    @cached_property
    def _components(self) -> tuple[Array, Array]:
        """The inverses of the factors L, ``(K, D, D)``, and the constants of the terms, (K, 1)."""
        factors = np.linalg.cholesky(self.covariances)
        constant = 0.5 * self.means.shape[1] * np.log(2 * np.pi)
        log_norm = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1) + constant
        # Inverting is safe, because D is small and the factors are triangular. A chunk then takes
        # one product.
        return np.linalg.inv(factors), (np.log(self.weights) - log_norm)[:, None]

    def _log_labels(self, codes: Whole) -> Array:
        """Return the log-probabilities of the known labels given each class, ``(K, n)``."""
        found = np.zeros((len(self.weights), len(codes)))
        for share, column in zip(self.shares, codes.T, strict=True):
            with np.errstate(divide="ignore"):
                found += np.where(column >= 0, np.log(share)[:, column], 0.0)
        return found

    def _patterns(self, x: Array) -> Iterator[tuple[Mask, Whole]]:
        """Group points ``(n, D)`` by their gaps, few enough at a time (``patterns``)."""
        return patterns(x, max(1, NUMBERS // max(1, x.shape[1]) ** 2))

    # Margins and conditionals

    def marginal(self, columns: int | Sequence[int] | Whole) -> Mixture:
        """Return the mixture of some of the numbers and of all labels; other numbers integrate out.

        Args:
            columns: the indices of the numbers that stay, or how many of the first ones stay.
        """
        kept = np.arange(columns) if isinstance(columns, int) else np.asarray(columns, np.int64)
        covariances = self.covariances[:, kept[:, None], kept]
        return Mixture(self.weights, self.means[:, kept], covariances, self.shares)

    def conditional(
        self, x: Array, unknown: Mask, codes: Whole | None = None
    ) -> ConditionalMixture:
        """Return the density of the unknown numbers of several points given their known values.

        Args:
            x: points ``(n, D)``; values of unknown coordinates are ignored.
            unknown: the unknown coordinates of all points, a mask ``(D,)``.
            codes: codes of labels ``(n, C)``, -1 in gaps; ``None`` integrates all labels out.
        """
        u, o = np.flatnonzero(unknown), np.flatnonzero(~unknown)
        # Not a mixture of its own, whose arguments would be checked: EM needs many conditionals
        covariances = self.covariances
        factors = np.linalg.cholesky(covariances[:, o[:, None], o])
        whitening = np.linalg.inv(factors)
        white = (x[:, o] - self.means[:, None, o]) @ whitening.transpose(0, 2, 1)  # (K, n, O)
        across = whitening @ covariances[:, o[:, None], u]  # (K, O, U)
        rest = covariances[:, u[:, None], u] - across.transpose(0, 2, 1) @ across
        log_norm = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
        log_scale = np.log(self.weights) - log_norm - 0.5 * len(o) * np.log(2 * np.pi)
        log_joint = log_scale[:, None] - 0.5 * np.einsum("kno,kno->kn", white, white)
        if codes is not None:
            log_joint += self._log_labels(codes)
        log_evidence = np.logaddexp.reduce(log_joint, axis=0)
        means = self.means[:, None, u] + white @ across
        return ConditionalMixture(
            (log_joint - log_evidence).T, means.transpose(1, 0, 2), rest, log_evidence
        )

    def along(self, x: Array, places: Whole, codes: Whole) -> Callable[[Whole, Array], Array]:
        """Return the log-densities of points that lack one number, as a function of this number.

        The function takes the indices of r points, and K values of the number of each, ``(r, K)``;
        it returns log-densities ``(r, K)``.

        Args:
            x: points ``(n, D)``; the values of the coordinates that are lacking are ignored.
            places: the coordinate that each point lacks, ``(n,)``.
            codes: codes of labels ``(n, C)``, -1 in gaps.
        """
        shape = len(x), len(self.weights), 1
        log_scale, means, deviations = np.empty(shape), np.empty(shape), np.empty(shape)
        for d, own in by_value(places):
            given = self.conditional(x[own], np.arange(x.shape[1]) == d, codes[own])
            means[own], deviations[own] = given.means, np.sqrt(given.covariances[:, 0])
            log_scale[own, :, 0] = given.log_evidence[:, None] + given.log_weights
        log_scale -= np.log(deviations) + 0.5 * np.log(2 * np.pi)

        def log_q(own: Whole, values: Array) -> Array:
            white = (values[:, None] - means[own]) / deviations[own]  # (r, K components, K values)
            return np.asarray(np.logaddexp.reduce(log_scale[own] - 0.5 * white**2, axis=1))

        return log_q

    def with_labels(self, sets: Mapping[int, Whole]) -> Mixture:
        """Return the mixture given that labels lie in sets.

        Args:
            sets: the codes of the allowed labels ``(A,)``, by column of labels.
        """
        weights, shares = self.weights, list(self.shares)
        for j, allowed in sets.items():
            inside = np.zeros_like(shares[j])
            inside[:, allowed] = shares[j][:, allowed]
            mass = inside.sum(axis=1)
            weights, shares[j] = weights * mass, inside / np.maximum(mass, LEAST)[:, None]
        kept = weights > LEAST * weights.max()
        own = weights[kept] / weights[kept].sum()
        shares = [share[kept] for share in shares]
        return Mixture(own, self.means[kept], self.covariances[kept], shares)

    def box(self, deviations: float = 4.0) -> tuple[Array, Array]:
        """Return the corners, ``(D,)`` each, of a box that holds nearly all of the mass.

        Args:
            deviations: how far the box reaches beyond the mean of every component, in standard
                deviations of the component.
        """
        spread = deviations * np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))
        return (self.means - spread).min(axis=0), (self.means + spread).max(axis=0)


class ConditionalMixture(NamedTuple):
    """The density of the unknown coordinates u of n points, given the known coordinates o::

        p(u | o) = sum_k w_k(o) N(u; m_k(o), L_k L_k^T)

        log w_k(o) = log w_k + log N(o; mu_k,o, Sigma_k,oo) - log p(o)
        m_k(o)     = mu_k,u + Sigma_k,uo Sigma_k,oo^-1 (o - mu_k,o)
        L_k L_k^T  = Sigma_k,uu - Sigma_k,uo Sigma_k,oo^-1 Sigma_k,ou

    Known labels enter the weights w_k(o). Source: Bishop 2006, equations 2.81 and 2.82.

    Args:
        log_weights: log w_k(o), ``(n, K)``.
        means: m_k(o), ``(n, K, U)``.
        covariances: L_k L_k^T, ``(K, U, U)``.
        log_evidence: log p(o), ``(n,)``.
    """

    log_weights: Array
    means: Array
    covariances: Array
    log_evidence: Array

    @property
    def factors(self) -> Array:
        """The Cholesky factors L_k, ``(K, U, U)``."""
        mirrored = self.covariances.transpose(0, 2, 1)
        return np.asarray(np.linalg.cholesky((self.covariances + mirrored) / 2))

    def sample(self, level: Array, noise: Array) -> Array:
        """Draw the unknown coordinates of every point, ``(n, U)``.

        Args:
            level: uniform numbers from 0 to 1, which select the components, ``(n,)``.
            noise: standard normal numbers, which determine the values, ``(n, U)``.
        """
        return self.sample_components(choose(np.exp(self.log_weights), level), noise)

    def sample_components(self, component: Whole, noise: Array) -> Array:
        """Draw the unknown coordinates of every point from given components, ``(n, U)``.

        Args:
            component: the indices of the components, ``(n,)``.
            noise: standard normal numbers, ``(n, U)``.
        """
        means = self.means[np.arange(len(component)), component]
        return means + np.einsum("nuv,nv->nu", self.factors[component], noise)

    def log_prob(self, values: Array) -> Array:
        """Return the log-densities in nats, ``(n,)``, of ``values`` ``(n, U)``, one per point."""
        difference = (values[:, None] - self.means).transpose(1, 2, 0)  # (K, U, n)
        factors = self.factors
        white = np.linalg.inv(factors) @ difference
        log_norm = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        terms = -0.5 * np.einsum("kun,kun->nk", white, white) - log_norm
        constant = 0.5 * values.shape[1] * np.log(2 * np.pi)
        return np.asarray(np.logaddexp.reduce(self.log_weights + terms, axis=1) - constant)

    def moments(self) -> tuple[Array, Array]:
        """Return the means and standard deviations of the unknown coordinates, ``(n, U)`` each."""
        weights = np.exp(self.log_weights)
        mean = np.einsum("nk,nku->nu", weights, self.means)
        within = np.diagonal(self.covariances, axis1=1, axis2=2)
        second = np.einsum("nk,nku->nu", weights, (self.means - mean[:, None]) ** 2 + within)
        return mean, np.sqrt(second)


def patterns(rows: Array, most: int) -> Iterator[tuple[Mask, Whole]]:
    """Group ``rows`` ``(n, D)`` by the coordinates that are ``NaN``.

    Yield pairs of a mask ``(D,)``, true where a coordinate is ``NaN``, and the positions of at most
    ``most`` rows with this mask.
    """
    gaps = np.isnan(rows)
    # As bytes, because to sort rows of single truth values takes long
    packed = np.packbits(gaps, axis=1)
    _, first, which = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    for k, unknown in enumerate(gaps[first]):
        places = np.flatnonzero(which.ravel() == k)
        for start in range(0, len(places), most):
            yield unknown, places[start : start + most]
