"""The map from the numbers of a table to normal scores, and back, on rows."""

from __future__ import annotations

import torch

from flows.bijections import Margins
from flows.core.arrays import Array


def scores_of(margins: Margins, rows: Array) -> tuple[Array, Array]:
    """Return the scores z of ``rows`` ``(n, D)`` and log dz/dx of each value, ``(n, D)`` each."""
    z, log_slope = margins(torch.from_numpy(rows.T.copy())[:, None])
    return z[:, 0].T.numpy(), log_slope.T.numpy()


def rows_of(margins: Margins, scores: Array) -> Array:
    """Return the rows ``(n, D)`` with these ``scores``."""
    x, _ = margins.inverse(torch.from_numpy(scores.T.copy())[:, None])
    return x[:, 0].T.numpy()
