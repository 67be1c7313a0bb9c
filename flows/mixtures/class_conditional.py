"""The numbers of a row given its labels, under a mixture of latent classes."""

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

GAUSSIANS = ("weights", "means", "covariances")


class ClassConditional(Population):
    """The density of numbers given labels under latent classes, as a population of one member::

        p(x | c) = q(x, c) / q(c)

    ``flows/mixtures/latent_classes.py`` has q. ``log_prob`` takes numbers ``(n, D)`` and, as their
    context, codes of labels ``(n, C)``. ``score`` takes rows of codes, then numbers, with gaps, and
    returns the joint log-density of the known values.

    Args:
        classes: the mixture of the numbers after ``preprocessing``, and of the codes.
        preprocessing: the map of the numbers from the user's units to the units of ``classes``.

    Examples:
        >>> import numpy as np
        >>> from flows.mixtures.class_conditional import ClassConditional
        >>> from flows.mixtures.latent_classes import LatentClasses
        >>> from flows.mixtures.mixture import Mixture
        >>> from flows.networks.preprocessing import Preprocessing
        >>> mixture = Mixture.isotropic(np.array([[-1.0], [1.0]]), deviation=0.1)
        >>> classes = LatentClasses(mixture, [np.array([[0.9, 0.1], [0.1, 0.9]])])
        >>> model = ClassConditional(classes, Preprocessing((1,), 1))
        >>> [[first], [second]] = model.log_prob([[1.0], [1.0]], [[1], [0]]).exp()
        >>> round(float(first / second))
        9
    """

    scores_gaps = True
    weights: Tensor
    means: Tensor
    covariances: Tensor
    shares: Tensor

    def __init__(self, classes: LatentClasses, preprocessing: Preprocessing) -> None:
        sizes = [share.shape[1] for share in classes.shares]
        about = {"model": "classes", "context": len(sizes)}
        super().__init__(1, classes.mixture.means.shape[1:], about)
        self.sizes, self.classes, self.preprocessing = tuple(sizes), classes, preprocessing
        self._of_labels = classes.of_labels()
        arrays = {name: getattr(classes.mixture, name) for name in GAUSSIANS}
        arrays["shares"] = np.concatenate(classes.shares, axis=1)  # (K, labels of all columns)
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array.copy()))

    @property
    def context(self) -> int:
        return len(self.sizes)

    @torch.no_grad()
    def log_prob(self, value: Any, context: Any = None) -> Tensor:
        """Return log p(x | c), ``(n, 1)``, in nats, without gradients.

        Args:
            value: numbers x in the user's units, ``(n, D)`` or ``(n, 1, D)``.
            context: codes c of labels, ``(n, C)`` or ``(n, 1, C)``.
        """
        value = self.points(value).detach().double()
        x = value.reshape(-1, *self.event_shape).numpy()
        given = self.points(context, "context", (self.context,)).double().numpy()
        codes = codes_of(given.reshape(-1, self.context), self.sizes)
        z, log_det = self.preprocessing(as_points(x))
        log_q = self.classes.log_prob_of_complete(as_rows(z), codes) + log_det[0].numpy()
        log_q -= self._of_labels.log_prob_of_labels(codes)
        return torch.from_numpy(log_q).reshape(value.shape[:-1])

    @torch.no_grad()
    def score(self, value: Any) -> Tensor:
        """Return the joint log-densities of the known numbers and labels of rows, ``(n, 1)``.

        Args:
            value: rows of codes and numbers in the user's units, ``(n, C + D)`` or
                ``(n, 1, C + D)``, ``NaN`` in gaps.
        """
        value = self.points(value, shape=self.row_shape).detach().double()
        rows = value.reshape(-1, *self.row_shape).numpy()
        z, slopes = self.preprocessing.map_known(rows[:, self.context :])
        own = Rows(z, codes_of(rows[:, : self.context], self.sizes), self.sizes)
        log_q = self.classes.log_prob(own) + np.nansum(slopes, axis=1)
        return torch.from_numpy(log_q).reshape(value.shape[:-1])

    @torch.no_grad()
    def sample(
        self, sample_shape: Shape = (), generator: Generator | None = None, context: Any = None
    ) -> Tensor:
        """Draw numbers ``sample_shape + (n, 1, D)`` given codes ``context`` ``(n, 1 or M, C)``."""
        shape, generator = torch.Size(sample_shape), generator_of(generator)
        given = self.points(context, "context", (self.context,)).double().numpy()
        codes = codes_of(given.reshape(-1, self.context), self.sizes)
        numbers = self.classes.sample_numbers(np.tile(codes, (shape.numel(), 1)), generator)
        rows = torch.from_numpy(self.preprocessing.restore_rows(numbers))
        return rows.reshape(*shape, len(codes), 1, *self.event_shape)

    @classmethod
    def with_state(cls, to_real: ToReal, state: Mapping[str, Tensor]) -> ClassConditional:
        """Return the density with the tensors ``state``.

        Args:
            to_real: the map of all columns, those of labels first.
            state: the tensors, by name.
        """
        sizes = [size for size in to_real.label_counts if size]
        arrays = {name: state[name].numpy() for name in GAUSSIANS}
        shares = np.split(state["shares"].numpy(), np.cumsum(sizes)[:-1], axis=1)
        numbers = range(len(sizes), len(to_real.label_counts))
        preprocessing = Preprocessing((len(numbers),), 1, to_real.part(numbers))
        model = cls(LatentClasses(Mixture(**arrays), shares), preprocessing)
        model.load_state_dict(state)
        return model

    def extra_repr(self) -> str:
        return f"classes={len(self.weights)}, dim={self.event_shape[0]}"


def codes_of(x: Array, sizes: Sequence[int]) -> Whole:
    """Return the codes of the nearest labels of ``x`` ``(..., C)``; -1 for ``NaN``.

    ``sizes`` are the numbers of labels of the C columns.
    """
    codes = x.round().clip(0, np.array(sizes) - 1)
    return np.where(np.isnan(x), -1, codes).astype(np.int64)
