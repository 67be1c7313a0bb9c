"""Stacking: the weights of a mixture of densities that maximise its out-of-fold likelihood.

``l_ic`` is the log-density of row i under model c, which did not learn from the row::

    w = argmax  sum_i log sum_c w_c exp(l_ic),    w_c >= 0,  sum_c w_c = 1

The objective is concave, and expectation maximisation finds its maximum. It repeats the step::

    w_c <- mean_i  w_c exp(l_ic) / sum_k w_k exp(l_ik)

Sources: Smyth and Wolpert 1999 (Linearly combining density estimators via stacking); greedy
selection, Caruana et al. 2004.
"""

from __future__ import annotations

import numpy as np

from flows.core.arrays import Array, Whole, rounded
from flows.networks.population import ensemble_log_prob

STEPS = 300
DIGITS = 6  # of weights, so that they are the same on every machine
SMALL, ERRORS = 0.1, 2.0  # ``without_small``
ALONE = 0.02  # weight of the score of a single density beside the score of the mixture


def weights(log_q: Array) -> Array:
    """Return the weights w ``(C,)`` for the log-densities l ``(n, C)``."""
    w = np.full(log_q.shape[1], 1 / log_q.shape[1])
    shares = np.exp(log_q - log_q.max(axis=1, keepdims=True))
    for _ in range(STEPS):
        before, joint = w, shares * w
        w = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
        if (w == before).all():  # further steps would change nothing
            break
    w = rounded(w, DIGITS)
    return np.asarray(w / w.sum())


def without_small(log_q: Array, found: Array) -> Array:
    """Return the weights ``(C,)`` without small ones that the out-of-fold rows do not need.

    A density with a weight below ``SMALL`` is left out, the smallest first, if the mean score of
    the mixture falls by at most ``ERRORS`` standard errors of the difference. A density that is
    much wider than the others can spoil standard deviations with a weight of 1%.

    Args:
        log_q: the log-densities of the rows, ``(n, C)``.
        found: the weights of the densities, ``(C,)``.
    """
    for c in np.argsort(found):
        rest = np.flatnonzero((found > 0) & (np.arange(len(found)) != c))
        if not 0 < found[c] < SMALL or not len(rest):
            continue
        fewer = np.zeros(len(found))
        fewer[rest] = weights(log_q[:, rest])
        loss = ensemble_log_prob(log_q, found) - ensemble_log_prob(log_q, fewer)
        if loss.mean() <= ERRORS * loss.std() / np.sqrt(len(loss)):
            found = fewer
    return found


def member_weights(log_q: Array, fold: Whole, folds: int) -> Array:
    """Return the weights of the members of an ensemble, ``(M,)``, from rows that were held out.

    Member ``folds`` c + f is the density of setting c that did not learn from fold f. The score of
    a row under a setting is the log-density under the member of the row's fold.

    Args:
        log_q: the log-densities of the rows under all members, ``(n, M)``.
        fold: the folds of the rows, ``(n,)``.
        folds: the number of folds.
    """
    own = log_q.reshape(len(log_q), -1, folds)[np.arange(len(log_q)), :, fold]
    return per_member(weights(own), folds)


def per_member(weights: Array, folds: int) -> Array:
    """Return the weights of the members, ``(C folds,)``: the folds of a setting share its weight.

    ``weights`` ``(C,)`` are the weights of the settings.
    """
    return np.repeat(weights / folds, folds)


def chosen(log_q: Array, count: int) -> list[int]:
    """Select at most ``count`` of C densities whose mixture scores well; return sorted indices.

    The selection is greedy: each step adds the density that improves the mixture most. The score of
    the density alone counts a little, so that a good density is selected if no density improves the
    mixture much.
    """
    taken: list[int] = []

    def score(c: int) -> float:
        together = log_q[:, [*taken, c]]
        return (ensemble_log_prob(together, weights(together)) + ALONE * log_q[:, c]).sum()

    while len(taken) < min(count, log_q.shape[1]):
        taken.append(max((c for c in range(log_q.shape[1]) if c not in taken), key=score))
    return sorted(taken)
