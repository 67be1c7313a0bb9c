"""An ensemble: networks and mixtures with their weights, and the densities of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from flows.core.arrays import Array, Whole
from flows.core.checkpoint import CheckpointError, below
from flows.core.rows import codes_of
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.networks import building
from flows.networks.densities import Along, Densities, Description, Restore, order_within
from flows.networks.encoding import CODES
from flows.networks.network_population import NetworkPopulation
from flows.networks.population import Population
from flows.networks.to_real import ToReal


class Ensemble(Densities):
    """The members of several populations over one space, and their weights; immutable.

    Networks, if there are any, come first: ``networks`` and ``history`` are those of the first
    part. A file can hold parts that describe themselves: networks and mixtures.

    With labels, which are the first columns of a row, the parts are densities of the numbers x
    given the labels c, and each member m has a density P_m of the labels::

        log q_m(c, x) = log P_m(c) + log p_m(x | c)

    Args:
        parts: the populations. A part of no numbers, of a table of labels alone, is not used.
        weights: the weights of all members, ``(M,)``, which sum to 1.
        labels: the density of the labels of each member, M densities; none without labels. The
            members of a fold share one.
        to_real: with labels, the map of all columns.

    Examples:
        >>> import flows
        >>> from flows.recipe.ensemble import Ensemble
        >>> networks = flows.build(flows.NSF(couplings=2, hidden=4), (2,), members=3)
        >>> mixture = flows.GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.0], [0.0, 1.0]]])
        >>> ensemble = Ensemble([networks, mixture], [0.2, 0.2, 0.2, 0.4])
        >>> ensemble.score([[0.0, 0.0]]).shape
        (1, 4)
    """

    def __init__(
        self,
        parts: Sequence[Population],
        weights: Any,
        labels: Sequence[Mixture] = (),
        to_real: ToReal | None = None,
    ) -> None:
        self.parts, self.labels = list(parts), list(labels)
        self.weights = torch.as_tensor(weights, dtype=torch.float64).clone()
        self.ends = np.cumsum([part.members for part in parts]).tolist()
        self._to_real = parts[0].to_real if to_real is None else to_real
        self.history, self.scores_labels = parts[0].history, bool(labels)
        self.sizes = labels[0].sizes if labels else ()
        self.numbers = parts[0].event_shape.numel()
        # Labels are given, and draws of the numbers in gaps need them
        self.scores_gaps = all(part.scores_gaps for part in parts) and not (labels and self.numbers)
        described = [self._describe(k) for k in range(len(self.parts))]
        self.description = {}  # a file can hold members that describe themselves
        if all("model" in each for each in described):
            self.description = {**described[0], "parts": described[1:]}

    @property
    def event_shape(self) -> torch.Size:
        own = self.parts[0].event_shape
        return torch.Size([len(self.sizes) + self.numbers]) if self.labels else own

    @property
    def members(self) -> int:
        return int(self.ends[-1])

    @property
    def networks(self) -> Population:
        """The population of networks."""
        return self.parts[0]

    @property
    def network_count(self) -> int:
        return sum(part.network_count for part in self.parts)

    @property
    def member_weights(self) -> Tensor:
        return self.weights

    @property
    def to_real(self) -> ToReal:
        return self._to_real

    def parameters_per_member(self) -> int:
        return self.networks.parameters_per_member()

    def score_chunk(self, rows: Any) -> Array:
        rows = np.asarray(rows, np.float64)
        rows = rows if rows.ndim > 1 + len(self.event_shape) else rows[:, None]
        found = np.zeros((len(rows), self.members))
        if self.labels:
            codes = codes_of(rows[..., : len(self.sizes)], self.sizes)
            found += self._log_labels(codes)
            rows = rows.copy()
            rows[..., : len(self.sizes)] = np.where(codes < 0, np.nan, codes)
            if not self.numbers:
                return found
        for part, end in zip(self.parts, self.ends, strict=True):
            own = slice(end - part.members, end)
            score = part.score_given if self.labels else part.score_chunk
            found[:, own] += score(rows if rows.shape[1] == 1 else rows[:, own])
        return found

    def along(self, rows: Array, columns: Whole) -> Along:
        log_labels = np.zeros((len(rows), self.members))
        if self.labels:
            codes = codes_of(rows[:, : len(self.sizes)], self.sizes)
            log_labels = self._log_labels(codes[:, None])
            given = np.where(codes < 0, np.nan, codes)
            rows = np.concatenate([given, rows[:, len(self.sizes) :]], axis=1)
        parts = [
            part.along_given(rows, columns) if self.labels else part.along(rows, columns)
            for part in self.parts
        ]

        def log_q(own: Whole, x: Array) -> Array:
            found = np.concatenate([part(own, x) for part in parts], axis=2)
            return found + log_labels[own, None]

        return log_q

    def draw(self, n: int, generator: Generator) -> Array:
        if not self.labels:
            return np.concatenate([part.draw(n, generator) for part in self.parts], axis=1)
        rows, count = np.empty((n, self.members, *self.event_shape)), len(self.sizes)
        for part, end in zip(self.parts, self.ends, strict=True):
            own = range(end - part.members, end)
            codes = [self.labels[m].sample_rows(n, generator).codes for m in own]
            given = np.stack(codes, axis=1).astype(np.float64)
            rows[:, own[0] : end, :count] = given
            if self.numbers:
                rows[:, own[0] : end, count:] = part.draw_given(given, generator)
        return rows

    def draw_given(self, codes: Whole, member: Whole, generator: Generator) -> Array:
        """Draw the numbers of rows given their labels, ``(n, D)``, which are not rounded.

        Args:
            codes: the codes of the labels, ``(n, C)``.
            member: the member that draws each row, ``(n,)``.
            generator: the source of the draws.
        """
        found, place = np.empty((len(codes), self.numbers)), order_within(member)
        for part, end in zip(self.parts, self.ends, strict=True):
            first = end - part.members
            own = np.flatnonzero((member >= first) & (member < end))
            if not (len(own) and self.numbers):
                continue
            # Each member draws its own rows, side by side; one with fewer rows draws others, too
            given = np.zeros((place[own].max() + 1, part.members, codes.shape[1]))
            given[place[own], member[own] - first] = codes[own]
            drawn = part.draw_given(given, generator, is_rounded=False)
            found[own] = drawn[place[own], member[own] - first]
        return found

    def _log_labels(self, codes: Whole) -> Array:
        """Return log P_m of codes ``(n, M or 1, C)``, ``(n, M)``."""
        found, are_shared = np.empty((len(codes), self.members)), codes.shape[1] == 1
        for density in different(self.labels):
            own = [m for m, each in enumerate(self.labels) if each is density]
            if are_shared:
                found[:, own] = density.log_labels(codes[:, 0])[:, None]
            for m in [] if are_shared else own:
                found[:, m] = density.log_labels(codes[:, m])
        return found

    def take(self, members: Sequence[int]) -> Ensemble:
        parts, own = list[Population](), np.asarray(members)
        for part, end in zip(self.parts, self.ends, strict=True):
            first = end - part.members
            some = (own[(first <= own) & (own < end)] - first).tolist()
            if some and isinstance(part, NetworkPopulation):
                parts.append(building.of_members(part, some))
            elif some:  # a mixture, which has one member
                parts.append(part)
        weights, labels = self.weights[own], [self.labels[m] for m in members if self.labels]
        return Ensemble(parts, weights / weights.sum(), labels, self.to_real)

    # Files

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors by name; each part has those of its own densities of labels."""
        state = {"weights": self.weights}
        for k, part in enumerate(self.parts):
            own = dict(part.state_dict())
            if self.labels:
                inner = own if self.numbers else {}
                own = {f"conditional.{name}": each for name, each in inner.items()}
                for f, density in enumerate(different(self._labels_of(k))):
                    tensors = GaussianMixture.of(density).state_dict()
                    own |= {f"labels.{f}.{name}": each for name, each in tensors.items()}
            state |= {f"parts.{k}.{name}": each for name, each in own.items()}
        return state

    def _labels_of(self, k: int) -> list[Mixture]:
        """Return the density of the labels of each member of part ``k``."""
        return self.labels[self.ends[k] - self.parts[k].members : self.ends[k]]

    def _describe(self, k: int) -> Description:
        """Return the description of part ``k``."""
        about = dict(self.parts[k].description)
        if not self.labels:
            return about
        if not self.numbers:
            about = {"model": "labels"}
        own = self._labels_of(k)
        places = {id(each): f for f, each in enumerate(different(own))}
        about["labelled"] = [places[id(each)] for each in own]
        return about | self.to_real.description

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
        parts, labels, known = list[Population](), list[Mixture](), dict[bytes, Mixture]()
        for k, each in enumerate(described):
            own = below(f"parts.{k}.", state)
            if "labelled" not in each:
                parts.append(cast(Population, restore(each, own)))
                continue
            if isinstance(each["labelled"], dict):
                raise CheckpointError(CODES)
            found = []
            for f in range(max(each["labelled"]) + 1):
                tensors = below(f"labels.{f}.", own)
                density = GaussianMixture.with_state(ToReal(), tensors)
                key = b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))
                found.append(known.setdefault(key, density.mixture))
            labels += [found[f] for f in each["labelled"]]
            parts.append(_restored_given_labels(each, own, found[0], restore))
        if not labels:
            return cls(parts, state["weights"])
        return cls(parts, state["weights"], labels, ToReal.of(first))


def different(densities: Sequence[Mixture]) -> list[Mixture]:
    """Return the densities without those that occurred before."""
    return [*{id(each): each for each in densities}.values()]


def _restored_given_labels(
    described: Description, state: Mapping[str, Tensor], labels: Mixture, restore: Restore
) -> Population:
    """Return the density of the numbers given the labels of a part of an ensemble."""
    about = dict(described)
    del about["labelled"]
    if not (inner := below("conditional.", state)):
        return GaussianMixture.of(labels)  # of labels alone
    if about["model"] == "mixture":
        to_real = ToReal.of(about)
        about |= to_real.part(range(len(labels.sizes), len(to_real.names))).description
    return cast(Population, restore(about, inner))
