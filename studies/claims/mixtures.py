"""The pipeline's recipe on other data: a grid, a custom mixture, and new random mixtures.

The random mixtures influenced no choice of the recipe.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from common import references, splits
from flows import fit, truths
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.core.settings import TrainingSettings
from flows.core.truth import Truth
from flows.evaluation import likelihood
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population, ensemble_log_prob
from flows.recipe.train import train
from studies.claims.replicates import Settings, built

# As in the pipeline when the study was first run
ROWS, TEST = 1000, 200  # of a data set
KDE = {"bandwidths": 60, "folds": 5}


def other_data(
    target: str, components: list[Settings], seeds: list[int], members: int, fresh: int, **flow: Any
) -> dict[str, Any]:
    """Return the KL of members, ensemble and a kernel density in nats, one row per data seed.

    The members' KL is a mean and a standard deviation; the kernel density is fitted to the same
    rows. ``flow`` has the arguments of ``trained``.
    """
    truth = truths.make(target, **({"components": components} if components else {}))
    drawn = [splits.draw_split(truth, ROWS, TEST, seed=seed, split_seed=0) for seed in seeds]
    learned = [rows for rows, _ in drawn]
    population = trained(learned, members, **flow)
    points = truth.sample(fresh, numpy_generator(min(seeds), "fresh"))
    log_p = likelihood.true_log_density(truth, points)
    log_q = np.split(population.score(points), len(seeds), axis=1)
    fit = references.fit_of("kde", KDE, seed=0)
    kernels = [GaussianMixture.fit(fit, rows).score(points) for rows in learned]

    def kl(parts: list[Array]) -> Array:
        return np.stack([likelihood.divergence(log_p, part) for part in parts])

    members_kl = kl(log_q)
    return {
        "kl": members_kl.mean(axis=1),
        "kl_sd": members_kl.std(axis=1, ddof=1),
        "kl_ensemble": kl([ensemble_log_prob(part)[:, None] for part in log_q])[:, 0],
        "kl_kde": kl(kernels)[:, 0],
        "parameters": population.parameters_per_member(),
    }


def in_the_plane(
    first: int, count: int, members: int, rows: int, fresh: int, **flow: Any
) -> dict[str, Any]:
    """Return the scores of ``worst_member``, one row per mixture.

    One population learns all mixtures. ``flow`` has the arguments of ``trained``.
    """
    truths = {seed: mixture(seed, 2) for seed in range(first, first + count)}

    def draw(n: int, purpose: str) -> list[Array]:
        return [truth.sample(n, numpy_generator(s, purpose)) for s, truth in truths.items()]

    population = trained(draw(rows, "generate"), members, **flow)
    points = draw(fresh, "fresh")
    log_q = population.score(np.stack(points, axis=1).repeat(members, axis=1))
    parts = np.split(log_q, count, axis=1)
    scores = [worst_member(*each) for each in zip(truths.values(), points, parts, strict=True)]
    return dict(pd.DataFrame(scores))


def automatic(seed: int, members: int, rows: int, fresh: int) -> dict[str, Any]:
    """Fit a table, one mixture in 3 to 5 dimensions, with the defaults of ``flows.fit``.

    Return the scores of its networks, which are NSF, and the KL of the ensemble in nats.
    """
    truth = mixture(seed, 3 + seed % 3)
    drawn = truth.sample(rows, numpy_generator(seed, "generate"))
    points = truth.sample(fresh, numpy_generator(seed, "fresh"))
    ensemble = fit(drawn, members=members).population
    log_q = ensemble.score(points)
    log_p = likelihood.true_log_density(truth, points)
    mixed = ensemble_log_prob(log_q, ensemble.member_weights)[:, None]
    scores = worst_member(truth, points, log_q[:, : ensemble.network_count])
    return {**scores, "kl_ensemble": likelihood.divergence(log_p, mixed)[0]}


def worst_member(truth: Truth, points: Array, log_q: Array) -> dict[str, float]:
    """Return the mean and largest KL over members, and the largest excess of a point, in nats."""
    excess = likelihood.true_log_density(truth, points) - log_q
    kl = likelihood.strict_mean(excess)
    scores = {"kl": kl.mean(), "kl_worst": kl.max(), "costliest": excess.max()}
    return {"dim": points.shape[1], **scores}


def mixture(seed: int, dim: int) -> Mixture:
    """Draw a random mixture of 3 to 12 components.

    Weights are proportional to draws from 0.05 to 1, means are within 5 of the origin, standard
    deviations are from 0.2 to 1.2, and correlations are at most 0.85.
    """
    rng = numpy_generator(seed, "mixtures", dim)
    count = int(rng.integers(3, 13))
    weights = rng.uniform(0.05, 1, count)
    means = rng.standard_normal((count, dim))
    radius = 5 * rng.uniform(0, 1, (count, 1)) ** (1 / dim)
    means *= radius / np.linalg.norm(means, axis=1, keepdims=True)
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


def trained(
    data_sets: list[Array], members: int, model: str, settings: Settings, training: Settings
) -> Population:
    """Train one population, with ``members`` members on each data set ``(n, D)``."""
    rows = np.stack(data_sets, axis=1).repeat(members, axis=1)
    options = TrainingSettings(**{**training, "log_every": training["epochs"]})
    flow = built(model, settings, rows.shape[1], options.seed)
    return train(flow, rows, None, options, name=model)
