"""The networks of a generative adversarial network, and their losses."""

from itertools import count
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from flows.conditioners import Perceptron, he_reach
from flows.core.arrays import Array, Shape
from flows.core.seeds import Generators, normal, normals, numpy_generators
from flows.networks.architecture import features
from flows.networks.backend import backend
from flows.networks.densities import Description
from flows.networks.network_population import NetworkPopulation, Objective, Points

LAZY = 4  # the penalty is added at every fourth step


class GANPopulation(NetworkPopulation):
    """A generator G and a discriminator D, with the non-saturating loss and the penalty R1::

        L_D = E_p[softplus(-D(x))] + E_z[softplus(D(G(z)))] + penalty/2 E_p[|dD/dx|^2]
        L_G = E_z[softplus(-D(G(z)))],        z ~ N(0, I)
        sample:  x = G(z)

    One step updates both networks, on the same generated points. The penalty is costly, so it is
    added only at every ``LAZY``-th step, with ``LAZY`` times its weight (Karras et al. 2020, lazy
    regularization). A GAN has no density: ``log_prob`` raises ``NotImplementedError``. Source:
    Mescheder et al. 2018, equation 9.

    Args:
        event_shape: the shape of a point, ``(D,)``.
        generators: the generators of the initial weights, one per member.
        description: how to build the population again.
        hidden: width of both hidden layers of G and of D.
        latent: dimensions of z.
        penalty: weight of the penalty.

    Raises ``ValueError`` for points that are not vectors.
    """

    betas: ClassVar[tuple[float, float]] = (0.0, 0.99)

    def __init__(
        self,
        event_shape: Shape,
        generators: Generators,
        description: Description,
        *,
        hidden: int,
        latent: int,
        penalty: float,
    ) -> None:
        dim = features("GAN", event_shape)
        super().__init__(len(generators), event_shape, description)
        self.latent = latent
        self.penalty = penalty
        self.generator = Perceptron(self.latent, dim, hidden, generators, he_reach)
        self.discriminator = Perceptron(dim, 1, hidden, generators, he_reach)

    def objective(self, points: Tensor, generators: Generators) -> Objective:
        step = count()
        return lambda batch: self.loss(batch, generators, LAZY if next(step) % LAZY == 0 else 0)

    @torch.enable_grad()
    def loss(self, x: Tensor, generators: Generators, share: float = 1) -> tuple[Tensor, Tensor]:
        """Return ``L_G + L_D`` of a batch ``(M, D, n)``, without the penalty, and the gradient.

        The loss is ``(M,)``. The gradient ``(M, P)`` holds the gradient of L_G with respect to the
        generator's parameters, then the gradient of L_D, with ``share`` times the penalty, with
        respect to the discriminator's.
        """
        x = x.detach().requires_grad_()
        z = normals(generators, self.latent, x.shape[2]).to(x.dtype)
        real = backend.perceptron(self.discriminator, x, twice=share > 0).double()
        fake = backend.perceptron(
            self.discriminator, backend.perceptron(self.generator, z)
        ).double()
        of_generator = softplus(-fake).mean((1, 2))
        of_discriminator = (softplus(-real) + softplus(fake)).mean((1, 2))
        penalized = of_discriminator
        if share:
            (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
            steepness = slope.double().square().sum(1).mean(1)
            penalized = penalized + share * self.penalty / 2 * steepness
        (by_generator,) = torch.autograd.grad(
            of_generator.sum(), self.generator.theta, retain_graph=True
        )
        (by_discriminator,) = torch.autograd.grad(penalized.sum(), self.discriminator.theta)
        gradient = torch.cat([by_generator, by_discriminator], dim=1)
        return (of_generator + of_discriminator).detach(), gradient

    @torch.no_grad()
    def curves(self, points: dict[str, Points]) -> dict[str, Array]:
        """Return both losses, without the penalty, on the training points.

        An equal number of points is generated, from the same noise at every call.
        """
        train, _ = points["train"]
        generators = numpy_generators(self.description["seed"], "curves", self.member_range)
        z = normals(generators, self.latent, train.shape[2]).to(train.dtype)
        fake = backend.perceptron(
            self.discriminator, backend.perceptron(self.generator, z)
        ).double()
        real = backend.perceptron(self.discriminator, train).double()
        losses = softplus(-fake), softplus(-real) + softplus(fake)
        means = (loss.numpy().mean(axis=(1, 2)) for loss in losses)
        return dict(zip(("generator_loss", "discriminator_loss"), means, strict=True))

    def generate(self, n: int, generator: np.random.Generator) -> Tensor:
        z = normal(generator, n, self.members, self.latent).to(self.dtype).permute(1, 2, 0)
        return backend.perceptron(self.generator, z.contiguous())
