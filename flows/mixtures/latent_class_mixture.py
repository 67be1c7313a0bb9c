"""A mixture of latent classes as a model of a table with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from flows.core.arrays import Array, Shape, Whole, as_points, as_rows
from flows.core.rows import Rows
from flows.core.seeds import generator_of
from flows.mixtures.latent_classes import LatentClasses
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population
from flows.networks.preprocessing import Preprocessing
from flows.networks.to_real import ToReal
from flows.tables.cells import log_density_in_cell

GAUSSIANS = ("weights", "means", "covariances")


class LatentClassMixture(Population):
    """A mixture of latent classes of a table with labels, as a population with one member.

    ``flows/mixtures/latent_classes.py`` has the formula: a class has a Gaussian of the numbers and
    probabilities of the labels. The log-density of a row with a real number in place of a code is
    the log-density of the numbers and of the nearest label, plus ``log_density_in_cell``
    (``flows/tables/cells.py``). So the integral over the cell of a label is the probability of the
    label, as for networks.

    Args:
        classes: the mixture of the numbers after ``preprocessing``, and of the codes of the labels.
        label_counts: the number of labels of each column, 0 for a column of numbers.
        preprocessing: the map of the columns of numbers from the user's units to the units of
            ``classes``; ``None`` if the table has labels only.

    The arrays are kept in float64. Samples have codes for labels.

    Examples:
        >>> import flows, numpy as np
        >>> from flows.mixtures.latent_classes import LatentClasses
        >>> from flows.mixtures.latent_class_mixture import LatentClassMixture
        >>> no_numbers = flows.Mixture(np.ones(1), np.empty((1, 0)), np.empty((1, 0, 0)))
        >>> classes = LatentClasses(no_numbers, [np.array([[0.2, 0.5, 0.3]])])
        >>> model = LatentClassMixture(classes, [3], None)
        >>> model.log_prob([[1.0]]).exp()  # one row, one member
        tensor([[0.5000]], dtype=torch.float64)
    """

    scores_gaps = True
    weights: Tensor
    means: Tensor
    covariances: Tensor
    shares: Tensor

    def __init__(
        self,
        classes: LatentClasses,
        label_counts: Sequence[int],
        preprocessing: Preprocessing | None,
    ) -> None:
        super().__init__(1, (len(label_counts),), {})
        self.numbers, self.labels = numbers_and_labels(label_counts)
        self.sizes = tuple(label_counts[d] for d in self.labels)
        self.classes, self.preprocessing = classes, preprocessing
        arrays = {name: getattr(classes.mixture, name) for name in GAUSSIANS}
        arrays["shares"] = np.concatenate(classes.shares, axis=1)  # (K, labels of all columns)
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array.copy()))

    @torch.no_grad()
    def log_prob(self, value: Any) -> Tensor:
        """Return log-densities ``(n, 1)`` in nats, without gradients.

        Args:
            value: rows in the user's units, ``(n, D)`` or ``(n, 1, D)``.
        """
        value = self.points(value).detach().double()
        rows = value.reshape(-1, *self.event_shape).numpy()
        x, codes = rows[:, self.numbers], codes_of(rows[:, self.labels], self.sizes)
        # Integrals over cells ask for many adjacent rows with the same numbers and codes
        known = np.column_stack([x, codes])
        is_new = np.append(True, (known[1:] != known[:-1]).any(axis=1))[: len(known)]
        log_q = self._log_prob(x[is_new], codes[is_new])[is_new.cumsum() - 1]
        for d, size in zip(self.labels, self.sizes, strict=True):
            log_q = log_q + log_density_in_cell(rows[:, d], size - 1, len(self.labels))
        return torch.from_numpy(log_q).reshape(value.shape[:-1])

    @torch.no_grad()
    def score(self, value: Any) -> Tensor:
        """Return log-densities of known numbers with probabilities of known labels, ``(n, 1)``.

        Args:
            value: rows in the user's units, ``(n, D)`` or ``(n, 1, D)``, ``NaN`` in gaps.
        """
        value = self.points(value).detach().double()
        rows = value.reshape(-1, *self.event_shape).numpy()
        z, slopes = rows[:, self.numbers], np.zeros((len(rows), 0))
        if self.preprocessing is not None:
            z, slopes = self.preprocessing.map_known(z)
        own = Rows(z, codes_of(rows[:, self.labels], self.sizes), self.sizes)
        log_q = self.classes.log_prob(own) + np.nansum(slopes, axis=1)
        return torch.from_numpy(log_q).reshape(value.shape[:-1])

    def _log_prob(self, x: Array, codes: Whole) -> Array:
        """Return the log-densities ``(n,)`` of numbers in the user's units and codes."""
        if self.preprocessing is None:
            return self.classes.log_prob_of_complete(x, codes)
        z, log_det = self.preprocessing(as_points(x))
        return self.classes.log_prob_of_complete(as_rows(z), codes) + log_det[0].numpy()

    @torch.no_grad()
    def sample(self, sample_shape: Shape = (), generator: Generator | None = None) -> Tensor:
        shape = torch.Size(sample_shape)
        numbers, codes = self.classes.sample(shape.numel(), generator_of(generator))
        rows = np.empty((len(codes), *self.event_shape))
        rows[:, self.labels] = codes
        if self.preprocessing is not None:
            rows[:, self.numbers] = self.preprocessing.restore_rows(numbers)
        return torch.from_numpy(rows).reshape(*shape, 1, *self.event_shape)

    @classmethod
    def with_state(cls, to_real: ToReal, state: Mapping[str, Tensor]) -> LatentClassMixture:
        """Return the mixture with the tensors ``state``.

        Args:
            to_real: the map of all columns from the user's units to the real line.
            state: the tensors, by name.
        """
        numbers, labels = numbers_and_labels(to_real.label_counts)
        arrays = {name: state[name].numpy() for name in GAUSSIANS}
        ends = np.cumsum([to_real.label_counts[d] for d in labels])[:-1]
        shares = np.split(state["shares"].numpy(), ends, axis=1)
        preprocessing = None
        if numbers:
            preprocessing = Preprocessing((len(numbers),), 1, to_real.part(numbers))
        classes = LatentClasses(Mixture(**arrays), shares)
        model = cls(classes, to_real.label_counts, preprocessing)
        model.load_state_dict(state)
        return model

    def extra_repr(self) -> str:
        return f"classes={len(self.weights)}, dim={self.event_shape[0]}"


def numbers_and_labels(label_counts: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the indices of the columns of numbers, and the indices of the columns of labels."""
    numbers = [d for d, count in enumerate(label_counts) if not count]
    return numbers, [d for d, count in enumerate(label_counts) if count]


def codes_of(x: Array, sizes: Sequence[int]) -> Whole:
    """Return the codes of the nearest labels of ``x`` ``(n, C)``; -1 for ``NaN``.

    ``sizes`` are the numbers of labels of the C columns.
    """
    codes = x.round().clip(0, np.array(sizes) - 1)
    return np.where(np.isnan(x), -1, codes).astype(np.int64)
