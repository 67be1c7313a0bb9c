"""Each learned column of a table given all others: our fits beside gradient boosting.

The *joint* fit learns all columns together, the *target* fit one column given the others. Both have
the defaults of the library, labels have the kind ``category``, and numbers are as in the table.
Boosting is scikit-learn's histogram gradient boosting with labels as categories: the absolute error
as the loss of a number, ``ROUNDS`` rounds for a label, and otherwise the defaults.

A number is predicted by its median, and a label by its probabilities p. The loss of a test row is::

    max(|x - median|, step / 2)     for a number; step is 0 for a column that is not rounded
    -log max(p(label), LEAST)       for a label, in nats

Numbers are compared by the ratio of mean losses, and labels by their difference. The intervals of
95% are bootstraps over test rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

import flows
from flows.core import seeds
from flows.core.arrays import Array
from flows.core.errors import UserError
from studies.engine import quiet
from studies.tables import realistic, sources

LEAST = 1e-4  # probability of a label
ROUNDS = 60  # of boosting for a label
RESAMPLES = 2_000  # of the bootstrap
ENDS = (0.025, 0.975)  # of an interval


class Split(NamedTuple):
    """The training rows and the test rows of one split, and the names of the columns of labels."""

    train: pd.DataFrame
    test: pd.DataFrame
    labels: list[str]


def load(table: str, split: int, train: int, test: int, *, keeps_labels: bool) -> Split:
    """Return a split of a prepared table, with at most ``train`` and ``test`` rows.

    With ``keeps_labels``, no label is pooled. Raises ``UserError`` as ``realistic.load`` does.
    """
    whole = realistic.load(table, keeps_labels=keeps_labels)
    first, last = sources.split(np.arange(len(whole)), split, train)
    learned, asked = (whole.iloc[own].reset_index(drop=True) for own in (first, last[:test]))
    return Split(learned, asked, realistic.labels(whole))


def fitted(parts: Split, members: int, target: str | None = None) -> flows.Density:
    """Return the joint fit of a split, or the fit of a target."""
    kinds = dict.fromkeys(parts.labels, "category")
    with quiet():
        return flows.fit(parts.train, target=target, members=members, columns=kinds)


@lru_cache(maxsize=1)
def both(
    table: str, split: int, train: int, test: int, members: int, *, keeps_labels: bool
) -> tuple[Split, flows.Density]:
    """Return a split and its joint fit, which all columns of the table share."""
    parts = load(table, split, train, test, keeps_labels=keeps_labels)
    return parts, fitted(parts, members)


def columns(table: str, **settings: int) -> list[str]:
    """Return the columns that the joint fit learns, in the order of the table.

    ``params.yaml`` has them. The arguments are those of ``both``.
    """
    parts, joint = both(table, **settings)
    names = {column.name for column in joint.columns}
    return [str(name) for name in parts.train if name in names]


def score(
    table: str, column: str, split: int, train: int, test: int, members: int, keeps_labels: bool
) -> dict[str, float]:
    """Score both fits and boosting on the test rows in which ``column`` is known.

    ``boosting`` is its mean loss. ``joint`` and ``target`` are relative to it, and ``change`` is
    the target fit relative to the joint fit. ``labels`` counts the labels in the training rows; it
    is 0 for a column of numbers.

    Raises ``UserError`` if the joint fit does not learn the column.
    """
    shared = {"split": split, "train": train, "test": test, "members": members}
    parts, joint = both(table, **shared, keeps_labels=keeps_labels)
    if column not in {each.name for each in joint.columns}:
        raise UserError(f"the joint fit of {table} does not learn the column {column}")
    is_label = column in parts.labels
    losses, boosted = (label_losses, of_labels) if is_label else (number_losses, of_numbers)
    of_joint = losses(joint, parts, column)
    of_target = losses(fitted(parts, members, column), parts, column)
    of_boosting = boosted(parts, column)
    found = {
        "train": len(parts.train),
        "rows": len(of_joint),
        "labels": parts.train[column].nunique() if is_label else 0,
        "boosting": of_boosting.mean(),
    }
    pairs = {
        "joint": (of_joint, of_boosting),
        "target": (of_target, of_boosting),
        "change": (of_target, of_joint),
    }
    rng = seeds.numpy_generator(split, "metric")
    resampled = rng.integers(0, len(of_joint), (RESAMPLES, len(of_joint)))
    compare = np.subtract if is_label else np.divide
    for name, (own, other) in pairs.items():
        found[name] = compare(own.mean(), other.mean())
        again = compare(own[resampled].mean(axis=1), other[resampled].mean(axis=1))
        found[f"{name}_low"], found[f"{name}_high"] = np.quantile(again, ENDS)
    return found


def number_losses(density: flows.Density, parts: Split, column: str) -> Array:
    """Return the losses of the medians of a density, ``(n,)``, on the n rows with a value."""
    rows = known(parts.test, column)
    with quiet():
        found = density.predict(rows.assign(**{column: np.nan}), column, [0.5])
    return absolute_errors(found["q0.5"].to_numpy(), parts, column)


def of_numbers(parts: Split, column: str) -> Array:
    """Return the losses of boosting for a column of numbers, as ``number_losses``."""
    model = HistGradientBoostingRegressor(
        loss="absolute_error", random_state=0, categorical_features="from_dtype"
    )
    train, test = (known(rows, column) for rows in parts[:2])
    model.fit(others(train, parts, column), train[column])
    return absolute_errors(model.predict(others(test, parts, column)), parts, column)


def absolute_errors(predicted: Array, parts: Split, column: str) -> Array:
    """Return absolute errors of predictions ``(n,)``, at least half a step of the column."""
    x = known(parts.test, column)[column].to_numpy()
    step = sources.step(known(parts.train, column)[column].to_numpy())
    return np.maximum(np.abs(predicted - x), step / 2)


def label_losses(density: flows.Density, parts: Split, column: str) -> Array:
    """Return the log-losses of a density, ``(n,)``, on the n rows with a label."""
    rows = known(parts.test, column)
    with quiet():
        found = density.predict(rows.assign(**{column: None}), column)
    return log_losses(found.drop(columns="effective_draws"), rows[column])


def of_labels(parts: Split, column: str) -> Array:
    """Return the losses of boosting for a column of labels, as ``label_losses``."""
    model = HistGradientBoostingClassifier(
        max_iter=ROUNDS, random_state=0, categorical_features="from_dtype"
    )
    train, test = (known(rows, column) for rows in parts[:2])
    model.fit(others(train, parts, column), train[column])
    shares = model.predict_proba(others(test, parts, column))
    return log_losses(pd.DataFrame(shares, columns=model.classes_), test[column])


def log_losses(shares: pd.DataFrame, labels: pd.Series) -> Array:
    """Return the log-losses of labels ``(n,)`` from the probabilities of all labels, in nats.

    A label without a column, which no training row has, has the probability ``LEAST``.
    """
    places = pd.Index(shares.columns).get_indexer(labels)
    own = shares.to_numpy()[np.arange(len(labels)), places]
    return -np.log(np.maximum(np.where(places < 0, 0.0, own), LEAST))


def known(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the rows in which a column has a value."""
    return rows[rows[column].notna()]


def others(rows: pd.DataFrame, parts: Split, column: str) -> pd.DataFrame:
    """Return the other columns as boosting takes them: the labels of the table as categories."""
    whole = pd.concat(parts[:2])
    kinds = {
        name: pd.CategoricalDtype(sorted(whole[name].dropna().unique()))
        for name in parts.labels
        if name != column
    }
    return rows.drop(columns=column).astype(kinds)
