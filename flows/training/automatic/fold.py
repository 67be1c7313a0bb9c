"""A fold of the automatic recipe: its training rows, its held-out rows and the scaler of both."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from flows.core.arrays import Array, Whole, as_points, as_rows, subsample
from flows.core.seeds import numpy_generator
from flows.mixtures import completion
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.networks.network_population import DensityPopulation
from flows.networks.preprocessing import Preprocessing

TRAIN_ROWS = 50_000  # training rows of a fold, at most
CHECK_ROWS = 2_000  # rows that checks and curves are computed on, at most


class Fold:
    """The training rows and the held-out rows of a fold, scaled once with the same scaler::

        z = (x - m) / s,    m and s: mean and standard deviation of the known training values

    x is the value after the map for the kind of its column. Everything that is fitted for the fold
    is fitted to these training rows: the scaler, the mixture that completes rows with gaps, the
    preprocessings of its members (``prepared_fold.py``), and the references.

    With a context, only the context has gaps. A gap is drawn given the known values of the context
    alone, since the point is unknown when the density is used.

    Args:
        population: the population to train, which has the map to the real line.
        rows: rows ``(n, D)`` in the user's units. A gap is ``NaN``.
        fold_of: the number of the fold in which each row is held out, ``(n,)``; -1 for none.
        number: the number of this fold.
        seed: the seed of the draws in gaps.
        copies: the row that each row repeats, ``(n,)``, if rows are repeated by their weights.

    Attributes:
        train: the indices of the training rows, ``(t,)``: all rows that are not held out, or
            ``TRAIN_ROWS`` of these (``completion.few_rows``).
        different: the indices into ``train`` of the rows without their copies, if rows are repeated
            by their weights, otherwise of all rows.
        held_out: the indices of the held-out rows, ``(h,)``.
        context: the number of first columns that the density is given; 0 for none.
        contexts: the context of the training rows in the user's units, ``(t, context)``.
        units: the preprocessing from the user's units to scaled rows.
        train_rows, held_out_rows: the scaled rows, ``(t, D)`` and ``(h, D)``, with their gaps.
        completions: the number of completions per training row; 1 if no row has a gap.
        completed: the completions of the training rows, ``(t completions, D)``; the completions of
            a row are adjacent.

    Raises ``ValueError``, which names the column, if a column is constant in the training rows.
    """

    def __init__(
        self,
        population: DensityPopulation,
        rows: Array,
        fold_of: Whole,
        number: int,
        seed: int,
        copies: Whole | None = None,
    ) -> None:
        self.number, self.seed, self.context = number, seed, population.context
        is_held_out = fold_of == number
        self.train = np.flatnonzero(~is_held_out)
        self.train = self.train[completion.few_rows(rows[self.train], TRAIN_ROWS)]
        self.different = np.arange(len(self.train))
        if copies is not None:
            self.different = np.unique(copies[self.train], return_index=True)[1]
        self.held_out = np.flatnonzero(is_held_out)
        self.units = Preprocessing(population.row_shape, 1, population.to_real, population.context)
        self.units.fit_scaler(rows[self.train][:, None])
        self.contexts = rows[self.train, : self.context]
        self.train_rows = self.scale(rows[self.train])
        self.held_out_rows = self.scale(rows[self.held_out])
        self.completions = completion.count_completions(self.train_rows, len(self.train))
        self.completed, _ = self.complete(self.train_rows, self.completions)

    def scale(self, rows: Array) -> Array:
        """Return scaled rows ``(n, D)`` for rows in the user's units; gaps stay ``NaN``."""
        return self.units.scale(rows[:, None])[:, 0]

    @cached_property
    def checked(self) -> Whole:
        """The indices into the held-out rows of the rows that checks use."""
        return subsample(np.arange(len(self.held_out)), CHECK_ROWS)

    @cached_property
    def mixture(self) -> Mixture:
        """The mixture for draws in gaps; it is fitted when it is first used."""
        if self.context:
            to_real = self.units.to_real.part(range(self.context))
            return GaussianMixture.fit_with_gaps(self.contexts, to_real, self.seed).mixture
        generator = numpy_generator(self.seed, "completion", self.number)
        return completion.fit_with_missing(self.train_rows, generator)

    def complete(self, rows: Array, count: int) -> tuple[Array, Array]:
        """Return ``count`` completions of each scaled row, and the log-densities of the draws.

        The completions are ``(n count, D)``; the completions of a row are adjacent. The
        log-densities, ``(n, count)``, are of the values in the gaps, in the user's units, and 0 for
        a row without a gap. They are also 0 with a context: the draws are from the distribution of
        the context, over which p(y | x) is averaged. The same rows have the same completions at
        every call.
        """
        completed, log_r = rows.repeat(count, axis=0), np.zeros(len(rows) * count)
        if (unknown := np.isnan(completed)).any():
            generator = numpy_generator(self.seed, "completion", self.number, 1)
            own = slice(0, self.context or None)
            completed[:, own], log_r = completion.draw_missing(
                self.mixture, completed[:, own], generator
            )
            log_r += (unknown * self.log_slopes(completed)).sum(axis=1)
            if self.context:
                log_r[:] = 0.0
        return completed, log_r.reshape(-1, count)

    def log_slopes(self, rows: Array) -> Array:
        """Return log dz/dx at the values z of scaled rows, ``(n, D)``; ``NaN`` in a gap.

        x is the value in the user's units.
        """
        return as_rows(self.units.log_slopes(as_points(rows)))
