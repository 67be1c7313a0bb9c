"""An ensemble: members of several populations and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from numpy.random import Generator
from torch import Tensor, nn

from flows.core.arrays import Shape
from flows.core.checkpoint import below
from flows.core.seeds import generator_of
from flows.mixtures.labelled_population import LabelledPopulation
from flows.networks.population import Description, Population, Restore
from flows.networks.to_real import ToReal


class Ensemble(Population):
    """The members of several populations over one space, and their weights; immutable.

    Networks, if there are any, come first: ``networks`` and ``history`` are those of the first
    part. A file can hold parts that describe themselves: networks, mixtures, and rows with labels.

    Args:
        parts: the populations.
        weights: the weights of all members, ``(M,)``, which sum to 1.

    Examples:
        >>> import flows
        >>> from flows.recipe.ensemble import Ensemble
        >>> networks = flows.build(flows.NSF(couplings=2, hidden=4), (2,), members=3)
        >>> mixture = flows.GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.0], [0.0, 1.0]]])
        >>> ensemble = Ensemble([networks, mixture], [0.2, 0.2, 0.2, 0.4])
        >>> ensemble.log_prob([[0.0, 0.0]]).shape
        torch.Size([1, 4])
    """

    weights: Tensor

    def __init__(self, parts: Sequence[Population], weights: Any) -> None:
        description = {}  # a file can hold members that describe themselves
        if all("model" in part.description for part in parts):
            others = [part.description for part in parts[1:]]
            description = {**parts[0].description, "parts": others}
        super().__init__(sum(part.members for part in parts), parts[0].event_shape, description)
        self.parts = nn.ModuleList(parts)
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float64))
        self.history = parts[0].history

    def placed(self, places: Sequence[int], to_real: ToReal) -> Ensemble:
        """Return the ensemble of rows with labels in another order (``LabelledPopulation``)."""
        parts = [cast(LabelledPopulation, part).placed(places, to_real) for part in self._parts]
        return Ensemble(parts, self.weights)

    @property
    def _parts(self) -> list[Population]:
        return [part for part in self.parts if isinstance(part, Population)]

    @property
    def networks(self) -> Population:
        """The population of networks."""
        return self._parts[0]

    @property
    def network_count(self) -> int:
        return sum(part.network_count for part in self._parts)

    @property
    def member_weights(self) -> Tensor:
        return self.weights

    @property
    def to_real(self) -> ToReal:
        return self.networks.to_real

    @property
    def scores_labels(self) -> bool:  # type: ignore[override]
        return self.networks.scores_labels

    def supports(self, method: str) -> bool:
        return method == "log_prob"

    @torch.no_grad()
    def log_prob(self, value: Any) -> Tensor:
        """Return log-densities ``(n, M)`` in nats, without gradients.

        Args:
            value: points in the user's units, ``(n, *event)`` or ``(n, M, *event)``.
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
            "a mixture has no noise; `ensemble.networks.encode` encodes with networks"
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
    def restored(
        cls, description: Description, state: Mapping[str, Tensor], restore: Restore
    ) -> Ensemble:
        """Return the ensemble of a checkpoint.

        Args:
            description: the description of the first part, and those of the other ``parts``.
            state: the tensors, by name.
            restore: restores a part.
        """
        first = dict(description)
        described = [first, *first.pop("parts")]
        parts = [restore(each, below(f"parts.{k}.", state)) for k, each in enumerate(described)]
        return cls(parts, state["weights"])
