"""Bits per dimension of whole images, by a density of images spread over their cells."""

import math
from typing import Any

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.networks.image_flow import ImageFlow
from flows.networks.population import chunked_log_prob, ensemble_log_prob


def spread_log_density(network: ImageFlow, images: Any, draws: int, seed: int = 0) -> Array:
    """Return ``log q(x + u)`` in nats, ``(draws, n, M)``, of whole images ``(n, C, H, W)``.

    The u are drawn by ``seed``, and the same for all members.
    """
    whole = network.rows(images).double().numpy()
    rng = numpy_generator(seed, "fresh")
    spread = (whole + rng.random(whole.shape) for _ in range(draws))
    return np.stack([chunked_log_prob(network, each) for each in spread])


def ensemble_log_density(network: ImageFlow, images: Any, draws: int, seed: int = 0) -> Array:
    """Return ``log q(x + u)`` of the ensemble, ``(draws, n)``.

    The members' densities are mixed by their weights, draw by draw.
    """
    log_q = spread_log_density(network, images, draws, seed)
    return ensemble_log_prob(log_q, network.member_weights)


def bits_per_dimension(log_q: Array, dimensions: int, *, weighted: bool = False) -> Array:
    """Return the bits per dimension, ``(n, ...)``, of log-densities ``(draws, n, ...)`` in nats.

    Lower is better::

        bound      - mean_k log q(x + u_k) / (D log 2)
        weighted   - log mean_k q(x + u_k) / (D log 2)

    The mean of the first is an upper bound of ``-log2 P(x) / D``, whatever the number of draws;
    that of the second is a tighter one, the tighter the more draws (importance weighting: Burda et
    al. 2016).
    """
    log_p = logsumexp(log_q, axis=0) - math.log(len(log_q)) if weighted else log_q.mean(axis=0)
    return -log_p / (dimensions * math.log(2))
