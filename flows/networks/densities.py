"""The interface of all models: M densities of rows, as functions of NumPy arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from flows.core.arrays import Array, Whole
from flows.core.rows import with_values
from flows.networks.to_real import ToReal

Description = dict[str, Any]  # how to build a model again, as JSON
# From indices of rows (r,) and values of their unknown number (r, K) to log-densities (r, K, M)
Along = Callable[[Whole, Array], Array]
# Returns the densities with a description and the tensors of a file
Restore = Callable[[Description, Mapping[str, Tensor]], "Densities"]


class Densities(ABC):
    """M densities over one space, called members, and their weights in the ensemble.

    ``score`` returns the members' log-densities of rows, and ``draw`` draws rows from each member.
    Rows are NumPy arrays in the user's units. A file holds the ``description`` and the tensors of
    ``state_dict``.

    Attributes:
        description: how to build the model again, as JSON.
        history: the curves of the training by name; empty without networks.
        record: how a population outside of a table was trained; ``None`` if it was not, and for
            the density of a table, which has the record beside the members.
    """

    description: Description
    history: dict[str, Array]
    record: Any = None

    # Whether ``score`` takes rows with gaps
    scores_gaps: bool = False
    # Whether codes of labels have probabilities; otherwise they are numbers
    scores_labels: bool = False
    # Rows that are scored at a time, to bound the memory
    chunk: ClassVar[int] = 10_000

    @property
    @abstractmethod
    def event_shape(self) -> torch.Size:
        """The shape of a point: of a row without its context."""

    @property
    @abstractmethod
    def members(self) -> int:
        """The number of members M."""

    @property
    def network_count(self) -> int:
        """The number of members that are networks; they are the first members."""
        return self.members

    @property
    @abstractmethod
    def member_weights(self) -> Tensor:
        """The weights of the members in the ensemble, ``(M,)``, which sum to 1."""

    @property
    def to_real(self) -> ToReal:
        """The map from the user's units to the real line."""
        return ToReal()

    @abstractmethod
    def state_dict(self) -> Mapping[str, Tensor]:
        """Return the tensors of the members by name."""

    def take(self, members: Sequence[int]) -> Densities:
        """Return the densities of some members, with weights that sum to 1.

        Args:
            members: the indices of the members, in rising order.

        Raises ``NotImplementedError`` for a model that is not an automatic fit of a table.
        """
        raise NotImplementedError(f"{type(self).__name__} does not take members apart")

    def score(
        self,
        rows: Any,
        *,
        most: int | None = None,
        on_rows: Callable[[int], object] = lambda count: None,
    ) -> Array:
        """Return the members' log-densities of rows, ``(n, M)``, in nats.

        ``chunk`` rows are scored at a time. If the members score gaps, a row with gaps (``NaN``)
        has the log-density of its known values; otherwise its result is undefined.

        Args:
            rows: ``(n, *event)``, shared by all members, or ``(n, M, *event)``, one set per member.
                Rows of a density with a context hold the context first.
            most: a smaller number of rows to score at a time.
            on_rows: called with the number of rows after each chunk, such as ``bar.update``.
        """
        found, size = [], min(self.chunk, most or self.chunk)
        for start in range(0, max(1, len(rows)), size):
            found.append(self.score_chunk(rows[start : start + size]))
            on_rows(len(found[-1]))
        return np.concatenate(found)

    @abstractmethod
    def score_chunk(self, rows: Any) -> Array:
        """Return the log-densities of few rows, ``(n, M)``; ``score`` has the argument."""

    def along(self, rows: Array, columns: Whole) -> Along:
        """Return the log-densities of rows that lack one number, as a function of this number.

        The function may be called many times, for the nodes of a quadrature.

        Args:
            rows: the rows in the user's units, ``(n, D)``.
            columns: the column of numbers that each row lacks, ``(n,)``.
        """

        def log_q(own: Whole, x: Array) -> Array:
            whole = with_values(rows[own], columns[own], x)
            return self.score(whole).reshape(*x.shape, self.members)

        return log_q

    @abstractmethod
    def draw(self, n: int, generator: Generator) -> Array:
        """Draw ``n`` rows from each member, ``(n, M, *event)``.

        Args:
            n: the number of rows.
            generator: the source of the draws.
        """

    def draw_ensemble(self, n: int, generator: Generator) -> Array:
        """Draw independent rows of the ensemble, ``(n, *event)``.

        For each row, one member is chosen with the ``member_weights`` as probabilities.

        Args:
            n: the number of rows.
            generator: the source of the draws.
        """
        member = self.choose_members(n, generator)
        drawn = self.draw(int(np.bincount(member).max(initial=0)), generator)
        return drawn[order_within(member), member]

    def choose_members(self, n: int, generator: Generator) -> Whole:
        """Draw the members of n rows of the ensemble, ``(n,)``.

        Args:
            n: the number of rows.
            generator: the source of the draws.
        """
        weights = self.member_weights.double().cpu().numpy()
        return np.asarray(generator.choice(self.members, size=n, p=weights / weights.sum()))

    @abstractmethod
    def parameters_per_member(self) -> int:
        """Return the number of trainable parameters of one network."""


def order_within(member: Whole) -> Whole:
    """Return how many earlier rows have the same member, for each row, ``(n,)``.

    Args:
        member: the member of each row, ``(n,)``.
    """
    found = np.empty(len(member), np.int64)
    for m in np.unique(member):
        own = np.flatnonzero(member == m)
        found[own] = np.arange(len(own))
    return found
