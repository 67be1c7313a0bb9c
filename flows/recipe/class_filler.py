"""Draws in the gaps of rows with labels, from a mixture of latent classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.core.arrays import Array, as_points, as_rows
from flows.core.rows import Rows
from flows.core.settings import Recipe
from flows.mixtures.class_conditional import codes_of
from flows.mixtures.latent_classes import LatentClasses
from flows.networks.preprocessing import Preprocessing
from flows.networks.to_real import ToReal


class ClassFiller:
    """Latent classes of rows that start with labels, which draw missing numbers and labels.

    Args:
        classes: the mixture of the scaled numbers and of the labels.
        preprocessing: the map of the numbers; ``None`` if there are no numbers.
    """

    def __init__(self, classes: LatentClasses, preprocessing: Preprocessing | None) -> None:
        self.classes, self.preprocessing = classes, preprocessing

    @classmethod
    def fit(cls, rows: Array, sizes: Sequence[int], to_real: ToReal, recipe: Recipe) -> ClassFiller:
        """Fit the mixture to rows with gaps.

        Args:
            rows: rows ``(n, C + D)`` in the user's units, ``NaN`` in gaps.
            sizes: the numbers of labels of the C columns of labels.
            to_real: the map of all columns to the real line.
            recipe: the numbers of the fit.
        """
        count, z, preprocessing = len(sizes), rows[:, len(sizes) :], None
        if z.shape[1]:
            own = to_real.part(range(count, rows.shape[1]))
            preprocessing = Preprocessing(z.shape[1:], 1, own)
            preprocessing.fit_scaler(z[:, None])
            z = preprocessing.scale(z[:, None])[:, 0]
        learned = Rows(z, codes_of(rows[:, :count], sizes), tuple(sizes))
        return cls(LatentClasses.fit_with_gaps(learned, recipe), preprocessing)

    def draw_missing(self, rows: Array, generator: np.random.Generator) -> tuple[Array, Array]:
        """Return rows with draws in their gaps, and the log-densities of the draws, ``(n,)``.

        Args:
            rows: rows ``(n, C + D)`` in the user's units, ``NaN`` in gaps.
            generator: the source of the draws.
        """
        sizes = tuple(share.shape[1] for share in self.classes.shares)
        count, unknown = len(sizes), np.isnan(rows)
        z = rows[:, count:]
        if self.preprocessing is not None:
            z = self.preprocessing.map_known(z)[0]
        given = Rows(z, codes_of(rows[:, :count], sizes), sizes)
        drawn, log_r = self.classes.draw_missing(given, generator)
        filled = np.where(unknown[:, :count], drawn.codes, rows[:, :count])
        if self.preprocessing is None:
            return filled, log_r
        points = as_points(drawn.numbers)
        slopes = as_rows(self.preprocessing.log_slopes(points))
        x = as_rows(self.preprocessing.inverse(points)[0])
        log_r = log_r + (unknown[:, count:] * slopes).sum(axis=1)
        return np.hstack([filled, np.where(unknown[:, count:], x, rows[:, count:])]), log_r
