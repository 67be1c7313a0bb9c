"""How good settings are: one population is trained for them, some members on each of several data sets, in one batched run.

``Folds`` looks at the training rows of the pipeline alone: each member learns from all but one fold and is scored on that one. ``Truth``
draws other data sets, learns from their training rows, and scores by the divergence from the known truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

import flows
from flows import references, seeds
from flows.evaluation import likelihood, samples
from flows.population import Population
from flows.splits import holdout
from flows.targets import Array, Target
from flows.training import TrainingSettings, fit
from stages.settings import PARAMS, Kde, Settings, UserError

METRICS = {"nll": "held-out NLL (nat)", "kl": "KL from the truth (nat)", "c2st_auc": "classifier AUC"}
FIRST_FREE_SEED = 100  # the truth of data seeds below is for reporting only: nothing is chosen by it
SAMPLES, COMPARED, NEIGHBOURS = 10_000, 1_000, 5  # samples for the modes, and against so many fresh points of the truth
Split = tuple[Array, Array]  # the rows (n, D) that are learned from, and those (m, D) that are held out
Result = dict[str, float]


def quantity(metric: str, value: float) -> str:
    name, _, unit = METRICS[metric].partition(" (")
    return f"{name} {value:.4f}" + (f" {unit.removesuffix(')')}" if unit else "")


class Score(Protocol):
    """What a search needs of a way to score."""

    @property
    def members(self) -> int:
        """Networks for each data set."""

    def metric(self, model: str) -> str:
        """The number that is to be small."""

    def parts(self, metric: str) -> list[str]:
        """The names of the same number on each of the data sets."""

    def check(self, settings: Settings, model: str) -> None:
        """Raises ``UserError`` where these settings can't be scored."""

    def __call__(self, settings: Settings, model: str, name: str) -> Result:
        """Train and score; numbers by name, ``NaN`` where one is not finite. ``name`` is for the progress bar."""


@dataclass(frozen=True)
class Folds:
    """Cross-validation within the training rows: ``folds`` equal parts, ``members`` networks for each."""

    folds: int
    members: int

    def metric(self, model: str) -> str:
        return "nll" if flows.model_class(model).has_density() else "c2st_auc"

    def parts(self, metric: str) -> list[str]:
        return [f"{metric}_fold_{fold + 1}" for fold in range(self.folds)]

    def check(self, settings: Settings, model: str) -> None:
        rows = settings.data.samples - settings.prepare.test_rows(settings.data.samples)
        held_out = rows // self.folds
        if held_out < 2:
            raise UserError(f"--folds = {self.folds}: must be at most {rows // 2}, half the number of training rows")
        _check_batch(settings, model, rows - held_out)

    def __call__(self, settings: Settings, model: str, name: str) -> Result:
        splits = self.splits(settings)
        population = train(settings, model, splits, self.members, name)
        metric = self.metric(model)
        scores = self._nll(population, splits) if metric == "nll" else self._auc(population, splits)
        result = {metric: scores.mean(), f"{metric}_sd": _spread(scores.mean(axis=0))}
        if metric == "nll":
            result["nll_ensemble"] = self._nll(population, splits, together=True).mean()
        result["parameters"] = population.parameters_per_member()
        result.update(zip(self.parts(metric), scores.mean(axis=1), strict=True))
        return {key: float(value) for key, value in result.items()}

    def splits(self, settings: Settings) -> list[Split]:
        """One a fold, all of the same sizes; what is left over after equal folds is learned from in all of them."""
        (rows, _), seed = _prepared(settings, settings.data.seed), settings.prepare.seed
        order = seeds.numpy_generator(seed, "tuning").permutation(len(rows))
        size = len(rows) // self.folds
        return [(np.delete(rows, held, axis=0), rows[held]) for held in (order[k * size : (k + 1) * size] for k in range(self.folds))]

    def _nll(self, population: Population, splits: Sequence[Split], *, together: bool = False) -> Array:
        """Mean held-out NLL in nats, raw units: of each fold's members ``(folds, members)``, or of their equal mixture ``(folds, 1)``."""
        held_out = np.stack([rows for _, rows in splits], axis=1).repeat(self.members, axis=1)
        log_q = likelihood.log_density(population, held_out).reshape(len(held_out), self.folds, self.members)
        if together:
            log_q = np.stack([likelihood.ensemble(log_q[:, fold]) for fold in range(self.folds)], axis=1)
        return likelihood.strict_mean(-log_q)

    def _auc(self, population: Population, splits: Sequence[Split]) -> Array:
        """How well a random forest tells samples from the held-out rows, as many of each: ``(folds, members)``; 0.5 is perfect."""
        drawn = _drawn(population, len(splits[0][1]), seed=0)
        return np.array(
            [[_auc(splits[fold][1], drawn[fold * self.members + member], seed=fold) for member in range(self.members)] for fold in range(self.folds)]
        )


