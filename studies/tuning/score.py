"""How good settings are: one population is trained for them, some members on each of several data sets, in one batched run.

``folds`` looks at the training rows of the pipeline alone: each member learns from all but one fold and is scored on that one. The found
recipe holds rows out by itself, so it trains a population a fold. ``truth`` draws other data sets, learns from their training rows, and scores
by the divergence from the known truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from flows import references
from flows.core import seeds
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.core.mixture import Mixture, Truth
from flows.core.population import Population
from flows.core.settings import TrainingSettings
from flows.data.splits import draw
from flows.evaluation import likelihood, samples
from flows.networks.registry import build
from flows.training.trainer import fit
from stages.shared import files
from stages.shared.settings import TABLE, Settings
from studies.tuning.settings import FIRST_FREE_SEED, ListSettings, SearchSettings

SAMPLES, COMPARED, NEIGHBOURS = 10_000, 1_000, 5  # samples for the modes, and against so many fresh points of the truth
Split = tuple[Array, Array]  # the rows (n, D) that are learned from, and those (m, D) that are held out
Result = dict[str, float]  # numbers by name, NaN where one is not finite


def folds(settings: Settings, content: SearchSettings, name: str) -> Result:
    """Cross-validation within the training rows. ``name`` is for the progress bar."""
    splits = split(settings, content.folds)
    parts = [[each] for each in splits] if settings.training(content.model).recipe == "found" else [splits]
    populations = [train(settings, content.model, part, content.members, name) for part in parts]
    result: dict[str, Any] = {}
    if populations[0].has("log_prob"):
        held_out = [_for_members([rows for _, rows in part], content.members) for part in parts]
        log_q = np.concatenate([likelihood.log_density(*each) for each in zip(populations, held_out, strict=True)], axis=1)
        metric, scores = "nll", likelihood.strict_mean(-log_q)
        weights = torch.cat([each.member_weights for each in populations]).split(content.members)
        mixed = [likelihood.ensemble(*each) for each in zip(np.split(log_q, len(splits), axis=1), (w / w.sum() for w in weights), strict=True)]
        result["nll_ensemble"] = np.mean([likelihood.strict_mean(-each) for each in mixed])
    else:
        drawn = np.concatenate([_drawn(each, len(splits[0][1]), seed=0) for each in populations])
        metric, scores = "c2st_auc", np.array([_auc(splits[k // content.members][1], rows, k // content.members) for k, rows in enumerate(drawn)])
    scores = scores.reshape(len(splits), content.members)
    result = {metric: scores.mean(), f"{metric}_sd": _spread(scores.mean(axis=0)), **result, "parameters": populations[0].parameters_per_member()}
    return {**result, **{f"{metric}_fold_{k + 1}": score.mean() for k, score in enumerate(scores)}}


def truth(settings: Settings, content: ListSettings, name: str) -> Result:
    """On data sets of their own, one for each of the seeds, against fresh points of the truth."""
    target = _truth(settings)
    splits = [_draw(settings, seed) for seed in content.seeds]
    population = train(settings, content.model, splits, content.members, name)
    result: dict[str, Any] = {"parameters": population.parameters_per_member()}
    scores: dict[str, Array] = {}  # (members of all data sets,)
    if population.has("log_prob"):
        fresh = target.sample(content.fresh, seeds.numpy_generator(min(content.seeds), "fresh"))
        log_p = likelihood.true_log_density(target, fresh)
        log_q = likelihood.log_density(population, fresh)
        scores["kl"] = likelihood.divergence(log_p, log_q)
        ensembles = [likelihood.ensemble(part) for part in np.split(log_q, len(splits), axis=1)]
        kernels = [likelihood.log_density(_kernel_density(rows, settings), fresh) for rows, _ in splits]
        result["kl_sd"] = np.mean([_spread(part) for part in np.split(scores["kl"], len(splits))])
        for key, parts in (("kl_ensemble", ensembles), ("kl_kde", kernels)):
            result[key] = np.mean([likelihood.divergence(log_p, part) for part in parts])
    if content.samples or not scores:
        scores.update(_of_samples(population, target))
    metric = "kl" if "kl" in scores else "c2st_auc"
    of_seeds = scores[metric].reshape(len(splits), content.members).mean(axis=1)
    result.update({key: values.mean() for key, values in scores.items()})
    return {**result, **{f"{metric}_seed_{seed}": score for seed, score in zip(content.seeds, of_seeds, strict=True)}}


def _truth(settings: Settings) -> Truth:
    truth = settings.data.make_truth()
    if truth is None:
        raise UserError(f"data.target = {settings.data.target}: no truth is known of it, and this study needs one")
    return truth


def _draw(settings: Settings, seed: int) -> Split:
    rows = settings.data.samples
    return draw(_truth(settings), rows, settings.prepare.test_rows(rows), seed=seed, split_seed=settings.prepare.seed)


def split(settings: Settings, count: int) -> list[Split]:
    """The training rows in ``count`` folds of the same size; what is left over is learned from in all of them. Of a user's table, those that
    ``prepare`` left.
    """
    rows = files.read_npy(files.TRAIN) if settings.data.target == TABLE else _draw(settings, settings.data.seed)[0]
    size = len(rows) // count
    if size < 2:
        raise UserError(f"folds = {count}: must be at most {len(rows) // 2}, half the number of training rows")
    order = seeds.numpy_generator(settings.prepare.seed, "tuning").permutation(len(rows))
    return [(np.delete(rows, held, axis=0), rows[held]) for held in order[: count * size].reshape(count, size)]


def train(settings: Settings, model: str, splits: Sequence[Split], members: int, name: str) -> Population:
    """The model, trained: all members of the first split, then those of the next."""
    learned, held_out = (_for_members(rows, members) for rows in zip(*splits, strict=True))
    training = settings.training(model).model_dump(exclude={"members", "log_every"})
    shape, count = learned.shape[-1:], len(splits) * members
    population = build(model, shape, settings.architecture(model), members=count, seed=training["seed"])
    return fit(population, learned, held_out, TrainingSettings(**training, log_every=training["epochs"]), name=name)


def _for_members(rows: Sequence[Array], members: int) -> Array:
    """Rows ``(n, D)`` of several data sets as ``(n, M, D)``, those of the first for the first ``members``; of one set, as they are."""
    return rows[0] if len(rows) == 1 else np.stack(rows, axis=1).repeat(members, axis=1)


def _of_samples(population: Population, target: Truth) -> dict[str, Array]:
    """Every metric as ``(M,)``."""
    if not isinstance(target, Mixture):
        raise UserError("the modes of this truth are not known, so its samples can't be scored")
    real = target.sample(COMPARED, seeds.numpy_generator(FIRST_FREE_SEED, "metric"))
    rows = []
    for fake in _drawn(population, SAMPLES, FIRST_FREE_SEED):
        near = samples.neighbour_scores(real, fake[:COMPARED], NEIGHBOURS)
        rows.append({**samples.mode_scores(samples.mode_mass(fake, target), target), **near, "c2st_auc": _auc(real, fake[:COMPARED], seed=2)})
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def _drawn(population: Population, count: int, seed: int) -> Array:
    """Samples ``(M, count, D)``."""
    with torch.no_grad():
        return population.sample(torch.Size([count]), generator=seeds.numpy_generator(seed, "sample")).transpose(0, 1).double().numpy()


def _auc(real: Array, fake: Array, seed: int) -> float:
    """How well a random forest tells ``fake`` from ``real``, as many of each; 0.5 is perfect."""
    return samples.classifier_auc(real, fake, seeds.integer(FIRST_FREE_SEED, "metric", seed)) if np.isfinite(fake).all() else float("nan")


def _kernel_density(rows: Array, settings: Settings) -> Population:
    """The reference that the flows should beat, as in the main pipeline."""
    mean, deviation, kde = rows.mean(axis=0), rows.std(axis=0), settings.references.kde
    return references.fit_kde((rows - mean) / deviation, mean, deviation, bandwidths=references.bandwidths(kde.bandwidths), folds=kde.folds, seed=0)


def _spread(values: Array) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
