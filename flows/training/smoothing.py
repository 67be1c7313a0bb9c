"""Sharpened noise, which lets networks with thousands of weights learn from hundreds of points.

A flow that sees the same training points again and again learns the points, not their density.
Adding new noise of standard deviation h at every visit prevents this, but the flow then learns the
density smoothed by a Gaussian kernel: the variance of each mode is too large by h^2. Data
sharpening removes the excess in advance. Every point first moves towards the local mean of its
neighbourhood, by a step of mean shift with the bandwidth of the noise. The noise then restores the
spread::

    x_i' = x_i + strength (m_h(x_i) - x_i)
    m_h(x) = sum_j K_h(x - x_j) x_j / sum_j K_h(x - x_j),    K_h Gaussian
    a visit to point i trains on  x_i' + h e,  e ~ N(0, I)

For one Gaussian mode of variance s^2, the local mean shrinks distances to the centre by the factor
s^2 / (s^2 + h^2), so the learned variance is  s^2 (1 - strength h^2 / (s^2 + h^2))^2 + h^2.  For
small h, strength 1/2 cancels the term h^2. Strength 1 removes 2 h^2, and terms of higher
order add variance again: at h = 0.75 s the learned variance is 0.97 s^2, and with noise alone 1.56
s^2. On the default data, ``noise_factor`` 1.5 gives about this h, so the two settings were chosen
together (docs/choices.md).

Sources: noise, Bishop 1995 (Training with noise is equivalent to Tikhonov regularization) and
Rothfuss et al. 2019 (Noise regularization for conditional density estimation); sharpening, Choi and
Hall 1999 (Data sharpening as a prelude to density estimation, Biometrika 86:941). The level h is a
multiple of ``flows.mixtures.bandwidth.likelihood_bandwidth`` of the training points, the bandwidth
with which a kernel density predicts each point best from the others.

NumPy computes everything in float64, so no number depends on the number of torch's threads.
"""

from __future__ import annotations

import numpy as np
import scipy

from flows.core.arrays import Array, rounded, subsample
from flows.mixtures.bandwidth import likelihood_bandwidth
from flows.mixtures.mixture import Mixture

# Larger data sets are represented by a subsample of this size, because the cost is quadratic
REFERENCE_ROWS = 2_000
# With more than ``MANY`` rows, ``FEW_AT_A_TIME`` are moved at once, so that their kernels fit in
# the cache. This halves the time but changes the last bits, so smaller data sets keep larger
# pieces.
MANY, FEW_AT_A_TIME = 131_072, 100


def sharpen(
    points: Array, bandwidth: float, strength: float, reference_rows: int = REFERENCE_ROWS
) -> Array:
    """Return ``points`` ``(n, D)``, moved by the share ``strength`` towards their local means.

    ``bandwidth`` is h. Local means are computed from at most ``reference_rows`` of the points.
    """
    reference = subsample(points, reference_rows)
    represents = len(points) / len(reference)  # rows that each reference row stands for
    moved = np.empty_like(points)
    at_a_time = FEW_AT_A_TIME if len(points) > MANY else reference_rows
    for start in range(0, len(points), at_a_time):
        chunk = points[start : start + at_a_time]
        kernel = scipy.spatial.distance.cdist(chunk, reference, "sqeuclidean")
        same = kernel == 0
        kernel /= -2 * bandwidth**2  # in place, because this takes most of the time
        np.exp(kernel, out=kernel)
        kernel *= represents
        # A point counts for itself and its copies with weight 1 each, and once even if it is not
        # among the reference rows.
        kernel[same] = 0
        copies = same.sum(axis=1, keepdims=True).clip(min=1)
        local_mean = (kernel @ reference + copies * chunk) / (
            kernel.sum(axis=1, keepdims=True) + copies
        )
        moved[start : start + at_a_time] = chunk + strength * (local_mean - chunk)
    return moved


def noise_level(points: Array, factor: float) -> float:
    """Return the level h of the noise on ``points`` ``(n, D)``, to six digits.

    It is ``factor`` times the leave-one-out bandwidth.
    """
    return float(rounded(factor * likelihood_bandwidth(points), 6))


def fit_sharpened_kde(rows: Array, *, noise_factor: float, strength: float) -> Mixture:
    """Fit sharpened kernels, the reference ``sharpened_kde``::

        p(x) = 1/n sum_i N(x; x_i', h^2 I)

    This is the density of the noisy points that a network is trained on. As a model of its own, it
    shows the effect of sharpened noise without a network.

    Args:
        rows: the training rows, ``(n, D)``.
        noise_factor: h in bandwidths, as ``TrainingSettings.noise_factor``.
        strength: how far rows move to their local means, as ``TrainingSettings.sharpen``.
    """
    level = noise_level(rows, noise_factor)
    moved = sharpen(rows, level, strength)
    # In single precision, as for networks: the last bits in double precision depend on the machine
    return Mixture.isotropic(moved.astype(np.float32).astype(np.float64), level)
