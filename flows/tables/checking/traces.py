"""Traces of single training rows in the networks that learned from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from flows.core.arrays import Array, Mask, Whole
from flows.tables.checking.rows import CheckedRows
from flows.tables.posterior.array_density import ArrayDensity


class Traces(NamedTuple):
    """What members remember of their training rows.

    Args:
        scores: the memorisation score of each row in nats, ``(n,)``, by the kind of the members,
            ``"networks"`` and ``"mixtures"``; ``NaN`` for a row with a gap, and for a row that no
            member of the kind learned from, or all did.
        auc: the probability that a network gives one of its training rows a higher density than one
            of its held-out rows, the mean over networks; ``NaN`` without networks.
        error: the standard error of ``auc`` for the number of rows; copies count as one row.
    """

    scores: dict[str, Array]
    auc: float
    error: float


def trace(density: ArrayDensity, rows: CheckedRows) -> Traces:
    """Return the traces of training rows.

    The memorisation score of row i (van den Burg and Williams, arXiv 2106.03216)::

        M_i = mean log q_m(x_i) over members m that learned from i - the mean over all others

    Args:
        density: the density, with a record.
        rows: the training rows.
    """
    assert density.record is not None
    members = density.record.members
    complete = np.flatnonzero(~np.isnan(rows.values).any(axis=1))
    log_q = np.empty((0, len(members)))
    if len(complete):
        log_q = density.log_density(rows.values[complete], rows.values[complete])
    unseen = rows.fold[complete, None] == np.array([each.fold for each in members])
    are_networks = np.array([each.steps is not None for each in members])
    scores = {}
    for kind, which in (("networks", are_networks), ("mixtures", ~are_networks)):
        scores[kind] = np.full(len(rows.values), np.nan)
        scores[kind][complete] = _scores(log_q[:, which], unseen[:, which])
    own = log_q[:, are_networks], unseen[:, are_networks], rows.copies[complete]
    return Traces(scores, *mean_auc(*own))


def _scores(log_q: Array, unseen: Mask) -> Array:
    """Return the memorisation scores of rows, ``(n,)``.

    Args:
        log_q: the log-densities of members, ``(n, M)``.
        unseen: which rows a member did not learn from, ``(n, M)``.
    """
    away, learned = unseen.sum(axis=1), (~unseen).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.where(unseen, 0.0, log_q).sum(axis=1) / learned
        return np.asarray(own - np.where(unseen, log_q, 0.0).sum(axis=1) / away)


def mean_auc(scores: Array, unseen: Mask, copies: Whole | None = None) -> tuple[float, float]:
    """Return the mean AUC of M networks between seen and unseen rows, and its standard error.

    The error is that of DeLong, DeLong and Clarke-Pearson (1988), summed over networks row by row,
    because networks share the rows.

    Args:
        scores: the log-densities of n rows under each network, ``(n, M)``.
        unseen: which rows a network did not learn from, ``(n, M)``.
        copies: the row that each row repeats, ``(n,)``; by default, no row is a copy.
    """
    aucs, influence = [], np.zeros(len(scores))
    for own, away in zip(scores.T, unseen.T, strict=True):
        n, m = int((~away).sum()), int(away.sum())
        if not n or not m:
            continue
        overall = scipy.stats.rankdata(own)
        beaten = np.empty(len(own))  # the share of the other group that a row wins against
        beaten[~away] = (overall[~away] - scipy.stats.rankdata(own[~away])) / m
        beaten[away] = 1 - (overall[away] - scipy.stats.rankdata(own[away])) / n
        aucs.append(beaten[~away].mean())
        influence += (beaten - aucs[-1]) / np.where(away, m, n)
    if not aucs:
        return np.nan, np.nan
    own = influence if copies is None else np.bincount(copies, influence)
    return float(np.mean(aucs)), float(np.sqrt(np.square(own).sum()) / len(aucs))
