"""Mixtures with closed-form conditionals, to compare our answers with.

Each is a mixture of Gaussians of the scores z of the columns. A score is a normal score, or the
value itself::

    log q(x_u | x_o) = log q(z_u | z_o) + sum over d in u of log dz_d / dx_d
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from flows.bijections import Margins
from flows.core.arrays import Array
from flows.mixtures.mixture import Mixture, patterns
from flows.tables.posterior.distillation import RANGE

DRAWS = 4_000  # for quantiles


@dataclass(frozen=True)
class ClosedForm:
    """A ``mixture`` of scores, the ``margins`` that map to scores, and the ``ranges`` ``(D,)``."""

    mixture: Mixture
    margins: Margins
    ranges: Array

    @classmethod
    def fit(
        cls, train: Array, fit: Callable[[Array], Mixture], *, margins: bool = False
    ) -> ClosedForm:
        """Fit the mixture with ``fit`` to training rows ``(n, D)``, or to their normal scores."""
        maps = Margins(1, train.shape[1])  # the identity until it is fitted
        if margins:
            maps.initialize(torch.from_numpy(train.T.copy())[:, None])
        low, high = np.quantile(train, RANGE, axis=0)
        return cls(fit(np.ascontiguousarray(normal_scores(maps, train)[0])), maps, high - low)

    def scores(self, rows: Array) -> tuple[Array, Array]:
        """Return z and log dz/dx of every value, ``(n, D)`` each."""
        return normal_scores(self.margins, rows)

    def log_conditional(self, rows: Array, unknown: NDArray[np.bool_]) -> Array:
        """Return ``log q(x_u | x_o)`` in nats, ``(n,)``; ``unknown`` ``(n, D)`` selects u."""
        z, log_slope = self.scores(rows)
        found = np.empty(len(rows))
        for u, own in patterns(np.where(unknown, np.nan, z), len(z)):
            conditional = self.mixture.conditional(z[own], u)
            found[own] = conditional.log_prob(z[own][:, u]) + log_slope[own][:, u].sum(axis=1)
        return found

    def quantiles(self, rows: Array, levels: Array) -> Array:
        """Return the quantiles at ``levels`` of every gap, ``(gaps, levels)``, row by row."""
        gaps, rng = np.isnan(rows), np.random.default_rng(0)
        z = self.scores(np.where(gaps, 0.0, rows))[0]
        found = []
        for row, u in zip(z, gaps, strict=True):
            conditional = self.mixture.conditional(np.tile(row, (DRAWS, 1)), u)
            drawn = conditional.sample(rng.random(DRAWS), rng.standard_normal((DRAWS, u.sum())))
            points = np.tile(row, (len(levels), 1))
            points[:, u] = np.quantile(drawn, levels, axis=0)  # an increasing map keeps quantiles
            x, _ = self.margins.inverse(torch.from_numpy(points.T.copy())[:, None])
            found.append(x[u, 0].numpy())
        return np.concatenate(found)

    def surprise(self, rows: Array) -> Array:
        """Return the surprise of each value, ``(n, D)``, as defined by ``Surprise``."""
        z, log_slope = self.scores(rows)
        found = np.empty(rows.shape)
        for d, log_level in enumerate(-np.log(3 * self.ranges)):
            one = np.arange(len(self.ranges)) == d
            others = self.mixture.conditional(z, ~one)
            log_margin = others.log_evidence + log_slope[:, d]
            log_rest = self.log_conditional(rows, np.tile(one, (len(rows), 1)))
            found[:, d] = np.logaddexp(log_margin, log_level) - np.log(2) - log_rest
        return found


def normal_scores(margins: Margins, rows: Array) -> tuple[Array, Array]:
    """Return the scores z of ``rows`` ``(n, D)`` and log dz/dx of each value, ``(n, D)`` each."""
    z, log_slope = margins(torch.from_numpy(rows.T.copy())[:, None])
    return z[:, 0].T.numpy(), log_slope.T.numpy()
