"""The density of a Gaussian decoder, integrated over a latent space of two dimensions::

q(x) = int N(z; 0, I) N(x; mu(z), diag(s^2)) dz ~ sum_k w_k N(x; mu(z_k), diag(s^2))
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Radius of the disc of latent space that the quadrature covers: all but 3e-7 of the mass
REACH = 5.5
CHUNK = 2_000  # nodes or points per chunk, so that intermediate arrays stay in the cache
# Distance from a centre, in noise scales, beyond which its density underflows in float64
FAR = 40
LARGEST_GRID = 2_000  # steps of half a noise scale along an axis


def quadrature(nodes: int) -> tuple[Tensor, Tensor]:
    """Return nodes ``(2, K)`` in latent space and their weights ``(K,)``.

    They define the trapezoidal rule for ``int N(z; 0, I) f(z) dz`` on a disc. For a function as
    smooth as a Gaussian, the rule converges faster than any power of the step. The decoder limits
    its accuracy: between modes, mu changes quickly, and mu at neighbouring nodes must not differ by
    much more than the noise scale.
    """
    axis = torch.linspace(-REACH, REACH, nodes, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis).T
    z = z[:, z.square().sum(0) <= REACH**2]
    weights = torch.exp(-0.5 * z.square().sum(0))
    return z, weights / weights.sum()


def mixture_by_pairs(x: Tensor, centres: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """Return ``log sum_k w_k N(x; mu_k, diag(s^2))`` from its definition, ``(N,)``.

    Shapes: ``x`` ``(D, N)``, ``centres`` ``(D, K)``, ``scale`` ``(D, 1)``, ``weights`` ``(K,)``.
    """
    log_norm = scale.log().sum() + 0.5 * len(x) * math.log(2 * math.pi)
    rows = max(1, 5_000_000 // len(weights))
    parts = []
    mode = "donot_use_mm_for_euclid_dist"
    for chunk in (x / scale).T.split(rows):
        distance = torch.cdist(chunk, (centres / scale).T, compute_mode=mode)
        parts.append((weights.log() - 0.5 * distance.square()).logsumexp(1))
    return torch.cat(parts) - log_norm


def mixture_in_the_plane(x: Tensor, centres: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    """Return the result of ``mixture_by_pairs`` for D = 2, at a cost of N + K instead of N K.

    Along each axis, a Gaussian of variance s^2 is the convolution of two Gaussians of variance
    s^2/2. The trapezoidal rule with step s/2 computes this integral over a Gaussian of deviation
    s/2 with a relative error of 5e-9, for all x and mu::

        N(x; mu, s^2) = int N(x; t, s^2/2) N(t; mu, s^2/2) dt
                      = s/2 sum_j N(x; t_j, s^2/2) N(t_j; mu, s^2/2)

    With A_nj = exp(-((x_n - t_j) / s)^2) and B_kj = exp(-((mu_k - t_j) / s)^2) for each axis, one
    matrix product over K rows and one over N rows are enough. All terms are positive, so there is
    no cancellation::

        q(x_n) = A^1_n (B^1^T diag(w) B^2) A^2_n / (4 pi^2 s_1 s_2)

    ``mixture_by_pairs`` computes points whose density underflows, and noise scales that are too
    small for a grid.
    """
    finite = x.isfinite().all(0) & centres.isfinite().all() & scale.isfinite().all()
    if not bool(finite.all()) or not len(finite):
        log_q = x.new_full(x.shape[1:], math.nan)
        if bool(finite.any()):
            log_q[finite] = mixture_in_the_plane(x[:, finite], centres, scale, weights)
        return log_q
    points, middles = x / scale, centres / scale
    least, most = middles.amin(1), middles.amax(1)
    low = points.amin(1).minimum(least).maximum(least - FAR) - 4
    high = points.amax(1).maximum(most).minimum(most + FAR) + 4
    if bool((high - low).max() > LARGEST_GRID / 2):
        return mixture_by_pairs(x, centres, scale, weights)
    tiny = torch.finfo(x.dtype).tiny
    largest = -0.95 * math.log(tiny)  # the cut of exponents: numbers below `tiny` are slow
    ends = zip(low.tolist(), high.tolist(), strict=True)
    first, second = (torch.arange(*each, 0.5, dtype=x.dtype) for each in ends)

    def table(values: Tensor, grid: Tensor) -> Tensor:
        return (values[:, None] - grid).square_().clamp_max_(largest).neg_().exp_()

    core = x.new_zeros(len(first), len(second))
    for part, weight in zip(middles.split(CHUNK, dim=1), weights.split(CHUNK), strict=True):
        core += (table(part[0], first) * weight[:, None]).T @ table(part[1], second)
    parts = points.split(CHUNK, dim=1)
    q = torch.cat([((table(x, first) @ core) * table(y, second)).sum(1) for x, y in parts])
    log_q = q.log() - math.log(4 * math.pi**2) - scale.log().sum()
    lost = q < tiny**0.8  # where the cut exponents may matter
    if bool(lost.any()):
        log_q[lost] = mixture_by_pairs(x[:, lost], centres, scale, weights)
    return log_q
