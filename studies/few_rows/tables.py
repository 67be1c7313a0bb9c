"""Known densities, and answers about them.

A density is a random mixture of three Gaussians in four columns. In half of the tables, a column is
skewed: ``b`` is exp of half of a Gaussian column. In tables with labels, the label is the
component, or, with a probability from 0 to 0.5, one of all labels at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from flows.core.arrays import Array, Mask

NAMES = ["a", "b", "c", "d"]
LABELS = ["x", "y", "z"]
Ranges = Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Truth:
    """A mixture of K Gaussians in D columns, of which ``b`` may be skewed.

    Args:
        weights: the weights of the components, ``(K,)``.
        means: their means, ``(K, D)``.
        covariances: their covariances, ``(K, D, D)``.
        is_skewed: whether ``b`` is exp of half of its Gaussian column.
        at_random: the probability that a label is drawn at random.
    """

    weights: Array
    means: Array
    covariances: Array
    is_skewed: bool
    at_random: float

    @classmethod
    def random(cls, rng: np.random.Generator, *, is_skewed: bool) -> Truth:
        """Return a random density."""
        factors = rng.normal(size=(3, 4, 4)) / 2
        covariances = factors @ factors.transpose(0, 2, 1) + 0.09 * np.eye(4)
        weights, means = rng.dirichlet([3, 3, 3]), rng.normal(0, 1.5, (3, 4))
        return cls(weights, means, covariances, is_skewed, rng.uniform(0, 0.5))

    def draw(self, n: int, rng: np.random.Generator, *, has_labels: bool) -> pd.DataFrame:
        """Return ``n`` rows."""
        component = rng.choice(3, n, p=self.weights)
        factors = np.linalg.cholesky(self.covariances)[component]
        z = self.means[component] + np.einsum("nij,nj->ni", factors, rng.normal(size=(n, 4)))
        frame = pd.DataFrame(z, columns=NAMES)
        if self.is_skewed:
            frame["b"] = np.exp(frame["b"] / 2)
        if not has_labels:
            return frame
        is_random = rng.random(n) < self.at_random
        label = np.where(is_random, rng.integers(0, 3, n), component)
        return frame.assign(label=np.array(LABELS)[label])

    def label_shares(self, row: pd.Series) -> Array:
        """Return the probabilities of the labels given the numbers of a row, ``(3,)``."""
        parts = self.log_parts(row)
        return (1 - self.at_random) * np.exp(parts - logsumexp(parts)) + self.at_random / 3

    def gaussian(self, row: pd.Series) -> Array:
        """Return the values of a row as those of the mixture, ``(D,)``."""
        z = row[NAMES].to_numpy(np.float64, copy=True)
        if self.is_skewed:
            z[1] = 2 * np.log(z[1])
        return z

    def log_parts(self, row: pd.Series) -> Array:
        """Return the log-density of a row and of each component, ``(K,)``."""
        z = self.gaussian(row)
        parts = [
            np.log(weight) + multivariate_normal(mean, covariance).logpdf(z)
            for weight, mean, covariance in zip(
                self.weights, self.means, self.covariances, strict=True
            )
        ]
        slope = np.log(2 / row["b"]) if self.is_skewed else 0.0
        return np.array(parts) + slope

    def last_given(self, row: pd.Series) -> tuple[Array, Array, Array]:
        """Return weights, means and deviations of ``d`` given the other columns, ``(K,)`` each."""
        z, log_w, means, deviations = self.gaussian(row)[:3], [], [], []
        for weight, mean, covariance in zip(
            self.weights, self.means, self.covariances, strict=True
        ):
            slope = np.linalg.solve(covariance[:3, :3], covariance[:3, 3])
            log_w.append(
                np.log(weight) + multivariate_normal(mean[:3], covariance[:3, :3]).logpdf(z)
            )
            means.append(mean[3] + slope @ (z - mean[:3]))
            deviations.append(np.sqrt(covariance[3, 3] - slope @ covariance[:3, 3]))
        return np.exp(log_w - logsumexp(log_w)), np.array(means), np.array(deviations)


def summary_of_last(truth: Truth, row: pd.Series) -> dict[str, float]:
    """Return the mean, the standard deviation and quantiles of ``d`` given the other columns."""
    weights, means, deviations = truth.last_given(row)
    mean = weights @ means
    variance = weights @ (deviations**2 + (means - mean) ** 2)
    found = {"mean": float(mean), "sd": float(np.sqrt(variance))}
    low, high = (means - 9 * deviations).min(), (means + 9 * deviations).max()
    for level in (0.05, 0.5, 0.95):
        found[f"q{level:g}"] = brentq(
            lambda y, level=level: weights @ norm.cdf((y - means) / deviations) - level, low, high
        )
    return found


def summary(x: pd.Series) -> dict[str, float]:
    """Return the same numbers of draws."""
    quantiles = {f"q{level:g}": float(x.quantile(level)) for level in (0.05, 0.5, 0.95)}
    return {"mean": float(x.mean()), "sd": float(x.std()), **quantiles}


def inside(frame: pd.DataFrame, ranges: Ranges) -> Mask:
    """Return which rows lie in all ranges, ``(n,)``."""
    found = np.ones(len(frame), bool)
    for name, (low, high) in ranges.items():
        found &= (frame[name] >= (-np.inf if low is None else low)).to_numpy()
        found &= (frame[name] <= (np.inf if high is None else high)).to_numpy()
    return found
