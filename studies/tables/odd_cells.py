"""Other methods to find the odd value of a row; the largest score of a row is the first guess.

Each function takes training rows ``(n, D)`` and rows ``(m, D)``, and returns scores ``(m, D)``.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata, skew
from sklearn.ensemble import IsolationForest

from flows.core.arrays import Array

TREES = 300


def gaussian(train: Array, rows: Array) -> Array:
    """Return ``|x_j - E(x_j | rest)| / sd(x_j | rest)`` of one Gaussian.

    It is ``|P (x - mean)|_j / sqrt(P_jj)``, with P the inverse of the covariance.
    """
    precision = np.linalg.pinv(np.cov(train, rowvar=False), hermitian=True)
    return np.abs((rows - train.mean(axis=0)) @ precision) / np.sqrt(np.diag(precision))


def tails(train: Array, rows: Array) -> tuple[Array, Array, Array]:
    """Return -log of the empirical P(X <= x), P(X >= x), and the one that the skewness selects.

    As in pyod, the rows are counted together with the training rows.
    """
    both = np.concatenate([train, rows])
    left, right = (
        -np.log(rankdata(sign * both, method="max", axis=0) / len(both)) for sign in (1, -1)
    )
    by_skewness = np.where(skew(both) < 0, left, right)
    return left[len(train) :], right[len(train) :], by_skewness[len(train) :]


def ecod(train: Array, rows: Array) -> Array:
    """Return the scores of ECOD by column (Li et al. 2022), as pyod's ``O``."""
    return np.max(tails(train, rows), axis=0)


def copod(train: Array, rows: Array) -> Array:
    """Return the scores of COPOD by column (Li et al. 2020), as pyod's ``O``."""
    left, right, by_skewness = tails(train, rows)
    return np.maximum(by_skewness, (left + right) / 2)


def isolation(train: Array, rows: Array) -> Array:
    """Return how much less odd an isolation forest finds a row with the median of the column."""
    forest = IsolationForest(n_estimators=TREES, random_state=0).fit(train)
    changes = []
    for d, median in enumerate(np.median(train, axis=0)):
        changed = rows.copy()
        changed[:, d] = median
        changes.append(forest.score_samples(changed) - forest.score_samples(rows))
    return np.stack(changes, axis=1)
