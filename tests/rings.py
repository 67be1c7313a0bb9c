"""The ring of Gaussians, and rows of it, for the tests of evaluations."""

from __future__ import annotations

import numpy as np

from flows import truths
from flows.core.arrays import Array
from flows.core.truth import Truth
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture


def ring() -> Mixture:
    return truths.make("ring")  # type: ignore[return-value]


def truth() -> GaussianMixture:
    return GaussianMixture.of(ring())


def draw(truth: Truth, n: int, seed: int) -> Array:
    return truth.sample(n, np.random.default_rng(seed))


def standard(n: int, seed: int, dim: int = 2) -> Array:
    return np.random.default_rng(seed).standard_normal((n, dim))
