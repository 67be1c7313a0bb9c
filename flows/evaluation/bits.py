"""Bits per dimension of images, from the density of dequantised images."""

import math
from typing import Any

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.networks.image_flow import ImageFlow
from flows.networks.population import ensemble_log_prob


def spread_log_density(population: ImageFlow, images: Any, draws: int, seed: int = 0) -> Array:
    """Return ``log q(x + u)`` in nats, ``(draws, n, M)``, of images ``(n, C, H, W)``.

    Args:
        population: a flow over images.
        images: whole numbers from 0 to ``population.levels`` - 1.
        draws: the number of draws of u, uniform on [0, 1), for each image.
        seed: the seed of the draws, which are the same for all members.

    Raises ``ValueError`` for other images.
    """
    whole = population.rows(images).double().numpy()
    rng = numpy_generator(seed, "fresh")
    spread = (whole + rng.random(whole.shape) for _ in range(draws))
    return np.stack([population.score(each) for each in spread])


def ensemble_log_density(population: ImageFlow, images: Any, draws: int, seed: int = 0) -> Array:
    """Return ``log q(x + u)`` of the ensemble in nats, ``(draws, n)``.

    Arguments and errors are as for ``spread_log_density``. All members of the ensemble share the
    draws of u.
    """
    log_q = spread_log_density(population, images, draws, seed)
    return ensemble_log_prob(log_q, population.member_weights)


def bits_per_dimension(log_q: Array, dimensions: int, *, weighted: bool = False) -> Array:
    """Return the bits per dimension, ``(n, ...)``, for log-densities ``(draws, n, ...)`` in nats.

    Lower is better. D is the number of ``dimensions`` of an image; ``weighted`` selects the
    formula::

        bound      - mean_k log q(x + u_k) / (D log 2)
        weighted   - log mean_k q(x + u_k) / (D log 2)

    The expectation of ``bound`` is an upper bound of ``-log2 P(x) / D``, for any number of draws.
    The expectation of ``weighted`` is also an upper bound, which tightens with more draws
    (importance weighting: Burda et al. 2016).

    Examples:
        >>> import numpy as np
        >>> from flows.evaluation.bits import bits_per_dimension
        >>> log_q = np.full((3, 2), -64 * np.log(16))  # a uniform density: 8 x 8 pixels, 16 levels
        >>> bits_per_dimension(log_q, 64).round(6)
        array([4., 4.])
    """
    log_p = logsumexp(log_q, axis=0) - math.log(len(log_q)) if weighted else log_q.mean(axis=0)
    return -log_p / (dimensions * math.log(2))
