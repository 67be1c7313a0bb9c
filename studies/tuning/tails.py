"""Whether a member goes astray: ``python -m studies.tuning.tails glow`` on random mixtures that nothing was chosen by.

A mixture of 3 to 12 components, of weights in proportion to draws from 0.05 to 1, means within 5 of the origin, standard deviations of 0.2 to
1.2 and correlations of at most 0.85. In the plane every model learns with the settings of the pipeline; in 3 to 5 dimensions NSF learns by the
found recipe. A row a mixture: the divergence of the mean and of the worst member from the truth, in nats, and the most that one point costs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flows.core.arrays import Array
from flows.core.errors import UserError, errors_in_one_line
from flows.core.mixture import Mixture
from flows.core.seeds import numpy_generator
from flows.core.settings import TrainingSettings
from flows.evaluation import likelihood
from flows.networks.registry import build
from flows.training.trainer import fit
from stages.shared import files
from stages.shared import settings as pipeline
from studies.tuning import score
from studies.tuning.settings import FIRST_FREE_SEED

HERE = Path("studies/tuning/results/tails")
ROWS, FRESH = 800, 100_000
PLANE, MEMBERS = 60, 2  # mixtures in the plane, and networks that learn each
SOLID = 20  # mixtures in more dimensions


def mixture(seed: int, dim: int) -> Mixture:
    rng = numpy_generator(seed, "tuning", dim)
    count = int(rng.integers(3, 13))
    weights = rng.uniform(0.05, 1, count)
    means = rng.standard_normal((count, dim))
    means *= 5 * rng.uniform(0, 1, (count, 1)) ** (1 / dim) / np.linalg.norm(means, axis=1, keepdims=True)
    covariances = np.empty((count, dim, dim))
    for k in range(count):
        factor = rng.standard_normal((dim, dim))
        correlation = factor @ factor.T
        correlation /= np.sqrt(np.outer(np.diag(correlation), np.diag(correlation)))
        most = np.abs(correlation - np.eye(dim)).max()
        correlation = np.where(np.eye(dim) == 1, 1.0, correlation * min(1.0, 0.85 / most))
        deviation = rng.uniform(0.2, 1.2, dim)
        covariances[k] = correlation * np.outer(deviation, deviation)
    return Mixture(weights / weights.sum(), means, covariances)


def row(truth: Mixture, seed: int, fresh: Array, log_q: Array) -> dict[str, float]:
    excess = likelihood.true_log_density(truth, fresh) - log_q
    kl = likelihood.strict_mean(excess)
    return {
        "mixture": seed,
        "dim": fresh.shape[1],
        "components": len(truth.weights),
        "kl": kl.mean(),
        "kl_worst": kl.max(),
        "costliest": excess.max(),
    }


def in_the_plane(model: str) -> list[dict[str, float]]:
    """All mixtures at once: a population of members on data sets of their own."""
    seeds = range(FIRST_FREE_SEED, FIRST_FREE_SEED + PLANE)
    truths = [mixture(seed, 2) for seed in seeds]
    splits = [(truth.sample(ROWS, numpy_generator(seed, "generate")),) * 2 for truth, seed in zip(truths, seeds, strict=True)]
    population = score.train(pipeline.load(), model, splits, MEMBERS, model)
    fresh = [truth.sample(FRESH, numpy_generator(seed, "fresh")) for truth, seed in zip(truths, seeds, strict=True)]
    log_q = likelihood.log_density(population, np.stack(fresh, axis=1).repeat(MEMBERS, axis=1))
    parts = np.split(log_q, PLANE, axis=1)
    return [row(*each) for each in zip(truths, seeds, fresh, parts, strict=True)]


def in_more_dimensions() -> list[dict[str, float]]:
    rows = []
    for seed in range(FIRST_FREE_SEED, FIRST_FREE_SEED + SOLID):
        truth = mixture(seed, 3 + seed % 3)
        train, fresh = (truth.sample(n, numpy_generator(seed, purpose)) for n, purpose in ((ROWS, "generate"), (FRESH, "fresh")))
        flow = fit(build("nsf", train.shape[1:], members=10), train, settings=TrainingSettings(recipe="found"), name=f"mixture {seed}")
        rows.append(row(truth, seed, fresh, likelihood.log_density(flow, fresh)))
    return rows


@errors_in_one_line("tails")
def main(model: str = "") -> None:
    if model not in (*pipeline.load().models, "found"):
        raise UserError(f"expected a model of params.yaml, or found, for NSF by the found recipe; got {model!r}")
    rows = in_more_dimensions() if model == "found" else in_the_plane(model)
    files.write_csv(HERE / f"{model}.csv", {key: [each[key] for each in rows] for key in rows[0]}, float_format="%.5g")
    worst = max(rows, key=lambda each: each["kl_worst"])
    print(f"{model}: the worst member of {len(rows)} mixtures is {worst['kl_worst']:.3f} nat from the truth (mixture {worst['mixture']})")


if __name__ == "__main__":
    main(*sys.argv[1:])
