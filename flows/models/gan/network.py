"""The two networks of a generative adversarial network, as a population like the flows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from flows.bijections.perceptron import Perceptron, he_reach
from flows.core.arrays import Array
from flows.core.seeds import normal, normals, numpy_generators
from flows.kernels import perceptron
from flows.networks.network import Network, Objective, Seen

if TYPE_CHECKING:
    from flows.models.gan import GAN

LAZY = 4


class GANNetwork(Network):
    """A generator G and a discriminator D, with the non-saturating loss and the penalty R1.

    See Mescheder et al. 2018, equation 9::

        L_D = E_p[softplus(-D(x))] + E_z[softplus(D(G(z)))] + penalty/2 E_p[|dD/dx|^2]
        L_G = E_z[softplus(-D(G(z)))],        z ~ N(0, I)
        sample:  x = G(z)

    Both take their steps at once, on the same fakes. The penalty is costly, so one step in ``LAZY``
    has it, and that much heavier (Karras et al. 2020, lazy regularization). It has no density:
    ``log_prob`` raises ``NotImplementedError``. Raises ``ValueError`` for points that are no
    vectors.
    """

    betas: ClassVar[tuple[float, float]] = (0.0, 0.99)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        generators: Sequence[np.random.Generator],
        description: dict[str, Any],
        settings: GAN,
    ) -> None:
        if len(event_shape) != 1:
            raise ValueError(f"the GAN needs vectors; got event_shape={tuple(event_shape)}")
        super().__init__(len(generators), event_shape, description)
        self.latent, self.penalty, hidden = settings.latent, settings.penalty, settings.hidden
        self.generator = Perceptron(
            self.latent, *event_shape, hidden, generators, he_reach(self.latent, hidden)
        )
        self.discriminator = Perceptron(
            *event_shape, 1, hidden, generators, he_reach(*event_shape, hidden)
        )

    def objective(self, points: Tensor, generators: Sequence[np.random.Generator]) -> Objective:
        step = count()
        return lambda batch: self.loss(batch, generators, LAZY if next(step) % LAZY == 0 else 0)

    @torch.enable_grad()
    def loss(
        self, x: Tensor, generators: Sequence[np.random.Generator], share: float = 1
    ) -> tuple[Tensor, Tensor]:
        """``L_G + L_D`` ``(M,)``, without the penalty, of a batch ``(M, D, n)``; and ``(M, P)``.

        L_G by the generator's parameters, then L_D, with ``share`` times the penalty, by the
        discriminator's.
        """
        x = x.detach().requires_grad_()
        z = normals(generators, self.latent, x.shape[2]).to(x.dtype)
        real = perceptron(self.discriminator, x, twice=share > 0).double()
        fake = perceptron(self.discriminator, perceptron(self.generator, z)).double()
        of_generator, of_discriminator = (
            softplus(-fake).mean((1, 2)),
            (softplus(-real) + softplus(fake)).mean((1, 2)),
        )
        penalized = of_discriminator
        if share:
            (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
            penalized = penalized + share * self.penalty / 2 * slope.double().square().sum(1).mean(
                1
            )
        (by_generator,) = torch.autograd.grad(
            of_generator.sum(), self.generator.theta, retain_graph=True
        )
        (by_discriminator,) = torch.autograd.grad(penalized.sum(), self.discriminator.theta)
        return (of_generator + of_discriminator).detach(), torch.cat(
            [by_generator, by_discriminator], dim=1
        )

    @torch.no_grad()
    def curves(self, points: dict[str, Seen]) -> dict[str, Array]:
        """Both losses, without the penalty, on the training points and as many fakes.

        Always from the same noise.
        """
        train, _ = points["train"]
        generators = numpy_generators(self.description["seed"], "curves", self.member_range)
        z = normals(generators, self.latent, train.shape[2]).to(train.dtype)
        fake, real = (
            perceptron(self.discriminator, perceptron(self.generator, z)).double(),
            perceptron(self.discriminator, train).double(),
        )
        losses = {
            "generator_loss": softplus(-fake),
            "discriminator_loss": softplus(-real) + softplus(fake),
        }
        return {key: loss.numpy().mean(axis=(1, 2)) for key, loss in losses.items()}

    def generate(self, n: int, generator: np.random.Generator) -> Tensor:
        z = normal(generator, n, self.members, self.latent).to(self.dtype).permute(1, 2, 0)
        return perceptron(self.generator, z.contiguous())
