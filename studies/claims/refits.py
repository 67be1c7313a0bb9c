"""Refits: how far is the log-density of a fit from that of a fit to new rows, and from the truth?

Each fit is the default fit of a table, ``flows.fit``. The cells also compare the out-of-fold score
of a fit with the score of fresh rows: the same held-out rows stop the training, select candidates
and set the weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from flows import fit
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.mixtures.mixture import Mixture
from flows.tables.posterior.array_density import ArrayDensity
from studies.claims.mixtures import mixture
from studies.tables import sources

RANDOM = "random"  # the name of a random mixture; other names are tables with a known truth


class Scored(NamedTuple):
    """A fit on fresh rows.

    Args:
        log_q: the log-density of the ensemble, ``(n,)``.
        sd: the standard deviation of the log-density over members, as in ``flows score``, ``(n,)``.
        by_fold: the log-density of the members that were trained without a fold, ``(n, folds)``.
        held_out: the mean out-of-fold log-density of the training rows.
        level: the mean true log-density of the same training rows.
    """

    log_q: Array
    sd: Array
    by_fold: Array
    held_out: float
    level: float


def refits(
    truth: str, seed: int, rows: int, fits: int, members: int, fresh: int, columns: int = 0
) -> dict[str, Array]:
    """Return the scores of ``compared``, one row per fit.

    Args:
        truth: ``"random"``, or a table of the study of tables with a known truth.
        seed: the seed of a random mixture, and of all rows.
        rows: the number of training rows of a fit.
        fits: the number of fits, each to rows of its own.
        members: the number of networks of a fit.
        fresh: the number of fresh rows.
        columns: the number of columns of a random mixture.
    """
    density = mixture(seed, columns) if truth == RANDOM else sources.load(truth).truth
    if density is None:
        raise ValueError(f"truth = {truth!r}: the table has no known truth")
    points = density.sample(fresh, numpy_generator(seed, "fresh"))
    scored = []
    for number in range(fits):
        drawn = density.sample(rows, numpy_generator(seed, "generate", number))
        scored.append(fitted(density, drawn, points, members, number))
    log_p = density.log_prob(points)
    found = [
        compared(own, [other for other in scored if other is not own], log_p) for own in scored
    ]
    return {str(name): column.to_numpy() for name, column in pd.DataFrame(found).items()}


def fitted(truth: Mixture, rows: Array, points: Array, members: int, seed: int) -> Scored:
    """Fit the density of ``rows``, and score ``points``."""
    found = fit(rows, members=members, seed=seed)
    density, record = ArrayDensity(found.population), found.record
    assert record is not None
    assert record.folds is not None
    assert record.held_out is not None
    log_q = density.log_density(points)
    members_without = map(record.out_of_fold_members, range(record.folds))
    by_fold = [density.ensemble(log_q, chosen) for chosen in members_without]
    return Scored(
        density.ensemble(log_q),
        density.deviation(log_q),
        np.stack(by_fold, axis=1),
        record.held_out,
        float(truth.log_prob(rows).mean()),
    )


def compared(own: Scored, others: list[Scored], log_p: Array) -> dict[str, float]:
    """Compare a fit with fits to other rows, and with the true log-density ``log_p`` ``(n,)``.

    - ``sd``: the median of ``log_density_sd`` over fresh rows.
    - ``away``: the median distance of the log-density of a refit, over fresh rows and refits;
      ``away_truth``: of the true log-density.
    - ``within``: the share of fresh rows for which the log-density of a refit is within 2
      ``log_density_sd``; ``within_truth``: for which the true log-density is.
    - ``factor``, ``factor_truth``: the multiple of ``log_density_sd`` that covers 95% of the rows.
    - ``optimism``: the out-of-fold score minus the score of fresh rows; ``optimism_fold``: minus
      the score of fresh rows by the members without a fold, mean over folds. Scores are mean
      differences to the true log-density of the same rows, which removes most of their noise.
    - ``kl``: the KL of the ensemble.
    """
    to_refit = np.abs(np.stack([other.log_q - own.log_q for other in others]))
    to_truth = np.abs(log_p - own.log_q)
    excess = own.held_out - own.level
    kl = float((log_p - own.log_q).mean())
    return {
        "sd": float(np.median(own.sd)),
        "away": float(np.median(to_refit)),
        "away_truth": float(np.median(to_truth)),
        "within": float((to_refit <= 2 * own.sd).mean()),
        "within_truth": float((to_truth <= 2 * own.sd).mean()),
        "factor": float(np.quantile(to_refit / own.sd, 0.95)),
        "factor_truth": float(np.quantile(to_truth / own.sd, 0.95)),
        "optimism": excess + kl,
        "optimism_fold": excess + float((log_p - own.by_fold.T).mean()),
        "kl": kl,
    }
