"""Conditional densities q(y | x) of a data frame x, as the study scores them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import logsumexp

import flows
from flows.core.arrays import Array
from flows.core.errors import UserError
from studies.engine import quiet
from studies.target.metrics import TAILS
from studies.target.peers import Fit, Peer
from studies.target.truths import Truth

INSIDE = (np.array([-0.5, 0.0, 0.5]), np.array([1, 4, 1]) / 6)  # Simpson's rule within a cell
HALVINGS = 60  # of the bracket of a quantile
QUANTILES = [f"q{level:g}" for level in TAILS]  # columns of a prediction


class Conditional(ABC):
    """A conditional density; ``x`` are the other columns of m rows, complete or with gaps."""

    @abstractmethod
    def log_prob(self, x: pd.DataFrame, y: Array) -> Array:
        """Return the log-densities ``(m, k)`` of k values ``y`` ``(m, k)`` per row."""

    def log_mean(self, x: pd.DataFrame, y: Array, step: float) -> Array:
        """Return the log of the mean density, ``(m,)``, in the cells of rounded values ``(m,)``::

        log P(y - step / 2 < Y < y + step / 2 | x) - log(step)
        """
        places, weights = INSIDE
        found = self.log_prob(x, y[:, None] + step * places)
        return np.asarray(logsumexp(found, axis=1, b=weights))

    @abstractmethod
    def interval(self, x: pd.DataFrame) -> Array:
        """Return the 5% and the 95% quantile of each row, ``(m, 2)``."""


@dataclass(frozen=True)
class Known(Conditional):
    """A true conditional density."""

    truth: Truth

    def log_prob(self, x: pd.DataFrame, y: Array) -> Array:
        return self.truth.log_prob(x.to_numpy(), y)

    def interval(self, x: pd.DataFrame) -> Array:
        raise NotImplementedError  # a grid has the intervals of a truth


class Numbers:
    """Data frames as standardised numbers, with the columns and scales of the training rows.

    A missing number is the median, and a column of 0 and 1 tells where it was missing. A column of
    labels is one column of 0 and 1 per label; all are 0 for a missing label.
    """

    def __init__(self, train: pd.DataFrame) -> None:
        self.numbers = [name for name, kind in train.dtypes.items() if kind.kind in "iuf"]
        self.gaps = [name for name in self.numbers if train[name].isna().any()]
        self.labels = {
            name: sorted(train[name].dropna().unique())
            for name in train.columns.difference(self.numbers, sort=False)
        }
        self.median = train[self.numbers].median()
        filled = train[self.numbers].fillna(self.median)
        self.mean, self.deviation = filled.mean(), filled.std(ddof=0)

    def __call__(self, frame: pd.DataFrame) -> Array:
        """Return the columns of ``frame`` as numbers, ``(n, D)``."""
        filled = (frame[self.numbers].fillna(self.median) - self.mean) / self.deviation
        parts = [filled, frame[self.gaps].isna()]
        for name, labels in self.labels.items():
            parts.append(pd.DataFrame({label: frame[name] == label for label in labels}))
        return np.hstack([part.to_numpy(np.float64) for part in parts])


@dataclass(frozen=True)
class OnNumbers(Conditional):
    """A peer behind the scales of its training rows."""

    peer: Peer
    numbers: Numbers
    mean: float
    deviation: float

    @classmethod
    def fit(cls, fit: Fit, frame: pd.DataFrame, target: str) -> OnNumbers:
        x, y = frame.drop(columns=target), frame[target].to_numpy(np.float64)
        numbers, mean, deviation = Numbers(x), float(y.mean()), float(y.std())
        return cls(fit(numbers(x), (y - mean) / deviation), numbers, mean, deviation)

    def log_prob(self, x: pd.DataFrame, y: Array) -> Array:
        scaled = (y - self.mean) / self.deviation
        return self.peer(self.numbers(x)).logpdf(scaled) - np.log(self.deviation)

    def log_mean(self, x: pd.DataFrame, y: Array, step: float) -> Array:
        ends = (y[:, None] + step * np.array([-0.5, 0.5]) - self.mean) / self.deviation
        mass = np.diff(self.peer(self.numbers(x)).cdf(ends), axis=1)[:, 0]
        # Far from the mean both ends round to the same probability
        center = self.log_prob(x, y[:, None])[:, 0]
        with np.errstate(divide="ignore"):
            return np.where(mass > 1e-12, np.log(mass) - np.log(step), center)

    def interval(self, x: pd.DataFrame) -> Array:
        found = self.peer(self.numbers(x))
        low, high = (np.full((len(x), 2), end) for end in (-50.0, 50.0))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            below = found.cdf(middle) < TAILS
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(self.mean + self.deviation * high)


@dataclass(frozen=True)
class Library(Conditional):
    """A density of the library."""

    density: flows.Density
    target: str

    def interval(self, x: pd.DataFrame) -> Array:
        with quiet():
            found = self.density.predict(x.assign(**{self.target: np.nan}), self.target, TAILS)
        return np.asarray(found[QUANTILES].to_numpy())

    def probabilities(self, x: pd.DataFrame, labels: list[str]) -> Array:
        """Return the probabilities of the labels of the target, ``(m, number of labels)``."""
        with quiet():
            found = self.density.predict(x.assign(**{self.target: None}), self.target)
        return np.asarray(found[labels].to_numpy())


class Joint(Library):
    """Our joint density of all columns, conditioned on x::

    log q(y | x) = log q(x, y) - log q(x)
    """

    @classmethod
    def fit(cls, frame: pd.DataFrame, target: str, members: int, seed: int) -> Joint:
        """Fit with the defaults of the library; a numeric target is a real column.

        Raises ``UserError`` if the target is not learned.
        """
        kinds = {target: "real"} if frame[target].dtype.kind in "iuf" else {}
        with quiet():
            density = flows.fit(frame, members=members, seed=seed, columns=kinds)
        if target not in {column.name for column in density.columns}:
            raise UserError(f"our density does not learn the column {target!r}")
        return cls(density, target)

    def log_prob(self, x: pd.DataFrame, y: Array) -> Array:
        with quiet():
            marginal = self.density.log_prob(x.assign(**{self.target: np.nan}))
            joint = self.density.log_prob(repeated(x, self.target, y))
        return np.asarray(joint.reshape(y.shape) - marginal[:, None])


class Ours(Library):
    """Our density of the target given the other columns, learned directly."""

    @classmethod
    def fit(cls, frame: pd.DataFrame, target: str, members: int, seed: int) -> Ours:
        """Fit with the defaults of the library."""
        with quiet():
            density = flows.fit(frame, target=target, members=members, seed=seed)
        return cls(density, target)

    def log_prob(self, x: pd.DataFrame, y: Array) -> Array:
        with quiet():
            found = self.density.log_prob(repeated(x, self.target, y))
        return np.asarray(found.reshape(y.shape))

    def log_mean(self, x: pd.DataFrame, y: Array, step: float) -> Array:
        return self.log_prob(x, y[:, None])[:, 0]  # the library integrates over the cell itself


def repeated(x: pd.DataFrame, target: str, y: Array) -> pd.DataFrame:
    """Return each of the m rows with each of its k values ``y`` ``(m, k)`` as the target."""
    rows = np.repeat(np.arange(len(x)), y.shape[1])
    return x.iloc[rows].assign(**{target: y.ravel()}).reset_index(drop=True)
