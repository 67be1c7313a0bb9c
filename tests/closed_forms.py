"""Densities that are known in closed form, with the answers to questions about them.

The first is a mixture of six numbers, and the second of three labels and three numbers. Any mixture
of numbers has the probabilities of boxes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from helpers import field
from scipy.stats import multivariate_normal

from flows.core.arrays import Array
from flows.mixtures.mixture import ConditionalMixture, Mixture

# Six numbers

DIM = 6
NAMES = [f"x{d}" for d in range(DIM)]


def six_numbers() -> Mixture:
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((3, DIM, DIM)) / np.sqrt(DIM)
    covariances = factors @ factors.transpose(0, 2, 1) + 0.05 * np.eye(DIM)
    return Mixture(np.array([0.5, 0.3, 0.2]), rng.uniform(-2, 2, (3, DIM)), covariances)


def hidden(rows: Array, count: int) -> Array:
    """Return the rows with ``count`` unknown values in each row."""
    rng = np.random.default_rng(count)
    order = np.argsort(rng.random(rows.shape), axis=1)
    return np.where(order < count, np.nan, rows)


def exact(truth: Mixture, row: Array) -> ConditionalMixture:
    """Return the distribution of the unknown values of a row."""
    return truth.conditional(np.nan_to_num(row[None]), np.isnan(row))


# Labels and numbers

SIZES = (2, 3, 4)
LABELS = [f"label{j}" for j in range(3)]
NUMBERS = ["x0", "x1", "x2"]
FIELDS = [
    *(
        field(name, "category", step=1.0, labels=tuple("abcd"[:size]))
        for name, size in zip(LABELS, SIZES, strict=True)
    ),
    *map(field, NUMBERS),
]


def labelled() -> Mixture:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(3, 3, 3))
    covariances = 0.4 * root @ root.transpose(0, 2, 1) + 0.2 * np.eye(3)
    shares = [rng.dirichlet(np.ones(size), 3) for size in SIZES]
    return Mixture(rng.dirichlet(np.full(3, 3)), 2 * rng.normal(size=(3, 3)), covariances, shares)


def drawn(n: int) -> tuple[pd.DataFrame, Array, Array]:
    """Return rows of the truth as a frame, as numbers and as codes."""
    rows = labelled().sample_rows(n, np.random.default_rng(1))
    frame = pd.DataFrame(rows.numbers, columns=NUMBERS)
    for j, name in enumerate(LABELS):
        frame[name] = [FIELDS[j].labels[code] for code in rows.codes[:, j]]
    return frame[[*LABELS, *NUMBERS]], rows.numbers, rows.codes


def with_unknown(frame: pd.DataFrame, numbers: Array, codes: Array, share: float) -> Any:
    """Hide a share of the values; return the frame, the numbers and the codes."""
    gaps = np.random.default_rng(2).random(frame.shape) < share
    known = frame.astype(object).mask(gaps, None)
    known[NUMBERS] = known[NUMBERS].astype(float)
    return known, np.where(gaps[:, 3:], np.nan, numbers), np.where(gaps[:, :3], -1, codes)


def within(found: Array, expected: Array, error: Array, slack: float) -> None:
    """Check that nearly all differences are within the stated errors."""
    far = np.abs(found - expected) - slack
    assert (far <= 1.96 * error).mean() >= 0.85
    assert (far <= 5 * error + 0.03).all()


def mass_of(conditions: dict[str, Any]) -> float:
    """Return the probability of conditions; a known number has a density."""
    mixture, low, high = labelled(), np.full(3, -np.inf), np.full(3, np.inf)
    row, shares = np.full(3, np.nan), np.ones(3)
    for name, value in conditions.items():
        if name in LABELS:
            j = LABELS.index(name)
            allowed = [FIELDS[j].labels.index(label) for label in value]
            shares *= mixture.shares[j][:, allowed].sum(axis=1)
        elif isinstance(value, tuple):
            d = NUMBERS.index(name)
            low[d], high[d] = (
                (-np.inf if value[0] is None else value[0]),
                (np.inf if value[1] is None else value[1]),
            )
        else:
            row[NUMBERS.index(name)] = value
    total = 0.0
    for k, weight in enumerate(mixture.weights):
        unknown, part = np.isnan(row), 1.0
        mean, covariance = mixture.means[k], mixture.covariances[k]
        if not unknown.all():
            one = Mixture(np.ones(1), mean[None], covariance[None])
            part = float(np.exp(one.log_prob(row[None])[0]))
            rest = one.conditional(row[None], unknown)
            mean, covariance = rest.means[0, 0], rest.covariances[0]
        box = multivariate_normal(mean, covariance).cdf(high[unknown], lower_limit=low[unknown])
        total += weight * shares[k] * part * float(box)
    return total


# Boxes


def some_numbers(seed: int, dim: int = 3, count: int = 3) -> Mixture:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(count, dim, dim))
    covariances = 0.5 * root @ root.transpose(0, 2, 1) + 0.2 * np.eye(dim)
    return Mixture(rng.dirichlet(np.full(count, 3)), 2 * rng.normal(size=(count, dim)), covariances)


def mass_of_box(truth: Mixture, low: Array, high: Array) -> float:
    """Return the probability of a box."""
    parts = zip(truth.weights, truth.means, truth.covariances, strict=True)
    return sum(w * multivariate_normal(m, s).cdf(high, lower_limit=low) for w, m, s in parts)


# Three numbers with gaps

MIXTURE = Mixture(
    np.array([0.4, 0.6]),
    np.array([[-1.0, 0.0, 1.0], [1.0, 1.0, -1.0]]),
    np.array(
        [[[1, 0.8, 0], [0.8, 1, 0.3], [0, 0.3, 1]], [[0.5, 0, 0.2], [0, 0.3, 0], [0.2, 0, 1]]]
    ),
)


def gappy(n: int, share: float = 0.2) -> tuple[Array, Array]:
    """Return rows of the mixture, complete and with gaps."""
    rng = np.random.default_rng(0)
    rows = MIXTURE.sample(n, rng)
    return rows, np.where(rng.random(rows.shape) < share, np.nan, rows)
