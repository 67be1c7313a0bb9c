"""The networks of a variational autoencoder."""

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from flows.conditioners import Perceptron, he_reach
from flows.core.arrays import Array, Shape
from flows.core.latent_integral import CHUNK, mixture_by_pairs, mixture_in_the_plane, quadrature
from flows.core.seeds import Generators, normal, normals
from flows.networks.architecture import features
from flows.networks.backend import backend
from flows.networks.densities import Description
from flows.networks.network_population import DensityPopulation, Objective, Points, mean_nll

# The initial log-scale of the noise; from 0, the decoder never learns to use the latent space
FIRST_LOG_SCALE = -1.0


class VAEPopulation(DensityPopulation):
    """A decoder mu(z) with one learned noise scale s per feature, and an encoder m(x), v(x).

    The encoder proposes z for an x in standardised units::

        q(x) = int N(z; 0, I) N(x; mu(z), diag(s^2)) dz
        -log q(x) <= E[-log N(x; mu(z), diag(s^2))] + KL(N(m(x), diag(v(x)^2)) || N(0, I))
        z = m(x) + v(x) e,  e ~ N(0, I)

    Training minimises the bound, with one draw of e per visit. ``log_prob`` computes the integral
    over the two dimensions of z (``core/latent_integral.py``), and cannot be differentiated.

    Args:
        event_shape: the shape of a point, ``(D,)``.
        generators: the generators of the initial weights, one per member.
        description: how to build the population again.
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
