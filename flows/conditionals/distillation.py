"""A fit in short: margins and a mixture of Gaussians, both fitted to the fit's own samples.

It says where to look and is never the answer: its conditionals are closed-form, so it proposes
values of unknown columns, and the density itself then weighs them (``unknowns.py``).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.stats import norm

from flows.bijections import Margins
from flows.bijections.chain import Chain
from flows.conditionals.labels import narrowed, stretched
from flows.core.arrays import Array
from flows.mixtures.fitting import fit_mixture
from flows.tables.columns import WHOLE, Column
from flows.tables.duplicates import first_copies
from flows.tables.rounding import dequantise
from flows.tables.to_real import ToReal

SAMPLES = 10_000  # of the fit
COMPONENTS, ROUNDS = 24, 50  # of the mixture, and of its fit
RIDGE = 1e-4  # added to the variances of normal scores
RANGE = (0.001, 0.999)  # the samples between these quantiles span the range of a column


class Distilled:
    """Normal scores z of every column, and a mixture of Gaussians of them.

    Labels are spread over cells that are all one wide; ``labels.py`` stretches the outer ones.
    ``samples`` ``(n, D)`` are drawn from the fit, with codes for labels. ``low`` and ``high``
    ``(D,)`` are the ends of the columns' ranges.
    """

    def __init__(self, columns: Sequence[Column], samples: Array) -> None:
        self.columns = list(columns)
        self.low, self.high = np.quantile(samples, RANGE, axis=0)
        self.samples = samples
        # Samples of whole columns were rounded; the density is of what they were before
        spread = [each if each.kind in WHOLE else replace(each, step=None) for each in columns]
        x = torch.from_numpy(dequantise(spread, samples, first_copies(samples), 0).T.copy())[
            :, None, None
        ]
        self.maps = [Chain([ToReal([column]), Margins(1, 1)]) for column in columns]
        for one, values in zip(self.maps, x, strict=True):
            one.initialize(values)
        z = np.stack([self._along(d, each[0, 0].numpy())[0] for d, each in enumerate(x)], axis=1)
        self.mixture = fit_mixture(z, COMPONENTS, ridge=RIDGE, iterations=ROUNDS)

    def scores(self, d: int, x: Array) -> tuple[Array, Array]:
        """Return the normal scores of values ``x`` of column ``d``, and log dz/dx of each."""
        if not (labels := self.columns[d].labels):
            return self._along(d, x)
        boxed, log_narrowing = narrowed(x, len(labels) - 1)
        z, log_slope = self._along(d, boxed)
        return z, log_slope + log_narrowing

    def values(self, d: int, z: Array) -> tuple[Array, Array]:
        """Return the values of column ``d`` with normal scores ``z``, and log dx/dz of each.

        They are not rounded. One that is too large for a float, or at a bound but for rounding, has
        no density: its slope is 0.
        """
        x, log_slope = self._along(d, z, inverse=True)
        low, high = self.columns[d].bounds
        low = max(low + np.finfo(float).tiny, np.nextafter(low, high))
        inside = (low < x) & (x < np.nextafter(high, low))
        if labels := self.columns[d].labels:
            x, log_stretch = stretched(np.where(inside, x, 0.0), len(labels) - 1)
            log_slope = log_slope + log_stretch
        return x, np.where(inside, log_slope, -np.inf)

    def log_margin(self, d: int, x: Array) -> Array:
        """Return the log-density of values ``x`` of column ``d`` alone; of labels, log-shares."""
        if labels := self.columns[d].labels:
            count = np.bincount(self.samples[:, d].astype(np.int64), minlength=len(labels))
            share = (count + 0.5) / (len(self.samples) + 0.5 * len(labels))
            return np.log(share[x.astype(np.int64)])
        z, log_slope = self.scores(d, x)
        return norm.logpdf(z) + log_slope

    @torch.no_grad()
    def _along(self, d: int, x: Array, *, inverse: bool = False) -> tuple[Array, Array]:
        """Map values of any shape to normal scores of column ``d`` or, with ``inverse``, back."""
        one, points = self.maps[d], torch.from_numpy(x.reshape(1, 1, -1))
        z, log_slope = one.inverse(points) if inverse else one.forward(points)
        return z.numpy().reshape(x.shape), log_slope.numpy().reshape(x.shape)