@dataclass(frozen=True)
class Truth:
    """Data sets of their own, one for each of ``seeds``, with ``members`` networks for each, against ``fresh`` points of the truth.

    ``samples``: score the samples as well, which is all that there is without a density.
    """

    seeds: tuple[int, ...]
    members: int
    fresh: int
    samples: bool = False

    def metric(self, model: str) -> str:
        return "kl" if flows.model_class(model).has_density() else "c2st_auc"

    def parts(self, metric: str) -> list[str]:
        return [f"{metric}_seed_{seed}" for seed in self.seeds]

    def check(self, settings: Settings, model: str) -> None:
        _check_batch(settings, model, settings.data.samples - settings.prepare.test_rows(settings.data.samples))

    def __call__(self, settings: Settings, model: str, name: str) -> Result:
        target = settings.data.make_target()
        splits = [_prepared(settings, seed) for seed in self.seeds]
        population = train(settings, model, splits, self.members, name)
        metric = self.metric(model)
        result: dict[str, Any] = {"parameters": population.parameters_per_member()}
        scores: dict[str, Array] = {}  # (data sets, members)
        if metric == "kl":
            scores["kl"], references_too = self._divergences(population, target, splits, settings.references.kde)
            result.update(references_too)
        if self.samples or metric != "kl":
            scores.update(self._of_samples(population, target))
        result.update({key: values.mean() for key, values in scores.items()})
        result.update(zip(self.parts(metric), scores[metric].mean(axis=1), strict=True))
        return {key: float(value) for key, value in result.items()}

    def _divergences(self, population: Population, target: Target, splits: Sequence[Split], kde: Kde) -> tuple[Array, Result]:
        """KL from the truth in nats, ``(data sets, members)``; and means over data sets: its scatter, the ensembles', a kernel density's."""
        fresh = target.sample(self.fresh, seeds.numpy_generator(min(self.seeds), "fresh"))
        log_p = likelihood.log_density(references.truth(target), fresh)
        log_q = likelihood.log_density(population, fresh).reshape(len(fresh), len(splits), self.members)
        kl = likelihood.divergence(log_p, log_q.reshape(len(fresh), -1)).reshape(len(splits), self.members)
        ensemble = [likelihood.divergence(log_p, likelihood.ensemble(log_q[:, k]))[0] for k in range(len(splits))]
        kernel = [_kernel_density_kl(rows, fresh, log_p, kde) for rows, _ in splits]
        means = {"kl_sd": np.mean([_spread(row) for row in kl]), "kl_ensemble": np.mean(ensemble), "kl_kde": np.mean(kernel)}
        return kl, {key: float(value) for key, value in means.items()}

    def _of_samples(self, population: Population, target: Target) -> dict[str, Array]:
        """Every metric as ``(data sets, members)``."""
        real = target.sample(COMPARED, seeds.numpy_generator(FIRST_FREE_SEED, "metric"))
        rows = [
            {
                **samples.mode_scores(samples.mode_mass(of_member, target), target),
                **samples.neighbour_scores(real, of_member[:COMPARED], NEIGHBOURS),
                "c2st_auc": _auc(real, of_member[:COMPARED], seed=2),
            }
            for of_member in _drawn(population, SAMPLES, FIRST_FREE_SEED)
        ]
        return {key: np.array([row[key] for row in rows]).reshape(len(self.seeds), self.members) for key in rows[0]}


def train(settings: Settings, model: str, splits: Sequence[Split], members: int, name: str) -> Population:
    """The model, trained: all members of the first split, then those of the next."""
    learned, held_out = (torch.from_numpy(np.stack(part, axis=1).repeat(members, axis=1)) for part in zip(*splits, strict=True))
    training = settings.training(model).model_dump(exclude={"members", "log_every"})
    population = flows.model_class(model)(dim=learned.shape[2], members=learned.shape[1], seed=training["seed"], **settings.architecture(model))
    fit(population, learned, held_out, TrainingSettings(**training, log_every=training["epochs"]), name=name)
    return population


def _prepared(settings: Settings, seed: int) -> Split:
    """Training and test rows in raw units, as ``generate`` and ``prepare`` of the pipeline make them from a data seed."""
    data = settings.data
    rows = data.make_target().sample(data.samples, seeds.numpy_generator(seed, "generate"))
    return holdout(rows, settings.prepare.test_rows(len(rows)), settings.prepare.seed)


def _check_batch(settings: Settings, model: str, rows: int) -> None:
    if (batch := settings.training(model).batch_size) > rows:
        raise UserError(f"{PARAMS}: batch_size = {batch}: must be at most the {rows} rows that a member learns from in this search")


def _drawn(population: Population, count: int, seed: int) -> Array:
    """Samples ``(M, count, D)``."""
    with torch.no_grad():
        return population.sample(torch.Size([count]), generator=seeds.torch_generator(seed, "sample")).transpose(0, 1).double().numpy()


def _auc(real: Array, fake: Array, seed: int) -> float:
    if not np.isfinite(fake).all():
        return float("nan")
    return samples.classifier_auc(real, fake, seeds.integer(FIRST_FREE_SEED, "metric", seed))


def _kernel_density_kl(rows: Array, fresh: Array, log_p: Array, kde: Kde) -> float:
    """KL of the reference that the flows should beat: a kernel density with a cross-validated bandwidth, as in the main pipeline."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    bandwidths = references.bandwidths(kde.bandwidths)
    kernel = references.fit_kde((rows - mean) / deviation, mean, deviation, bandwidths=bandwidths, folds=kde.folds, seed=0)
    return float(likelihood.divergence(log_p, likelihood.log_density(kernel, fresh))[0])


def _spread(values: Array) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
