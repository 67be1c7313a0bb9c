"""A generative adversarial network (Goodfellow et al. 2014), as a population like the flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from flows.baselines.perceptron import Perceptron, masked
from flows.bijections import Standardize
from flows.network import Network, Objective
from flows.seeds import torch_generators
from flows.targets import Array


class GAN(Network):
    """A generator G and a discriminator D, with the non-saturating loss and the penalty R1 (Mescheder et al. 2018, equation 9)::

        L_D = E_p[softplus(-D(x))] + E_z[softplus(D(G(z)))] + penalty/2 E_p[|dD/dx|^2]
        L_G = E_z[softplus(-D(G(z)))],        z ~ N(0, I)
        sample:  x = mean + deviation G(z)

    Both take their steps at once, on the same fakes. It has no density: ``log_prob`` raises ``NotImplementedError``.

    Args:
        dim: features D.
        members: pairs of networks M, independently initialised.
        hidden: width of both hidden layers of both networks.
        latent: dimensions of z.
        penalty: weight of R1, in standardised units.
        seed: of the initial weights.
    """

    betas: ClassVar[tuple[float, float]] = (0.0, 0.99)

    def __init__(self, dim: int, members: int = 1, *, hidden: int = 112, latent: int = 8, penalty: float = 0.02, seed: int = 0) -> None:
        super().__init__(members, dim, {"dim": dim, "members": members, "hidden": hidden, "latent": latent, "penalty": penalty, "seed": seed})
        generators = torch_generators(seed, "initialize", members)
        self.latent, self.penalty = latent, penalty
        self.standardize = Standardize(dim, members)
        self.generator = Perceptron(latent, dim, hidden, generators)
        self.discriminator = Perceptron(dim, 1, hidden, generators)

    def objective(self, points: Tensor, generators: Sequence[torch.Generator]) -> Objective:
        return lambda batch: self.loss(batch, generators)

    @torch.no_grad()
    def loss(self, x: Tensor, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        """``L_G + L_D`` ``(M,)``, without the penalty, of a batch ``(M, D, n)``; and ``(M, P)``: L_G by the generator's parameters, then L_D by
        the discriminator's.

        One pass back through D, from 1, serves all three. Its d_l, times a number per point, are those of L_D and L_G; and as D is
        linear between its kinks, the penalty goes forwards again through the same layers::

            g = dD/dx     a_0 = penalty/n g     a_l = (W_l a_(l-1)) [h_l > 0]    penalty's share of dL_D/dW_l = sum_n d_l a_(l-1)^T
        """
        n = x.shape[2]
        z = torch.stack([torch.randn(self.latent, n, generator=g, dtype=x.dtype) for g in generators])
        made = self.generator.states(z)
        real = self.standardize(x)[0]
        *states, score = self.discriminator.states(torch.cat([real, made[-1]], dim=2))
        derivatives, slope = self.discriminator.chain(states, torch.ones_like(score))
        loss = softplus(-score).sum(2) / n + softplus(score[:, :, n:]).mean(2)
        up = torch.cat([-torch.sigmoid(-score[:, :, :n]), torch.sigmoid(score[:, :, n:])], dim=2) / n  # dL_D/dD, point by point
        inputs = [h * up for h in states]
        a = self.penalty / n * slope[:, :, :n]
        for layer, (weight, _) in enumerate(self.discriminator.layers()):
            inputs[layer][:, :, :n] += a
            if layer < 2:
                a = masked(weight @ a, states[layer + 1][:, :, :n])
        to_fakes = slope[:, :, n:] * -torch.sigmoid(-score[:, :, n:]) / n
        generator = self.generator.gradient(made[:-1], self.generator.chain(made[:-1], to_fakes)[0])
        return loss.squeeze(1), torch.cat([generator, self.discriminator.gradient(inputs, derivatives, up)], dim=1)

    @torch.no_grad()
    def curves(self, train: Tensor, test: Tensor) -> dict[str, Array]:
        """Both losses, without the penalty, on the training points and as many fakes, always from the same noise."""
        generators = torch_generators(self.arguments["seed"], "curves", self.members)
        z = torch.stack([torch.randn(self.latent, train.shape[2], generator=g, dtype=train.dtype) for g in generators])
        fake = self.discriminator(self.generator(z))
        real = self.discriminator(self.standardize(train)[0])
        losses = {"generator_loss": softplus(-fake), "discriminator_loss": softplus(-real) + softplus(fake)}
        return {key: loss.double().numpy().mean(axis=(1, 2)) for key, loss in losses.items()}

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = (), generator: torch.Generator | None = None) -> Tensor:
        shape = torch.Size(sample_shape)
        z = torch.randn(shape.numel(), self.members, self.latent, generator=generator, dtype=self.dtype).permute(1, 2, 0)
        return self._public(self.standardize.inverse(self.generator(z.contiguous()))[0], shape)
