"""What the libraries train on and are scored by: NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows import targets
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.data.splits import holdout

TRUTH = targets.make("ring")
ROWS, TEST_ROWS = 1_000, 200  # of the main pipeline


def standardized(rows: Array) -> tuple[Array, Array, Array]:
    """``rows`` with mean 0 and deviation 1 per column, and the mean and deviation they had."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    return (rows - mean) / deviation, mean, deviation


def training_rows(data_seed: int) -> Array:
    """The 800 raw training rows of the ring, drawn and split as the main pipeline does it."""
    return holdout(TRUTH.sample(ROWS, numpy_generator(data_seed, "generate")), TEST_ROWS, seed=0)[0]


def ring_rows(data_seed: int) -> Array:
    """The same, standardised."""
    return standardized(training_rows(data_seed))[0]


@dataclass(frozen=True)
class DataSet:
    """Standardised training ``points`` ``(800, 2)``, and the paths of files that hold them and the fresh draws."""

    points: Array
    training: str
    draws: str


def data_set(data_seed: int, fresh: int, folder: Path) -> DataSet:
    """Writes both files. The draws are from the truth, standardised like the training rows; ``log_p`` is their density there, in nats."""
    points, mean, deviation = standardized(training_rows(data_seed))
    draws = TRUTH.sample(fresh, numpy_generator(data_seed, "fresh"))
    training, scored = folder / f"train-{data_seed}.npy", folder / f"fresh-{data_seed}.npz"
    np.save(training, points)
    np.savez(scored, points=(draws - mean) / deviation, log_p=TRUTH.log_prob(draws) + np.log(deviation).sum())
    return DataSet(points, str(training), str(scored))


def many_rows(rows: int) -> Array:
    """So many standardised rows of the ring, ``(rows, 2)``."""
    return standardized(TRUTH.sample(rows, np.random.default_rng(0)))[0]


def many_features(rows: int, dim: int) -> Array:
    """Standardised rows ``(rows, dim)`` of a normal distribution with random correlations."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((dim, dim)) / np.sqrt(dim) + np.eye(dim)
    return standardized(rng.standard_normal((rows, dim)) @ mixing)[0]
