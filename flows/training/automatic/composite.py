"""Networks and mixtures as one population, which the automatic recipe stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.random import Generator
from torch import Tensor, nn

from flows.core.arrays import Shape
from flows.core.seeds import generator_of
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.latent_class_mixture import LatentClassMixture
from flows.networks import building
from flows.networks.network_population import NetworkPopulation
from flows.networks.population import Description, Population
from flows.networks.to_real import ToReal


class Composite(Population):
    """M networks and K mixtures over one space, as one population of M + K members.

    The mixtures are mixtures of Gaussians or, for a table with labels, of latent classes.

    The members are the networks, then the mixtures. Their weights in the ensemble are stacked
    together. ``history`` and ``encode`` exist for the networks only: ``composite.networks`` is
    their population.

    Args:
        networks: the population of networks.
        mixtures: the mixtures, of one member each.
        weights: the weights of all members, ``(M + K,)``, which sum to 1.

    Examples:
        >>> import flows
        >>> from flows.training.automatic.composite import Composite
        >>> networks = flows.build(flows.NSF(couplings=2, hidden=4), (2,), members=3)
        >>> mixture = flows.GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.0], [0.0, 1.0]]])
        >>> composite = Composite(networks, [mixture], [0.2, 0.2, 0.2, 0.4])
        >>> composite.log_prob([[0.0, 0.0]]).shape
        torch.Size([1, 4])
    """

    weights: Tensor

    def __init__(
        self, networks: NetworkPopulation, mixtures: Sequence[Population], weights: Any
    ) -> None:
        description = {**networks.description, "mixtures": len(mixtures)}
        super().__init__(networks.members + len(mixtures), networks.event_shape, description)
        self.networks, self.mixtures = networks, nn.ModuleList(mixtures)
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float64))
        self.history = networks.history

    @property
    def network_count(self) -> int:
        return self.networks.members

    @property
    def member_weights(self) -> Tensor:
        return self.weights

    @property
    def to_real(self) -> ToReal:
        return self.networks.to_real

    @property
    def _parts(self) -> list[Population]:
        return [self.networks, *self.mixtures]

    def supports(self, method: str) -> bool:
        return method == "log_prob"

    @torch.no_grad()
    def log_prob(self, value: Any) -> Tensor:
        """Return log-densities ``(n, M + K)`` in nats, without gradients.

        Args:
            value: points in the user's units, ``(n, *event)`` or ``(n, M + K, *event)``.
        """
        value = self.points(value)
        own = [part.log_prob(points).double() for part, points in self._split(value)]
        return torch.cat(own, dim=-1)

    @torch.no_grad()
    def sample(self, sample_shape: Shape = (), generator: Generator | None = None) -> Tensor:
        generator = generator_of(generator)
        drawn = [part.sample(sample_shape, generator).double() for part in self._parts]
        return torch.cat(drawn, dim=len(sample_shape))

    def encode(self, value: Any) -> Tensor:
        raise NotImplementedError(
            "a mixture has no noise; `composite.networks.encode` encodes with networks"
        )

    def parameters_per_member(self) -> int:
        """Return the number of trainable parameters of one network."""
        return self.networks.parameters_per_member()

    def _split(self, value: Tensor) -> Sequence[tuple[Population, Tensor]]:
        """Return each part with its points: the shared points, or its members' own points."""
        axis = value.ndim - 1 - len(self.event_shape)
        if value.shape[axis] == 1:
            return [(part, value) for part in self._parts]
        sizes = [part.members for part in self._parts]
        return list(zip(self._parts, value.split(sizes, dim=axis), strict=True))

    @classmethod
    def restored(cls, description: Description, state: Mapping[str, Tensor]) -> Composite:
        """Return the composite of a checkpoint.

        Args:
            description: the description of the networks, and the number of ``mixtures``.
            state: the tensors, by name.
        """
        about = dict(description)
        count = about.pop("mixtures")
        own = _below("networks.", state) or _below("network.", state)  # until release 0.3
        networks = building.restored(about, own)
        mixtures: list[Population] = []
        for k in range(count):
            own, to_real = _below(f"mixtures.{k}.", state), networks.to_real
            if any(to_real.label_counts):
                mixtures.append(LatentClassMixture.with_state(to_real, own))
            else:
                mixtures.append(GaussianMixture.with_state(to_real, own))
        return cls(networks, mixtures, state["weights"])


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with ``prefix``, without the prefix."""
    return {
        name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)
    }
