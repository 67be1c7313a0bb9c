"""Labelled anomalies: do rows of a class that is rare in the training rows stand out?

The sets are public, and usual for this purpose (Rayana 2016, ODDS): malignant tumours of breast
cancer, the first cultivar of wine, and the rows of shuttle that are marked as anomalies. Detectors
learn from rows without labels, of which ``SHARE`` are anomalies. The test rows are the other
anomalies, and normal rows that no detector has learned from. The score is the average precision,
with weights that give anomalies the same ``SHARE`` of the test rows; a random order scores
``SHARE``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

import flows
from flows.core.arrays import Array, Mask
from studies.tables import odd_cells, peers, sources

SHARE = 0.05
LABELS: dict[str, Callable[[], Mask]] = {  # whether each row is an anomaly
    "breast_cancer": lambda: datasets.load_breast_cancer()["target"] == 0,
    "wine": lambda: datasets.load_wine()["target"] == 0,
    "shuttle": lambda: (
        pd.read_csv(sources.folder("river") / "datasets/shuttle.csv.gz")["anomaly"].to_numpy() == 1
    ),
}


def ecod_of_rows(train: Array, rows: Array) -> Array:
    """Return the scores of ECOD, sums over columns, as in pyod."""
    return odd_cells.ecod(train, rows).sum(axis=1)


def isolation_of_rows(train: Array, rows: Array) -> Array:
    forest = IsolationForest(n_estimators=odd_cells.TREES, random_state=0).fit(train)
    return -forest.score_samples(rows)


def density(name: str, train: Array, rows: Array) -> Array:
    """Return -log q of a peer."""
    return -peers.FITS[name](train)(rows)


DETECTORS: dict[str, Callable[[Array, Array], Array]] = {
    "mixture": partial(density, "mixture"),
    "gaussian": partial(density, "gaussian"),
    "ECOD": ecod_of_rows,
    "isolation forest": isolation_of_rows,
}
METHODS = ("nsf", *DETECTORS)


def score(table: str, split: int, train: int, members: int) -> dict[str, Array]:
    """Score all detectors on one split: the average precision, and the area under the ROC curve.

    Each has one number per method, in the order of ``METHODS``.
    """
    learned, rows, odd = load(table, split, train)
    found = {"nsf": -flows.fit(learned, members=members).log_prob(rows)}
    found |= {name: detector(learned, rows) for name, detector in DETECTORS.items()}
    weights = np.where(odd, SHARE / odd.sum(), (1 - SHARE) / (~odd).sum())
    return {
        "precision": np.array(
            [average_precision_score(odd, found[name], sample_weight=weights) for name in METHODS]
        ),
        "auc": np.array([roc_auc_score(odd, found[name]) for name in METHODS]),
    }


def load(table: str, split: int, train: int) -> tuple[Array, Array, Mask]:
    """Return at most ``train`` rows to learn from, the test rows, and which are odd.

    Normal rows are split as in the ranking. Numbers are in standard deviations of the rows to learn
    from.
    """
    rows, odd = sources.load(table).rows, LABELS[table]()
    normal, test = sources.split(rows[~odd], split, round((1 - SHARE) * train))
    anomalies = rows[odd][np.random.default_rng(split).permutation(odd.sum())]
    count = round(len(normal) * SHARE / (1 - SHARE))
    learned = np.concatenate([normal, anomalies[:count]])
    learned = learned[np.random.default_rng(split).permutation(len(learned))]
    others = anomalies[count : count + sources.MOST]
    mean, deviation = learned.mean(axis=0), learned.std(axis=0)
    asked = (np.concatenate([test, others]) - mean) / deviation
    return (learned - mean) / deviation, asked, np.arange(len(asked)) >= len(test)
