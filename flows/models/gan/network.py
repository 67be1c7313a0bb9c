"""The two networks of a generative adversarial network, as a population like the flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from flows.bijections.perceptron import Perceptron, he_reach, masked
from flows.core.arrays import Array
from flows.core.seeds import torch_generators
from flows.networks.network import Network, Objective


class GANNetwork(Network):
    """A generator G and a discriminator D, with the non-saturating loss and the penalty R1 (Mescheder et al. 2018, equation 9)::

        L_D = E_p[softplus(-D(x))] + E_z[softplus(D(G(z)))] + penalty/2 E_p[|dD/dx|^2]
        L_G = E_z[softplus(-D(G(z)))],        z ~ N(0, I)
        sample:  x = G(z)

    Both take their steps at once, on the same fakes. It has no density: ``log_prob`` raises ``NotImplementedError``.
    Raises ``ValueError`` for points that are no vectors.
    """

    betas: ClassVar[tuple[float, float]] = (0.0, 0.99)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        generators: Sequence[torch.Generator],
        description: dict[str, Any],
        *,
        hidden: int,
        latent: int,
        penalty: float,
    ) -> None:
        if len(event_shape) != 1:
            raise ValueError(f"the GAN needs vectors; got event_shape={tuple(event_shape)}")
        super().__init__(len(generators), event_shape, description)
        self.latent, self.penalty = latent, penalty
        self.generator = Perceptron(latent, *event_shape, hidden, generators, he_reach(latent, hidden))
        self.discriminator = Perceptron(*event_shape, 1, hidden, generators, he_reach(*event_shape, hidden))

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
        *states, score = self.discriminator.states(torch.cat([x, made[-1]], dim=2))
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
    def curves(self, points: dict[str, Tensor]) -> dict[str, Array]:
        """Both losses, without the penalty, on the training points and as many fakes, always from the same noise."""
        train = points["train"]
        generators = torch_generators(self.description["seed"], "curves", self.member_range)
        z = torch.stack([torch.randn(self.latent, train.shape[2], generator=g, dtype=train.dtype) for g in generators])
        fake = self.discriminator(self.generator(z))
        real = self.discriminator(train)
        losses = {"generator_loss": softplus(-fake), "discriminator_loss": softplus(-real) + softplus(fake)}
        return {key: loss.double().numpy().mean(axis=(1, 2)) for key, loss in losses.items()}

    def generate(self, n: int, generator: torch.Generator | None) -> Tensor:
        z = torch.randn(n, self.members, self.latent, generator=generator, dtype=self.dtype).permute(1, 2, 0)
        return self.generator(z.contiguous())
