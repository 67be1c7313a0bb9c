"""A fold of the rows: what is learned and what is held out, gaps filled, and preprocessed."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array, Whole, as_points, subsample
from flows.core.rows import Rows, codes_of
from flows.core.seeds import numpy_generator
from flows.core.settings import Recipe
from flows.core.threads import one_thread
from flows.mixtures.fitting import few_rows
from flows.mixtures.gaussian_mixture import GaussianMixture, context_filler
from flows.mixtures.mixture import Mixture
from flows.networks.preprocessing import Preprocessing
from flows.networks.to_real import ToReal
from flows.recipe.mass import Possible
from flows.recipe.noise import NeighbourNoise, PointNoise
from flows.recipe.regularisation import Regularisation

BITS = 20  # of training points, so that they are the same on every machine


class Learned(NamedTuple):
    """What the recipe learns from.

    Args:
        rows: the rows ``(n, D)`` in the user's units, ``NaN`` in gaps.
        to_real: their map to the real line.
        given: the number of first columns that networks are given; 0 for none.
        is_context: whether the given columns are the context x of p(y | x), which has no density.
            Otherwise they hold codes of labels, with a density of their own.
        groups: integers ``(n,)``: rows with equal numbers share a fold. By default, equal rows do.
        copies: the index of the first copy of each row, ``(n,)``; ``None`` if no row is a copy.
        seed: the seed of the folds and of the draws in gaps.
        recipe: the numbers of the recipe.
        possible: tells which rows ``(n, D)`` meet the constraints of the table; ``None`` without
            constraints. The constraints of a density with a context are applied given x, later.
    """

    rows: Array
    to_real: ToReal
    given: int = 0
    is_context: bool = False
    groups: Any = None
    copies: Whole | None = None
    seed: int = 0
    recipe: Recipe = Recipe()
    possible: Possible | None = None

    @property
    def context(self) -> int:
        """The number of first columns that the density is given."""
        return self.given if self.is_context else 0

    @property
    def labels(self) -> int:
        """The number of first columns that hold codes of labels with a density of their own."""
        return 0 if self.is_context else self.given


class Fold:
    """The training rows and the held-out rows of a fold, in the user's units.

    Everything that is fitted for the fold is fitted to these training rows: the mixture that
    completes rows with gaps, the preprocessings, the members, and the references.

    With a target, only the context of the target has gaps. A gap is drawn given the known values of
    the context alone, since the target is unknown when the density is used.

    In a table with labels, the labels come first. They have a density of their own, and networks
    are given their indicators. A gap is drawn given all known values of its row.

    Args:
        whole: what the recipe learns from: the rows of all folds.
        fold_of: the number of the fold in which each row is held out, ``(n,)``; -1 for none.
        number: the number of this fold.

    Attributes:
        to_real, given, context, labels, seed, recipe, possible: those of ``whole``.
        sizes: the numbers of labels of the columns of labels.
        label_density: the density of the labels, which ``MixtureCandidate`` fits; ``None`` before.
        train: the indices of the training rows, ``(t,)``: all rows that are not held out, or
            ``recipe.train_rows`` rows that are not held out (``few_rows``).
        different: the indices into ``train`` of the rows without their copies.
        held_out: the indices of the held-out rows, ``(h,)``.
        learned, unseen: the training rows ``(t, D)`` and the held-out rows ``(h, D)``.
        completions: the number of completions per training row; 1 if no row has a gap.
        completed: the completions of the training rows, ``(t completions, D)``; the completions of
            a row are adjacent.
        process_points: the number of inducing points of the processes of targets; 0 for none.
    """

    def __init__(self, whole: Learned, fold_of: Whole, number: int) -> None:
        self.number, self.seed, self.to_real = number, whole.seed, whole.to_real
        self.given, self.context, self.labels = whole.given, whole.context, whole.labels
        self.recipe, self.possible = whole.recipe, whole.possible
        self.sizes = tuple(self.to_real.label_counts[: self.labels])
        self.label_density: Mixture | None = None
        self.train = np.flatnonzero(fold_of != number)
        self.train = self.train[few_rows(whole.rows[self.train], self.recipe.train_rows)]
        self.different = np.arange(len(self.train))
        if whole.copies is not None:
            self.different = np.unique(whole.copies[self.train], return_index=True)[1]
        self.held_out = np.flatnonzero(fold_of == number)
        self.learned, self.unseen = whole.rows[self.train], whole.rows[self.held_out]
        has_gaps = np.isnan(self.learned).any()
        self.completions = self.recipe.completions(len(self.train)) if has_gaps else 1
        self.completed, _ = self.complete(self.learned, self.completions)
        self._prepared: dict[str, PreparedFold] = {}
        count, of_labels = len(whole.rows), any(self.to_real.label_counts[self.context :])
        is_few = self.context and count <= self.recipe.process_rows and not of_labels
        self.process_points = min(self.recipe.process_points, count // 2) if is_few else 0

    def scaler(self) -> Preprocessing:
        """Return the map of the numbers of the rows to the real line, standardised."""
        numbers = range(self.labels, self.learned.shape[1])
        to_real = self.to_real.part(numbers) if self.labels else self.to_real
        preprocessing = Preprocessing((len(numbers),), 1, to_real)
        if numbers:
            preprocessing.fit_scaler(self.learned[:, None, self.labels :])
        return preprocessing

    def mapped(self, rows: Array, preprocessing: Preprocessing) -> tuple[Rows, Array]:
        """Return the numbers of rows after a preprocessing and the codes of their labels.

        Also return log dz/dx of the numbers, ``(n, D)``; ``NaN`` in gaps.

        Args:
            rows: rows ``(n, C + D)`` in the user's units, ``NaN`` in gaps.
            preprocessing: the map of the numbers, which acts on single columns.
        """
        z = slopes = rows[:, self.labels :]
        if z.shape[1]:
            z, slopes = preprocessing.map_known(z)
        return Rows(z, self.codes(rows), self.sizes), slopes

    def codes(self, rows: Array) -> Whole:
        """Return the codes of the labels of rows ``(n, D)``, ``(n, C)``; -1 in gaps."""
        return codes_of(rows[:, : self.labels], self.sizes)

    def log_labels(self, rows: Array) -> Array:
        """Return the log-probabilities of the labels of complete rows ``(n, D)``, ``(n,)``."""
        if self.label_density is None:
            return np.zeros(len(rows))
        return self.label_density.log_labels(self.codes(rows))

    @cached_property
    def checked(self) -> Whole:
        """The indices into the held-out rows of the rows that checks use."""
        return subsample(np.arange(len(self.held_out)), self.recipe.check_rows)

    @cached_property
    def filler(self) -> GaussianMixture:
        """The mixture for draws in gaps; it is fitted when it is first used."""
        if self.context:  # as the density (``TargetPopulation.of``)
            contexts = self.learned[:, : self.context]
            return context_filler(contexts, self.to_real, self.seed, self.recipe)
        own = self.learned, self.to_real, self.labels
        return GaussianMixture.fit_filler(*own, recipe=self.recipe)

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

    The preprocessing is fitted to the first completion of each training row. ``points`` ``(W, N)``
    are all completions of the training rows after the preprocessing, rounded to ``BITS``, in
    torch's default precision.

    Args:
        fold: the fold.
        name: the preprocessing: ``"margins"``, ``"whiten"``, ``"process"`` (residuals of a linear
            regression, standardised by Gaussian processes), or ``"raw"`` for none.
    """

    def __init__(self, fold: Fold, name: str) -> None:
        self.fold, self.name = fold, name
        self.preprocessing = Preprocessing(fold.learned.shape[1:], 1, fold.to_real, fold.given)
        self.preprocessing.add_margins()
        self.preprocessing.add_whitening()
        first = fold.completed[:: fold.completions]
        fitted = {"margins": name == "margins", "whiten": name in ("whiten", "process")}
        more = fold.context - self.preprocessing.labels if name == "process" else 0
        self.preprocessing.fit(first[:, None], **fitted, more=more)
        size = fold.recipe.piece_rows
        pieces = np.split(fold.completed, range(size, len(fold.completed), size))
        points = torch.cat([self.preprocessing(as_points(each))[0][0] for each in pieces], dim=1)
        if fold.process_points:
            self.preprocessing.add_processes(fold.process_points)
        if name == "process":
            points = self._fit_processes(points)
        mantissa, exponent = torch.frexp(points)
        few_bits = torch.ldexp((mantissa * 2**BITS).round() / 2**BITS, exponent)
        self.points = few_bits.to(torch.get_default_dtype())

    def _fit_processes(self, points: Tensor) -> Tensor:
        """Fit the processes to the training rows, each once, and return the points after them.

        Each training row is mapped by the processes without the row and its copies. The inducing
        points are drawn from the mixture of the context; the noise of targets is normal.

        Args:
            points: the completions of the training rows before the processes, ``(W, N)``.
        """
        fold, context = self.fold, self.fold.context
        _, places, owner = np.unique(fold.learned, axis=0, return_index=True, return_inverse=True)
        generator = numpy_generator(fold.seed, "completion", fold.number, 2)
        drawn = fold.filler.sample_rows(fold.process_points, generator)
        middle = self.preprocessing.restore(torch.zeros(1, len(points), 1, dtype=torch.float64))
        rows = middle[0].T.repeat(len(drawn), 1).numpy()
        rows[:, :context] = drawn
        inducing = self.preprocessing(as_points(rows))[0][0]
        inputs = self.preprocessing.inputs
        inducing[inputs:] = torch.from_numpy(generator.standard_normal(inducing[inputs:].shape))
        owners = torch.from_numpy(owner.ravel().repeat(fold.completions))
        first = torch.from_numpy(places * fold.completions)
        with one_thread():
            for process in self.preprocessing.processes:
                points = process.fit(points[:, first], inducing[: process.feature], owners, points)
        return points

    def by_column(self) -> Preprocessing:
        """Return the fitted maps of the numbers that act on single columns."""
        own = self.preprocessing.part(range(self.preprocessing.labels, self.preprocessing.dim))
        if self.name != "margins":
            own.margins = None
        return own

    @cached_property
    def of_points(self) -> PointNoise:
        """The noise of each point given the inputs."""
        return PointNoise(self.points.double().numpy().T, self.preprocessing.inputs)

    @cached_property
    def of_neighbours(self) -> NeighbourNoise:
        """The noise with the shape of the neighbourhood; neighbours are found at the first use.

        Neighbours need not share their labels, of which each may have few rows. After the
        whitening, they must: residuals do not tell labels apart, whose noise may differ.
        """
        points = self.points.double().numpy().T
        different = self.fold.completions * self.fold.different
        inputs = self.preprocessing.inputs
        return NeighbourNoise(points, different, inputs, 0 if self.name == "whiten" else inputs)

    def noise_of(self, regularisation: Regularisation) -> NeighbourNoise | PointNoise:
        """Return the noise of the training rows; it is set up at the first use."""
        return self.of_points if regularisation.is_separate else self.of_neighbours

    def visit(
        self, regularisation: Regularisation, count: int, generator: np.random.Generator
    ) -> Tensor:
        """Return ``count`` training rows in random order with new noise, ``(W, count)``.

        For each row, one of its completions is chosen at random.

        Args:
            regularisation: its noise.
            count: the number of rows.
            generator: the source of the order, the choices and the noise.
        """
        completions = self.fold.completions
        order = generator.permutation(len(self.fold.train))[:count]
        if completions > 1:
            order = order * completions + generator.integers(completions, size=len(order))
        noise = self.noise_of(regularisation)
        visited = noise.visit(order, regularisation.noise, generator)
        return torch.from_numpy(visited.T).to(self.points.dtype)
