"""The error that few rows leave in an answer: intervals from the answers of the folds.

The members of fold f learned without the rows of the fold, so their answers t_f show how an answer
changes with the rows. The grouped jackknife gives its standard error (Efron and Tibshirani 1993,
chapter 11)::

    s^2 = (F - 1) / F sum_f (t_f - mean t)^2 - noise
    interval = t +- sqrt((q c s)^2 + e^2)

F is the number of folds, q the quantile of Student's t with F - 1 degrees of freedom, and c a
factor: the folds share most of their rows, so s alone is too small. A study of known densities
chose c (``studies/few_rows``). Answers from draws have noise, which the answers from parts of the
draws show: its variance is taken out of s^2, but not more than half of s^2, and e is the half-width
of the interval that the draws leave in t. Without draws, both are 0.

A probability has its interval on the scale of the logit, where s becomes s / (t (1 - t)).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtri, stdtrit

from flows.core.arrays import Array, Mask
from flows.core.errors import UserError
from flows.tables.posterior.array_density import ArrayDensity

LEVEL = 0.95  # of the interval of a probability
FACTOR = 1.2  # c


class Interval(NamedTuple):
    """The ends of the intervals of answers; ``NaN`` without an interval."""

    low: Array
    high: Array


def ends_of(name: Any) -> tuple[str, str]:
    """Return the names of the columns of the ends of an interval."""
    return f"{name}_low", f"{name}_high"


def without_interval(density: ArrayDensity, lacks: Mask, is_filled: Mask) -> list[str]:
    """Return what to say about rows without an interval.

    Args:
        density: the density.
        lacks: which rows lack an interval, ``(n,)``.
        is_filled: the rows of ``ArrayDensity.fills_context``, ``(n,)``.
    """
    if not lacks.any():
        return []
    if len(density.views) < 3:
        return ["there is no interval: an interval needs members of two folds"]
    found = list[str]()
    for some, why in (
        (
            lacks & is_filled,
            "a model that was fitted to all rows fills unknown values and ranges "
            "of columns that are not targets",
        ),
        (
            lacks & ~is_filled,
            "the folds or the draws do not tell the error",
        ),
    ):
        if some.any():
            found.append(f"{some.sum()} of {len(lacks)} answers have no interval: {why}")
    return found


def check_level(level: float | None) -> None:
    """Raise ``UserError`` for a level of an interval that is not between 0 and 1."""
    if level is not None and not (isinstance(level, int | float) and 0 < level < 1):
        raise UserError(f"interval = {level!r}: must be between 0 and 1, such as {LEVEL}")


def interval(answers: Array, level: float, *, is_probability: bool = False) -> Interval:
    """Return the intervals for the error that few rows leave in answers.

    Args:
        answers: the answers ``(1 + B, 1 + F, ...)``: first from all draws, then from each of B
            parts of the draws, B = 0 without draws; in each, first of the ensemble, then of each of
            F folds.
        level: the level of the intervals, between 0 and 1.
        is_probability: whether the answers are probabilities; then 0 and 1 are their own intervals.

    Returns ends ``(...)``, ``NaN`` for fewer than two folds and for answers that are not finite.
    """
    own, folds, parts = answers[0, 0], answers[0, 1:], answers[1:]
    count = len(folds)
    if count < 2:
        return Interval(*np.full((2, *own.shape), np.nan))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        share = (count - 1) / count
        variance = share * np.square(folds - folds.mean(axis=0)).sum(axis=0)
        of_draws = np.zeros(own.shape)
        if len(parts):
            away = parts[:, 1:] - parts[:, 1:].mean(axis=1, keepdims=True)
            noise = share * away.var(axis=0, ddof=1).sum(axis=0) / len(parts)
            variance = np.maximum(variance - noise, variance / 2)
            of_draws = parts[:, 0].var(axis=0, ddof=1) / len(parts)
        of_rows = np.square(FACTOR * stdtrit(count - 1, (1 + level) / 2)) * variance
        width = np.sqrt(of_rows + np.square(ndtri((1 + level) / 2)) * of_draws)
        if not is_probability:
            found = np.where(np.isfinite(own), own + np.stack([-width, width]), np.nan)
            return Interval(*found)
        width = width / (own * (1 - own))
        found = expit(logit(own.clip(0, 1)) + np.stack([-width, width]))
        return Interval(*np.where((own == 0) | (own == 1), own, found))
