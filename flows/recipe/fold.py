"""A fold of the rows: what is learned and what is held out, gaps filled, and preprocessed."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array, Whole, as_points, subsample
from flows.core.seeds import numpy_generator
from flows.core.settings import Recipe
from flows.mixtures import completion
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.networks.preprocessing import Preprocessing
from flows.networks.to_real import ToReal
from flows.recipe.noise import NeighbourNoise, PointNoise


class Fold:
    """The training rows and the held-out rows of a fold, in the user's units.

    Everything that is fitted for the fold is fitted to these training rows: the mixture that
    completes rows with gaps, the preprocessings, the members, and the references. With a context,
    only the context has gaps. A gap is drawn given the known values of the context alone, since the
    point is unknown when the density is used.

    Args:
        rows: all rows, ``(n, D)`` in the user's units. A gap is ``NaN``.
        fold_of: the number of the fold in which each row is held out, ``(n,)``; -1 for none.
        number: the number of this fold.
        to_real: the map to the real line.
        context: the number of first columns that the density is given; 0 for none.
        seed: the seed of the draws in gaps.
        copies: the row that each row repeats, ``(n,)``, if rows are repeated by their weights.
        recipe: the numbers of the recipe.

    Attributes:
        train: the indices of the training rows, ``(t,)``: all rows that are not held out, or
            ``recipe.train_rows`` of these (``completion.few_rows``).
        different: the indices into ``train`` of the rows without their copies, if rows are repeated
            by their weights, otherwise of all rows.
        held_out: the indices of the held-out rows, ``(h,)``.
        learned, unseen: the training rows ``(t, D)`` and the held-out rows ``(h, D)``.
        completions: the number of completions per training row; 1 if no row has a gap.
        completed: the completions of the training rows, ``(t completions, D)``; the completions of
            a row are adjacent.
    """

    def __init__(
        self,
        rows: Array,
        fold_of: Whole,
        number: int,
        to_real: ToReal,
        context: int = 0,
        seed: int = 0,
        copies: Whole | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        self.number, self.to_real, self.context, self.seed = number, to_real, context, seed
        self.recipe = recipe or Recipe()
        self.train = np.flatnonzero(fold_of != number)
        self.train = self.train[completion.few_rows(rows[self.train], self.recipe.train_rows)]
        self.different = np.arange(len(self.train))
        if copies is not None:
            self.different = np.unique(copies[self.train], return_index=True)[1]
        self.held_out = np.flatnonzero(fold_of == number)
        self.learned, self.unseen = rows[self.train], rows[self.held_out]
        has_gaps = np.isnan(self.learned).any()
        self.completions = self.recipe.completions(len(self.train)) if has_gaps else 1
        self.completed, _ = self.complete(self.learned, self.completions)
        self._prepared: dict[str, PreparedFold] = {}

    def preprocessing(self) -> Preprocessing:
        """Return a preprocessing of rows, which is not fitted."""
        return Preprocessing(self.learned.shape[1:], 1, self.to_real, self.context)

    @cached_property
    def checked(self) -> Whole:
        """The indices into the held-out rows of the rows that checks use."""
        return subsample(np.arange(len(self.held_out)), self.recipe.check_rows)

    @cached_property
    def filler(self) -> GaussianMixture:
        """The mixture for draws in gaps; it is fitted when it is first used."""
        if self.context:
            # The generator of the mixture that the density uses (``TargetPopulation.of``)
            rows, to_real = self.learned[:, : self.context], self.to_real.part(range(self.context))
            generator = np.random.default_rng(self.seed)
        else:
            rows, to_real = self.learned, self.to_real
            generator = numpy_generator(self.seed, "completion", self.number)
        return GaussianMixture.fit_with_gaps(
            rows,
            to_real,
            generator,
            is_spread=not self.context,  # known values of a context are not spread
            recipe=self.recipe,
        )

    def complete(self, rows: Array, count: int) -> tuple[Array, Array]:
        """Return ``count`` completions of each row, and the log-densities of the draws.

        The completions are ``(n count, D)``; the completions of a row are adjacent. The
        log-densities, ``(n, count)``, are of the values in the gaps, in the user's units, and 0 for
        a row without a gap. They are also 0 with a context: the draws are from the distribution of
        the context, over which p(y | x) is averaged. The same rows have the same completions at
        every call.
        """
        completed, log_r = rows.repeat(count, axis=0), np.zeros(len(rows) * count)
        if np.isnan(completed).any():
            generator = numpy_generator(self.seed, "completion", self.number, 1)
            own = slice(0, self.context or None)
            completed[:, own], log_r = self.filler.draw_missing(completed[:, own], generator)
            if self.context:
                log_r[:] = 0.0
        return completed, log_r.reshape(-1, count)

    def prepared(self, name: str) -> PreparedFold:
        """Return the fold after a preprocessing (``PreparedFold``), which is fitted once."""
        if name not in self._prepared:
            self._prepared[name] = PreparedFold(self, name)
        return self._prepared[name]


class PreparedFold:
    """A fold with one preprocessing, shared by all members with this fold and preprocessing.

    The preprocessing is fitted to the first completion of each training row. ``points`` ``(D, N)``
    are all completions of the training rows after the preprocessing, in torch's default precision.

    Args:
        fold: the fold.
        name: the preprocessing: ``"margins"``, ``"whiten"``, or ``"raw"`` for neither.
    """

    def __init__(self, fold: Fold, name: str) -> None:
        self.fold, self.name = fold, name
        self.preprocessing = fold.preprocessing()
        self.preprocessing.add_margins()
        self.preprocessing.add_whitening()
        first = fold.completed[:: fold.completions]
        self.preprocessing.fit(first[:, None], margins=name == "margins", whiten=name == "whiten")
        size = fold.recipe.piece_rows
        pieces = np.split(fold.completed, range(size, len(fold.completed), size))
        points = [self.preprocessing(as_points(piece))[0][0] for piece in pieces]
        self.points = torch.cat(points, dim=1).to(torch.get_default_dtype())

    @cached_property
    def by_column(self) -> Preprocessing:
        """The preprocessing without the maps that are not fitted, and without whitening."""
        own = copy.deepcopy(self.preprocessing)
        own.whiten = None
        if self.name != "margins":
            own.margins = None
        return own

    @cached_property
    def noise(self) -> NeighbourNoise | PointNoise:
        """The noise of the training rows; the neighbours are found at the first use."""
        points = self.points.double().numpy().T
        if self.fold.context:
            return PointNoise(points, self.fold.context)
        return NeighbourNoise(points, self.fold.completions * self.fold.different)

    def visit(self, level: float, count: int, generator: np.random.Generator) -> Tensor:
        """Return ``count`` training rows in random order with new noise, ``(D, count)``.

        For each row, one of its completions is chosen at random.

        Args:
            level: the level of the noise.
            count: the number of rows.
            generator: the source of the order, the choices and the noise.
        """
        completions = self.fold.completions
        order = generator.permutation(len(self.fold.train))[:count]
        if completions > 1:
            order = order * completions + generator.integers(completions, size=len(order))
        visited = self.noise.visit(order, level, generator)
        return torch.from_numpy(visited.T).to(self.points.dtype)
