"""Scores of flow matching, coupling flows and simple models on three targets.

Member r of a population learns the data of replicate r. A fitted simple model is a *reference*.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common import references
from flows import truths
from flows.core.arrays import Array
from flows.core.seeds import Generators, numpy_generators
from flows.core.settings import TrainingSettings
from flows.core.truth import Truth
from flows.evaluation import likelihood
from flows.evaluation.cost import flops_per_epoch, flops_per_sample
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.networks.flow_matching_population import FlowMatchingPopulation
from flows.networks.network_population import NetworkPopulation
from flows.recipe.train import train
from flows.training.trainer import Trainer
from studies.claims import replicates
from studies.claims.replicates import Settings
from studies.engine import Scores

COMPARISONS = ["precision", "recall", "c2st_auc"]


def network(
    target: str,
    model: str,
    settings: Settings,
    training: Settings,
    protocol: Settings,
    cost_of: Settings | None = None,
    exact: bool = False,
) -> Scores:
    """Train a population on the data of all replicates, one member each; return its scores.

    If ``cost_of`` describes another model, the number of epochs is chosen so that training takes
    about as many operations as the training of that model. If ``exact``, flow matching learns exact
    marginal velocities.
    """
    truth, count, name = truths.make(target), protocol["replicates"], f"{target} {model}"
    rows, _ = replicates.data(truth, protocol, protocol["train"])
    how = TrainingSettings(**training)
    trained = replicates.built(model, settings, count, how.seed)
    operations = flops_per_epoch(trained, len(rows))
    if cost_of is not None:
        other = replicates.built(cost_of["model"], cost_of["settings"], 1, how.seed)
        wanted = flops_per_epoch(other, len(rows)) * cost_of["training"]["epochs"]
        how = how.model_copy(update={"epochs": max(1, round(wanted / operations))})
    if exact:
        trained = with_exact_velocities(trained, rows, how, name)
    else:
        train(trained, rows, settings=how, name=name)
    return {
        **scores(truth, [trained], rows, protocol, name),
        "parameters": trained.parameters_per_member(),
        "flops_training": operations * how.epochs,
        "flops_sample": flops_per_sample(trained),
    }


def reference(target: str, name: str, settings: Settings, protocol: Settings) -> Scores:
    """Fit a reference to the data of each replicate; return its scores."""
    truth = truths.make(target)
    rows, _ = replicates.data(truth, protocol, protocol["train"])
    fit = references.fit_of(name, settings, seed=0)
    models = [GaussianMixture.fit(fit, own) for own in rows.swapaxes(0, 1)]
    return scores(truth, models, rows, protocol, f"{target} {name}")


def scores(truth: Truth, models: list[Any], rows: Array, protocol: Settings, name: str) -> Scores:
    """Return the scores of every replicate, ``(R,)``.

    ``models`` is one population with R members, or R models.
    """
    fresh = replicates.fresh(truth, protocol)
    log_q = np.concatenate([model.score(fresh) for model in models], axis=1)
    own = [*np.split(rows, len(models), axis=1)]
    pairs = zip(models, own, strict=True)
    on_rows = np.concatenate([model.score(each) for model, each in pairs], axis=1)
    kl = likelihood.divergence(truth.log_prob(fresh)[:, None], log_q)
    memorised = likelihood.strict_mean(on_rows) - likelihood.strict_mean(log_q)
    generator = replicates.sample_stream(protocol, name)
    shape = (protocol["samples"],)
    drawn = [model.sample(shape, generator=generator).double().numpy() for model in models]
    points = np.concatenate(drawn, axis=1)
    found = replicates.sample_scores(truth, points, protocol, COMPARISONS, ["mode_tv"])
    return {"kl": kl, "memorised": memorised, **found}


# Exact marginal velocities


class ExactVelocities(FlowMatchingPopulation):
    """Flow matching whose targets are the exact marginal velocities of the smoothed rows::

        v(x, t) = sum_i r_i(x, t) [ c_i + a (x - t c_i) ],    a = (t h^2 - (1 - t)) / s
        r_i ~ N(x; t c_i, s I),  sum_i r_i = 1,  s = (1 - t)^2 + t^2 h^2

    ``centres`` ``(M, n, D)`` are the moved rows c, and ``level`` ``(M, 1, 1)`` is the level h of
    the noise. At the minimum of the loss, the network has the density of the sharpened kernels.
    """

    centres: Tensor
    level: Tensor

    def paths(self, x_1: Tensor, generators: Generators) -> tuple[Tensor, Tensor]:
        inputs, _ = super().paths(x_1, generators)
        x, t = inputs[:, : self.dim], (inputs[:, self.dim : self.dim + 1] + 1) / 2
        spread = (1 - t) ** 2 + (t * self.level) ** 2  # (M, 1, N)
        square = self.centres.square().sum(2)[:, :, None] * t**2
        off = square - 2 * t * (self.centres @ x)  # |x - t c|^2 - |x|^2, (M, n, N)
        share = torch.softmax(-off / (2 * spread), dim=1)
        middle = self.centres.mT @ share
        a = (t * self.level**2 - (1 - t)) / spread
        return inputs, middle + a * (x - t * middle)


def with_exact_velocities(
    population: NetworkPopulation, rows: Array, settings: TrainingSettings, name: str
) -> NetworkPopulation:
    """Return an ``ExactVelocities`` with the settings of ``population``, trained on ``rows``."""
    about = population.description
    generators = numpy_generators(about["seed"], "initialize", population.member_range)
    exact = ExactVelocities((2,), generators, about, **about["settings"])
    trainer = Trainer(exact, rows, settings)
    members = exact.members
    assert trainer.noise is not None
    exact.centres = trainer.visited.expand(members, -1, -1)
    exact.level = trainer.noise.expand(members, 1, 1)
    for _ in tqdm(range(settings.epochs), desc=f"{name} exact", disable=None):
        trainer.epoch()
    return exact
