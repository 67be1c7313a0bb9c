"""An ensemble: networks and mixtures with their weights, and the densities of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from flows.core.arrays import Array, Whole
from flows.core.checkpoint import below
from flows.core.rows import codes_of
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.networks.densities import Densities, Description, Restore
from flows.networks.population import Population
from flows.networks.to_real import ToReal


class Ensemble(Densities):
    """The members of several populations over one space, and their weights; immutable.

    Networks, if there are any, come first: ``networks`` and ``history`` are those of the first
    part. A file can hold parts that describe themselves: networks and mixtures.

    With labels, the parts are densities of the numbers x of a row given its labels c, and each
    member m has a density P_m of the labels::

        log q_m(c, x) = log P_m(c) + log p_m(x | c)

    Args:
        parts: the populations. A part of no numbers, of a table of labels alone, is not used.
        weights: the weights of all members, ``(M,)``, which sum to 1.
        labels: the density of the labels of each member, M densities; none without labels. The
            members of a fold share one.
        to_real: with labels, the map of all columns, in the order of the rows.
        places: with labels, the place in the rows of each column of labels, then of each column of
            numbers.

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
        places: Sequence[int] = (),
    ) -> None:
        self.parts, self.labels, self.places = list(parts), list(labels), list(places)
        self.weights = torch.as_tensor(weights, dtype=torch.float64).clone()
        self.ends = np.cumsum([part.members for part in parts]).tolist()
        self._to_real = parts[0].to_real if to_real is None else to_real
        self.history, self.scores_labels = parts[0].history, bool(labels)
        count = len(labels[0].shares) if labels else 0
        self.of_labels, self.of_numbers = self.places[:count], self.places[count:]
        # Labels are given, and draws of the numbers in gaps need them
        self.scores_gaps = all(part.scores_gaps for part in parts) and not (
            labels and self.of_numbers
        )
        described = [self._describe(k) for k in range(len(self.parts))]
        self.description = {}  # a file can hold members that describe themselves
        if all("model" in each for each in described):
            self.description = {**described[0], "parts": described[1:]}

    def placed(self, places: Sequence[int], to_real: ToReal) -> Ensemble:
        """Return the ensemble of rows with labels in another order.

        Args:
            places: for each column of labels, then for each column of numbers, its new place.
            to_real: the map of all columns in the new order.
        """
        return Ensemble(self.parts, self.weights, self.labels, to_real, places)

    @property
    def event_shape(self) -> torch.Size:
        return torch.Size([len(self.places)]) if self.labels else self.parts[0].event_shape

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
            sizes = [self.to_real.label_counts[d] for d in self.of_labels]
            codes = codes_of(rows[..., self.of_labels], sizes)
            found += self._log_labels(codes)
            rows = rows[..., self.places]  # labels first
            rows[..., : len(sizes)] = np.where(codes < 0, np.nan, codes)
            if not self.of_numbers:
                return found
        for part, end in zip(self.parts, self.ends, strict=True):
            own = slice(end - part.members, end)
            score = part.score_given if self.labels else part.score_chunk
            found[:, own] += score(rows if rows.shape[1] == 1 else rows[:, own])
        return found

    def draw(self, n: int, generator: Generator) -> Array:
        if not self.labels:
            return np.concatenate([part.draw(n, generator) for part in self.parts], axis=1)
        rows = np.empty((n, self.members, *self.event_shape))
        for part, end in zip(self.parts, self.ends, strict=True):
            own = range(end - part.members, end)
            codes = [self.labels[m].sample_rows(n, generator).codes for m in own]
            given = np.stack(codes, axis=1).astype(np.float64)
            rows[:, own[0] : end, self.of_labels] = given
            if self.of_numbers:
                rows[:, own[0] : end, self.of_numbers] = part.draw_given(given, generator)
        return rows

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

    # Files

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors by name; each part has those of its own densities of labels."""
        state = {"weights": self.weights}
        for k, part in enumerate(self.parts):
            own = dict(part.state_dict())
            if self.labels:
                inner = own if self.of_numbers else {}
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
        if not self.of_numbers:
            about = {"model": "labels"}
        about.pop("context", None)
        own = self._labels_of(k)
        places = {id(each): f for f, each in enumerate(different(own))}
        about["labelled"] = {"folds": [places[id(each)] for each in own], "places": self.places}
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
            found = []
            for f in range(max(each["labelled"]["folds"]) + 1):
                tensors = below(f"labels.{f}.", own)
                density = GaussianMixture.with_state(ToReal(), tensors)
                key = b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))
                found.append(known.setdefault(key, density.mixture))
            labels += [found[f] for f in each["labelled"]["folds"]]
            parts.append(_restored_given_labels(each, own, found[0], restore))
        if not labels:
            return cls(parts, state["weights"])
        to_real, places = ToReal.of(first), first["labelled"]["places"]
        return cls(parts, state["weights"], labels, to_real, places)


def different(densities: Sequence[Mixture]) -> list[Mixture]:
    """Return the densities without those that occurred before."""
    return [*{id(each): each for each in densities}.values()]


def _restored_given_labels(
    described: Description, state: Mapping[str, Tensor], labels: Mixture, restore: Restore
) -> Population:
    """Return the density of the numbers given the labels of a part of an ensemble."""
    about, to_real = dict(described), ToReal.of(described)
    own, count = about.pop("labelled"), len(to_real.label_places)
    if not (inner := below("conditional.", state)):
        return GaussianMixture.of(labels)  # of labels alone
    ordered = to_real.part(own["places"])
    if about["model"] == "mixture":
        of_rows = {**about, **ordered.part(range(count, len(own["places"]))).description}
    else:
        of_rows = {**about, **ordered.description, "context": count}
    return cast(Population, restore(of_rows, inner))
