"""How close a density is to the truth.

Log-likelihoods, divergences, and the classifier that knows both densities.

Marks: p is the true density, q a model; log-densities in nats, sums in float64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array, as_tensor
from flows.core.mixture import Truth
from flows.core.population import Population, ensemble_log_prob


@torch.no_grad()
def log_density(model: Population, points: Array | Tensor) -> Array:
    """``log q`` in nats, float64 ``(n, M)``.

    Of rows ``(n, *event)`` that all members share or ``(n, M, *event)``, one set a member.
    """
    chunks = model.points(points).split(model.chunk)
    return np.concatenate([model.log_prob(chunk).double().cpu().numpy() for chunk in chunks])


def true_log_density(truth: Truth, rows: Array) -> Array:
    """``log p`` in nats, ``(n, 1)``, of rows ``(n, *event)``.

    Cut like a model's, so that the truth as a model has the very same numbers.
    """
    chunks = np.split(rows, range(Population.chunk, len(rows), Population.chunk))
    return np.concatenate([truth.log_prob(chunk) for chunk in chunks])[:, None]


@torch.no_grad()
def squared_radius(model: Population, rows: Array) -> Array:
    """``|f(x)|^2``, float64 ``(n, M)``, of rows ``(n, *event)``.

    Here ``f`` is a flow's map to noise.
    """
    chunks = as_tensor(rows).split(Population.chunk)
    return np.concatenate(
        [model.encode(chunk).double().flatten(2).square().sum(2).numpy() for chunk in chunks]
    )


def strict_mean(values: Array) -> Array:
    """The mean over the first axis; ``NaN`` where a single value is not finite.

    Never drops or clips one.
    """
    finite = np.isfinite(values).all(axis=0)
    return np.where(finite, np.where(np.isfinite(values), values, 0.0).mean(axis=0), np.nan)


def ensemble(log_q: Array, weights: Tensor | None = None) -> Array:
    """Log-density of the mixture of the members, ``(n, 1)`` of ``(n, M)``.

    By their ``weights`` (without: equal ones).
    """
    return ensemble_log_prob(torch.from_numpy(log_q), weights).numpy()[:, None]


def divergence(log_p: Array, log_q: Array) -> Array:
    """Monte Carlo ``E_p[log p - log q]`` per member, ``(M,)``.

    From ``log_p`` ``(n, 1)`` or ``(n, M)`` and ``log_q`` ``(n, M)`` on draws from p.
    """
    return strict_mean(log_p - log_q)


def area_under_roc(ones: Array, zeros: Array) -> float:
    """How often a score of ``ones`` is above one of ``zeros``, ties counting half.

    The area under the ROC curve of a classifier with these scores.
    """
    ordered = np.sort(zeros)
    return float(
        sum(np.searchsorted(ordered, ones, side=side).mean() for side in ("left", "right"))
        / (2 * len(zeros))
    )


def exact_auc(ratio_on_p: Array, ratio_on_q: Array) -> float:
    """Area under the ROC curve of the best classifier of p against q.

    Its score is ``log p - log q``; 0.5 if they are equal.

    ``ratio_on_p`` and ``ratio_on_q`` ``(n,)`` are its scores on draws from p and from q. ``NaN``
    where one is not finite. Source: Neyman and Pearson 1933: no classifier does better than the
    likelihood ratio.
    """
    finite = np.isfinite(ratio_on_p).all() and np.isfinite(ratio_on_q).all()
    return area_under_roc(ratio_on_p, ratio_on_q) if finite else float("nan")
