"""Log-likelihoods, divergences from the truth, and the best classifier of data against samples.

p is the true density, called the truth, and q is the density of a model. Log-densities are in
nats, and sums are computed in float64.
"""

import numpy as np
import torch

from flows.core.arrays import Array, as_tensor
from flows.core.truth import Truth
from flows.networks.population import Population


def true_log_density(truth: Truth, rows: Array) -> Array:
    """Return ``log p`` in nats, ``(n, 1)``, of rows ``(n, *event)``.

    Rows are scored in the same chunks as for a mixture. So the truth gets exactly the same numbers
    when it is scored as a mixture.
    """
    chunks = np.split(rows, range(Population.chunk, len(rows), Population.chunk))
    return np.concatenate([truth.log_prob(chunk) for chunk in chunks])[:, None]


@torch.no_grad()
def squared_radius(population: Population, rows: Array) -> Array:
    """Return ``|f(x)|^2`` in float64, ``(n, M)``, for rows x ``(n, *event)``; f is ``encode``."""
    noise = (population.encode(chunk).double() for chunk in as_tensor(rows).split(Population.chunk))
    return np.concatenate([z.flatten(2).square().sum(2).numpy() for z in noise])


def strict_mean(values: Array) -> Array:
    """Return the mean over the first axis; ``NaN`` if a value is not finite.

    No value is dropped or clipped.
    """
    return np.where(np.isfinite(values), values, np.nan).mean(axis=0)


def divergence(log_p: Array, log_q: Array) -> Array:
    """Return the Monte Carlo estimate of KL(p || q) = ``E_p[log p - log q]`` in nats, ``(M,)``.

    Args:
        log_p: true log-densities of draws from p, ``(n, 1)`` or ``(n, M)``.
        log_q: log-densities of each member for the same draws, ``(n, M)``.

    The divergence of a member is ``NaN`` if one of its values is not finite.

    Examples:
        >>> import numpy as np
        >>> from flows.evaluation.likelihood import divergence
        >>> x = np.random.default_rng(0).normal(size=(10_000, 1))  # p = N(0, 1), q = N(1, 1)
        >>> divergence(-(x**2) / 2, -((x - 1) ** 2) / 2).round(1)  # KL = 1 / 2
        array([0.5])
    """
    return strict_mean(log_p - log_q)


def divergence_error(log_p: Array, log_q: Array) -> Array:
    """Return the standard error of ``divergence`` for n independent draws, ``(M,)``."""
    with np.errstate(invalid="ignore"):  # infinities, which give NaN
        return (log_p - log_q).std(axis=0, ddof=1) / np.sqrt(len(log_q))


def area_under_roc(ones: Array, zeros: Array) -> float:
    """Return the share of pairs in which the score from ``ones`` is above the score from ``zeros``.

    Ties count half. This is the area under the ROC curve of a classifier with these scores.
    """
    ordered = np.sort(zeros)
    below = np.searchsorted(ordered, ones, side="left").mean()
    not_above = np.searchsorted(ordered, ones, side="right").mean()
    return float((below + not_above) / (2 * len(zeros)))


def exact_auc(ratio_on_p: Array, ratio_on_q: Array) -> float:
    """Return the area under the ROC curve of the best classifier of p against q.

    The area is 0.5 if p and q are equal. The score of the classifier is ``log p - log q``;
    ``ratio_on_p`` and ``ratio_on_q`` ``(n,)`` are its scores on draws from p and from q. The area
    is ``NaN`` if a score is not finite. Source: Neyman and Pearson 1933 (no classifier is better
    than the likelihood ratio).
    """
    finite = np.isfinite(ratio_on_p).all() and np.isfinite(ratio_on_q).all()
    return area_under_roc(ratio_on_p, ratio_on_q) if finite else float("nan")
