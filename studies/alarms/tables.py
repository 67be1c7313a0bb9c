"""Tables with a known density, and fits that can or cannot learn them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from flows.core.arrays import Array
from flows.mixtures import expectation
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.networks.to_real import ToReal
from flows.recipe.candidate import Candidate, Fitted
from flows.recipe.clock import Clock
from flows.recipe.fold import Fold, Learned
from flows.recipe.recipe import learn
from flows.tables.density.fitting import fit
from flows.tables.posterior.array_density import ArrayDensity
from studies.engine import quiet

RIDGE = 1e-4  # of a covariance, in units of the variances
DEGREES = 5  # of freedom of t-distributed tails
APART = 2.0  # the distance of each of two modes from their middle, in their deviations
CORRELATION = 0.5  # of a dependent pair


def mixed(n: int, columns: int, rng: np.random.Generator) -> Array:
    """Draw rows of a random mixture of three Gaussians, ``(n, D)``."""
    means = rng.normal(0, 1.5, (3, columns))
    factors = rng.normal(size=(3, columns, columns)) / np.sqrt(columns)
    component = rng.integers(0, 3, n)
    noise = np.einsum("nij,nj->ni", factors[component], rng.normal(size=(n, columns)))
    return np.asarray(means[component] + noise + 0.3 * rng.normal(size=(n, columns)))


def dependent(n: int, columns: int, rng: np.random.Generator) -> Array:
    """Draw normal rows in which the first two columns are correlated."""
    x = rng.normal(size=(n, columns))
    x[:, 1] = CORRELATION * x[:, 0] + np.sqrt(1 - CORRELATION**2) * x[:, 1]
    return x


def modes(n: int, columns: int, rng: np.random.Generator) -> Array:
    """Draw normal rows in which the first column has two modes."""
    x = rng.normal(size=(n, columns))
    x[:, 0] += APART * rng.choice([-1, 1], n)
    return x


def banana(n: int, columns: int, rng: np.random.Generator) -> Array:
    """Draw normal rows in which the square of the first column is added to the second."""
    x = rng.normal(size=(n, columns))
    x[:, 1] += x[:, 0] ** 2
    return x


def tails(n: int, columns: int, rng: np.random.Generator) -> Array:
    """Draw rows of independent columns with the t-distribution of 5 degrees of freedom."""
    return rng.standard_t(DEGREES, size=(n, columns))


def normal(n: int, columns: int, rng: np.random.Generator) -> Array:
    """Draw independent normal columns, which have no defect."""
    return rng.normal(size=(n, columns))


TABLES: dict[str, Callable[[int, int, np.random.Generator], Array]] = {
    "dependent": dependent,
    "modes": modes,
    "banana": banana,
    "tails": tails,
    "normal": normal,
}


class Gaussian(Candidate):
    """One Gaussian per fold, or one with independent columns.

    Args:
        is_independent: whether the columns are independent.
    """

    def __init__(self, *, is_independent: bool) -> None:
        self.is_independent = is_independent

    def fit(self, folds: Sequence[Fold], clock: Clock) -> Fitted:
        parts = []
        for fold in folds:
            prepared = fold.prepared("raw")
            rows, _ = fold.mapped(fold.learned, prepared.by_column())
            own = expectation.fit(rows, 1, RIDGE)
            if self.is_independent:
                own = expectation.independent(rows)
            parts.append(GaussianMixture.of(own, prepared.by_column()))
        return Fitted([{"preprocessing": "raw", "components": 1}], parts)


def fit_default(rows: Array, seed: int) -> ArrayDensity:
    """Fit the default recipe."""
    with quiet():
        found = fit(rows, seed=seed)
    return ArrayDensity(found.population, found.schema, found.record)


def fit_gaussian(rows: Array, seed: int) -> ArrayDensity:
    """Fit one Gaussian per fold."""
    return _restricted(rows, seed, is_independent=False)


def fit_independent(rows: Array, seed: int) -> ArrayDensity:
    """Fit independent Gaussian columns per fold."""
    return _restricted(rows, seed, is_independent=True)


def _restricted(rows: Array, seed: int, *, is_independent: bool) -> ArrayDensity:
    candidate = Gaussian(is_independent=is_independent)
    population, record = learn(Learned(rows, ToReal(), seed=seed), [candidate])
    return ArrayDensity(population, None, record)


FITS: dict[str, Callable[[Array, int], ArrayDensity]] = {
    "default": fit_default,
    "gaussian": fit_gaussian,
    "independent": fit_independent,
}
