"""The network of a variational autoencoder, and the quadrature of its density."""

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from flows.conditioners import Perceptron, he_reach
from flows.core.arrays import Array, Shape
from flows.core.seeds import Generators, normal, normals
from flows.networks.architecture import features
from flows.networks.backend import backend
from flows.networks.network import DensityNetwork, Objective, Points, mean_nll
from flows.networks.population import Description

# The initial log-scale of the noise; from 0, the decoder never learns to use the latent space
FIRST_LOG_SCALE = -1.0
# Radius of the disc of latent space that the quadrature covers: all but 3e-7 of the mass
REACH = 5.5
CHUNK = 2_000  # nodes or points per chunk, so that intermediate arrays stay in the cache
# Distance from a centre, in noise scales, beyond which its density underflows in float64
FAR = 40
LARGEST_GRID = 2_000  # steps of half a noise scale along an axis


class VAENetwork(DensityNetwork):
    """A decoder mu(z) with one learned noise scale s per feature, and an encoder m(x), v(x).

    The encoder proposes z for an x in standardised units::

        q(x) = int N(z; 0, I) N(x; mu(z), diag(s^2)) dz
        -log q(x) <= E[-log N(x; mu(z), diag(s^2))] + KL(N(m(x), diag(v(x)^2)) || N(0, I))
        z = m(x) + v(x) e,  e ~ N(0, I)

    Training minimises the bound, with one draw of e per visit. ``log_prob`` computes the integral
    over the two dimensions of z (``quadrature``), and cannot be differentiated.

    Args:
        event_shape: the shape of a point, ``(D,)``.
        generators: the generators of the initial weights, one per member.
        description: how to build the network again.
        hidden: width of both hidden layers of the encoder and of the decoder.

    Raises ``ValueError`` for points that are not vectors.
    """

    LATENT = 2
    # Points scored at a time; the cost of a call hardly depends on their number
    chunk: ClassVar[int] = 1_000_000
    nodes: ClassVar[int] = 256  # of the quadrature, along each latent axis
    # For the curves, which are computed often; the error of the mean is at most 0.002 nat
    curve_nodes: ClassVar[int] = 128

    def __init__(
        self, event_shape: Shape, generators: Generators, description: Description, *, hidden: int
    ) -> None:
        dim = features("VAE", event_shape)
        super().__init__(len(generators), event_shape, description)
        self.dim = dim
        self.encoder = Perceptron(dim, 2 * self.LATENT, hidden, generators, he_reach)
        self.decoder = Perceptron(self.LATENT, dim, hidden, generators, he_reach)
        self.log_scale = nn.Parameter(torch.full((len(generators), dim, 1), FIRST_LOG_SCALE))

    # Training

    def objective(self, points: Tensor, generators: Generators) -> Objective:
        return lambda batch: self.loss(batch, generators)

    @torch.enable_grad()
    def loss(self, x: Tensor, generators: Generators) -> tuple[Tensor, Tensor]:
        """Return the mean bound on the negative log-likelihood of a batch, and its gradient.

        The batch is ``(M, D, n)``, the bound ``(M,)`` and the gradient ``(M, P)``.
        """
        # Sums and exponentials are in double precision
        m, log_v = backend.perceptron(self.encoder, x).double().chunk(2, dim=1)
        noise = normals(generators, self.LATENT, x.shape[2])
        mu = backend.perceptron(self.decoder, (m + log_v.exp() * noise).to(x.dtype))
        log_scale = self.log_scale.double()
        residual, constant = (x - mu) * (-log_scale).exp(), 0.5 * self.dim * math.log(2 * math.pi)
        misfit = (0.5 * residual.square() + log_scale).sum(1) + constant
        divergence = (0.5 * (m.square() + (2 * log_v).exp() - 1) - log_v).sum(1)
        bound = (misfit + divergence).mean(1)
        gradients = torch.autograd.grad(bound.sum(), list(self.parameters()))
        return bound.detach(), torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)

    @torch.no_grad()
    def curves(self, points: dict[str, Points]) -> dict[str, Array]:
        parts = [z for z, _ in points.values()]
        # One call for all points, because the nodes cost more than the points
        log_q = self.log_density(torch.cat(parts, dim=2), self.curve_nodes)
        pairs = zip(points.items(), log_q.split([z.shape[2] for z in parts], dim=1), strict=True)
        return {f"{key}_nll": mean_nll(part, log_det) for (key, (_, log_det)), part in pairs}

    # Sampling and density

    def generate(self, n: int, generator: np.random.Generator) -> Tensor:
        drawn = normal(generator, n, self.members, self.LATENT + self.dim)
        drawn = drawn.to(self.dtype).permute(1, 2, 0)
        mu = backend.perceptron(self.decoder, drawn[:, : self.LATENT].contiguous())
        return mu + self.log_scale.double().exp().to(self.dtype) * drawn[:, self.LATENT :]

    @torch.no_grad()
    def log_density(self, x: Tensor, nodes: int | None = None) -> Tensor:
        z, weights = quadrature(self.nodes if nodes is None else nodes)
        parts = z.to(self.dtype).expand(self.members, -1, -1).split(CHUNK, dim=2)
        mu = torch.cat([backend.perceptron(self.decoder, part) for part in parts], dim=2)
        mixture = mixture_in_the_plane if self.dim == 2 else mixture_by_pairs
        members = zip(x.double(), mu.double(), self.log_scale.double().exp(), strict=True)
        # Products of far tails underflow. They contribute nothing, but arithmetic on the remaining
        # denormal numbers takes ten times as long as the rest.
        torch.set_flush_denormal(True)
        try:
            return torch.stack([mixture(*member, weights) for member in members])
        finally:
            torch.set_flush_denormal(False)


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
