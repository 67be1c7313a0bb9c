"""How close a density is to the truth: log-likelihoods, divergences, and the classifier that knows both densities.

Marks: p is the true density, q a model; log-densities in nats, sums in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from flows.population import Population
from flows.targets import Array


@torch.no_grad()
def log_density(model: Population, points: Array | Tensor) -> Array:
    """``log q`` in nats, float64 ``(n, M)``, of points ``(n, D)`` that all members share or ``(n, M, D)``, one set a member."""
    points = torch.as_tensor(points)
    points = points.unsqueeze(1) if points.ndim == 2 else points
    return np.concatenate([model.log_prob(chunk).double().numpy() for chunk in points.split(model.chunk)])


@torch.no_grad()
def squared_radius(noise: Callable[[Tensor], Tensor], points: Array) -> Array:
    """``|f(x)|^2``, float64 ``(n, M)``, of points ``(n, D)``. ``noise`` is that of a flow: ``(n, M, D)`` of ``(n, 1, D)``."""
    chunks = torch.as_tensor(points).unsqueeze(1).split(Population.chunk)
    return np.concatenate([noise(chunk).double().square().sum(2).numpy() for chunk in chunks])


def strict_mean(values: Array) -> Array:
    """The mean over the first axis; ``NaN`` where a single value is not finite. Never drops or clips one."""
    finite = np.isfinite(values).all(axis=0)
    return np.where(finite, np.where(np.isfinite(values), values, 0.0).mean(axis=0), np.nan)


def ensemble(log_q: Array) -> Array:
    """Log-density of the equal mixture of the members, ``(n, 1)`` of ``(n, M)``."""
    with np.errstate(invalid="ignore"):  # a NaN stays a NaN; it is counted elsewhere
        return np.logaddexp.reduce(log_q, axis=1, keepdims=True) - np.log(log_q.shape[1])


def divergence(log_p: Array, log_q: Array) -> Array:
    """Monte Carlo ``E_p[log p - log q]`` per member, ``(M,)``, from ``log_p`` ``(n, 1)`` or ``(n, M)`` and ``log_q`` ``(n, M)`` on draws from p."""
    return strict_mean(log_p - log_q)


def exact_auc(ratio_on_p: Array, ratio_on_q: Array) -> float:
    """Area under the ROC curve of the best classifier of p against q, whose score is ``log p - log q``; 0.5 if they are equal.

    ``ratio_on_p`` and ``ratio_on_q`` ``(n,)`` are its scores on draws from p and from q. ``NaN`` where one is not finite.
    Source: Neyman and Pearson 1933: no classifier does better than the likelihood ratio.
    """
    scores = np.concatenate([ratio_on_p, ratio_on_q])
    if not np.isfinite(scores).all():
        return float("nan")
    labels = np.repeat([1, 0], [len(ratio_on_p), len(ratio_on_q)])
    return float(roc_auc_score(labels, scores))
