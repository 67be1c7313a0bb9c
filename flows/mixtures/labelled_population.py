"""Densities of rows with labels: p(labels) times p(numbers | labels)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from flows.core.arrays import Array, Shape, Whole
from flows.core.checkpoint import below
from flows.core.rows import codes_of
from flows.core.seeds import generator_of
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.networks.network_population import NetworkPopulation
from flows.networks.population import Description, Population, Restore
from flows.networks.to_real import ToReal

if TYPE_CHECKING:
    from flows.networks.flow import Flow

    GivenLabels: TypeAlias = Flow | GaussianMixture


class LabelledPopulation(Population):
    """M densities of rows of labels and numbers::

        log q_m(c, x) = log P_f(m)(c) + log p_m(x | c)

    c are the labels of a row and x its numbers. P_f is a mixture of the labels; member m has P of
    its fold f(m).

    Args:
        conditional: the M densities p(numbers | labels), whose context are the codes of the labels;
            ``None`` for a table of labels alone, with one member per density of ``labels``.
        labels: the F densities of the labels.
        folds: for each member, the index into ``labels``, M numbers.
        to_real: the map of all columns, in the order of the rows of this population.
        places: for each column of labels, then for each column of numbers, its place in the rows.
    """

    scores_labels = True

    def __init__(
        self,
        conditional: GivenLabels | None,
        labels: Sequence[Mixture],
        folds: Sequence[int],
        to_real: ToReal,
        places: Sequence[int],
    ) -> None:
        about: Description = {"model": "labels"}
        if conditional is not None:
            about = dict(conditional.description)
        about.pop("context", None)
        about["labelled"] = {"folds": list(folds), "places": list(places)}
        super().__init__(len(folds), (len(places),), about | to_real.description)
        count = len(to_real.label_places)
        self.conditional = conditional
        self.labels = nn.ModuleList(GaussianMixture.of(density) for density in labels)
        self.scores_gaps = conditional is None  # type: ignore[misc]
        self.folds, self.places = list(folds), list(places)
        self.of_labels, self.of_numbers = self.places[:count], self.places[count:]
        self.sizes = tuple(to_real.label_counts[d] for d in self.of_labels)
        self._to_real = to_real
        if conditional is not None:
            self.history = conditional.history

    def placed(self, places: Sequence[int], to_real: ToReal) -> LabelledPopulation:
        """Return the population of rows in another order.

        Args:
            places: for each column of labels, then for each column of numbers, its new place.
            to_real: the map of all columns in the new order.
        """
        about = self.conditional, self.label_densities, self.folds
        return LabelledPopulation(*about, to_real, places)

    @property
    def label_densities(self) -> list[Mixture]:
        """The F densities of the labels."""
        return [cast(GaussianMixture, part).mixture for part in self.labels]

    @property
    def to_real(self) -> ToReal:
        return self._to_real

    @property
    def network_count(self) -> int:
        return self.members if isinstance(self.conditional, NetworkPopulation) else 0

    def parameters_per_member(self) -> int:
        return 0 if self.conditional is None else self.conditional.parameters_per_member()

    def supports(self, method: str) -> bool:
        return method == "log_prob"

    @torch.no_grad()
    def log_prob(self, value: Any) -> Tensor:
        """Return log-densities ``(n, M)`` in nats, without gradients.

        Args:
            value: rows in the user's units with codes of labels, ``(n, D)`` or ``(n, M, D)``.
        """
        value = self.points(value).double()
        codes = codes_of(value[..., self.of_labels].numpy(), self.sizes)
        log_q = torch.from_numpy(self._log_labels(codes))
        if self.conditional is not None:
            given = torch.from_numpy(np.where(codes < 0, np.nan, codes))
            log_q = log_q + self.conditional.log_prob(value[..., self.of_numbers], given).double()
        return log_q

    def _log_labels(self, codes: Whole) -> Array:
        """Return log P_f(m) of ``codes`` ``(..., M or 1, C)``, ``(..., M)``."""
        leading, count = codes.shape[:-2], codes.shape[-2]
        flat = codes.reshape(-1, count, codes.shape[-1])
        found = np.empty((len(flat), self.members))
        for f, density in enumerate(self.label_densities):
            own = np.flatnonzero(np.array(self.folds) == f)
            for m in own if count > 1 else own[:1]:
                of_member = flat[:, m if count > 1 else 0]
                log_p = density.log_prob(np.empty((len(flat), 0)), of_member)
                found[:, own if count == 1 else m] = log_p[:, None] if count == 1 else log_p
        return found.reshape(*leading, self.members)

    @torch.no_grad()
    def sample(self, sample_shape: Shape = (), generator: Generator | None = None) -> Tensor:
        generator, shape = generator_of(generator), torch.Size(sample_shape)
        n = shape.numel()
        codes = np.empty((n, self.members, len(self.sizes)))
        for m, f in enumerate(self.folds):
            codes[:, m] = self.label_densities[f].sample_rows(n, generator).codes
        rows = torch.empty(n, self.members, *self.event_shape, dtype=torch.float64)
        rows[..., self.of_labels] = torch.from_numpy(codes)
        if self.conditional is not None:
            given = torch.from_numpy(codes)
            rows[..., self.of_numbers] = self.conditional.sample((), generator, given).double()
        return rows.reshape(*shape, self.members, *self.event_shape)

    @classmethod
    def restored(
        cls, description: Description, state: Mapping[str, Tensor], restore: Restore
    ) -> LabelledPopulation:
        """Return the population of a checkpoint.

        Args:
            description: the description.
            state: the tensors, by name.
            restore: restores the density of the numbers.
        """
        about = dict(description)
        own, to_real = about.pop("labelled"), ToReal.of(description)
        ordered, count = to_real.part(own["places"]), len(to_real.label_places)
        labels = [
            GaussianMixture.with_state(ToReal(), below(f"labels.{f}.", state)).mixture
            for f in range(max(own["folds"]) + 1)
        ]
        conditional: GivenLabels | None = None
        if inner := below("conditional.", state):
            if about["model"] == "mixture":
                of_rows = {**about, **ordered.part(range(count, len(own["places"]))).description}
            else:
                of_rows = {**about, **ordered.description, "context": count}
            conditional = cast("GivenLabels", restore(of_rows, inner))
        return cls(conditional, labels, own["folds"], to_real, own["places"])
