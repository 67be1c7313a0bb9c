"""Scores of flow matching, coupling flows and simple models on three targets.

Member r of a population learns the data of replicate r. A fitted simple model is a *reference*.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from flows import targets
from flows.core import seeds
from flows.core.arrays import Array
from flows.core.seeds import Generators, numpy_generators
from flows.core.settings import TrainingSettings
from flows.evaluation import likelihood, samples
from flows.evaluation.cost import flops_per_epoch, flops_per_sample
from flows.mixtures.bandwidth import bandwidths
from flows.mixtures.fitting import fit_gmm, fit_kde
from flows.mixtures.mixture import Mixture, Truth
from flows.networks import registry
from flows.networks.building import build
from flows.networks.flow_matching_network import FlowMatchingNetwork
from flows.networks.gaussian_mixture import GaussianMixture
from flows.networks.network import Network
from flows.networks.population import Population, chunked_log_prob
from flows.tables import splits
from flows.training.smoothing import fit_sharpened_kde
from flows.training.train import train
from flows.training.trainer import Trainer

COMPARISONS = ["precision", "recall", "c2st_auc"]
Settings = dict[str, Any]


def network(
    target: str,
    model: str,
    settings: Settings,
    training: Settings,
    protocol: Settings,
    cost_of: Settings | None = None,
    exact: bool = False,
) -> Settings:
    """Train a population on the data of all replicates, one member each; return its scores.

    If ``cost_of`` describes another model, the number of epochs is chosen so that training takes
    about as many operations as the training of that model. If ``exact``, flow matching learns exact
    marginal velocities.
    """
    truth, count, name = targets.make(target), protocol["replicates"], f"{target} {model}"
    rows = data(truth, protocol)
    how, trained = TrainingSettings(**training), built(model, settings, training, count)
    operations = flops_per_epoch(trained, len(rows))
    if cost_of is not None:
        other = built(cost_of["model"], cost_of["settings"], cost_of["training"], 1)
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


def reference(target: str, name: str, settings: Settings, protocol: Settings) -> Settings:
    """Fit a reference to the data of each replicate; return its scores."""
    truth = targets.make(target)
    rows = data(truth, protocol)
    fits: dict[str, Callable[[Settings], Callable[[Array], Mixture]]] = {
        "gmm": lambda own: partial(
            fit_gmm,
            components=list(range(1, own["max_components"] + 1)),
            folds=own["folds"],
            seed=0,
        ),
        "kde": lambda own: partial(
            fit_kde, bandwidths=bandwidths(own["bandwidths"]), folds=own["folds"], seed=0
        ),
        "sharpened_kde": lambda own: partial(
            fit_sharpened_kde, noise_factor=own["noise_factor"], strength=own["sharpen"]
        ),
    }
    fit = fits[name](settings)
    models = [GaussianMixture.fit(fit, own) for own in rows.swapaxes(0, 1)]
    return scores(truth, models, rows, protocol, f"{target} {name}")


def built(model: str, settings: Settings, training: Settings, members: int) -> Network:
    architecture = registry.architecture(model, settings)
    return build(architecture, (2,), members=members, seed=training["seed"])


def data(truth: Truth, protocol: Settings) -> Array:
    """Return the training rows of every replicate, ``(rows, R, 2)``, split as in ``prepare``."""
    held, first = protocol["test"], protocol["first"]
    drawn = [
        splits.draw_split(truth, protocol["train"] + held, held, seed=seed, split_seed=0)[0]
        for seed in range(first, first + protocol["replicates"])
    ]
    return np.stack(drawn, axis=1)


def scores(truth: Truth, models: list[Any], rows: Array, protocol: Settings, name: str) -> Settings:
    """Return the scores of every replicate, ``(R,)``.

    ``models`` is one population with R members, or R models.
    """
    first, count = protocol["first"], protocol["replicates"]
    fresh = truth.sample(protocol["fresh"], seeds.numpy_generator(first, "fresh"))
    log_q = np.concatenate([chunked_log_prob(model, fresh) for model in models], axis=1)
    own = [*np.split(rows, len(models), axis=1)]
    pairs = zip(models, own, strict=True)
    on_rows = np.concatenate([chunked_log_prob(model, each) for model, each in pairs], axis=1)
    kl = likelihood.divergence(truth.log_prob(fresh)[:, None], log_q)
    memorised = likelihood.strict_mean(on_rows) - likelihood.strict_mean(log_q)
    generator = seeds.numpy_generator(first, "sample", crc32(name.encode()))
    drawn = [samples_of(model, protocol["samples"], generator) for model in models]
    points = np.concatenate(drawn, axis=1)
    # Each replicate has its own fresh points
    found = [compared(truth, points[:, r], first + r, protocol) for r in range(count)]
    return {"kl": kl, "memorised": memorised, **dict(pd.DataFrame(found))}


def samples_of(model: Population, count: int, generator: np.random.Generator) -> Array:
    return model.sample((count,), generator=generator).double().numpy()


def compared(truth: Truth, points: Array, seed: int, protocol: Settings) -> dict[str, float]:
    """Return the mean scores of sets of samples, each compared with its own fresh points."""
    held, draws = protocol["test"], protocol["draws"]
    real = truth.sample(draws * held, seeds.numpy_generator(seed, "metric"))
    # The directions and the bandwidth only affect scores that are not reported.
    given = {"neighbours": protocol["neighbours"], "directions": np.eye(2), "bandwidth": 1.0}
    sets = [slice(k * held, (k + 1) * held) for k in range(draws)]
    each = [samples.two_sample_scores(real[k], points[k], **given) for k in sets]
    found = dict(pd.DataFrame(each)[COMPARISONS].mean(skipna=False))
    if isinstance(truth, Mixture):
        found["mode_tv"] = samples.mode_scores(samples.mode_mass(points, truth), truth)["mode_tv"]
    return found


# Exact marginal velocities


class ExactVelocities(FlowMatchingNetwork):
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
    network: Network, rows: Array, settings: TrainingSettings, name: str
) -> Network:
    """Return an ``ExactVelocities`` with the settings of ``network``, trained on ``rows``."""
    about = network.description
    generators = numpy_generators(about["seed"], "initialize", network.member_range)
    exact = ExactVelocities((2,), generators, about, **about["settings"])
    trainer = Trainer(exact, rows, settings)
    members = exact.members
    assert trainer.noise is not None
    exact.centres = trainer.visited.expand(members, -1, -1)
    exact.level = trainer.noise.expand(members, 1, 1)
    for _ in tqdm(range(settings.epochs), desc=f"{name} exact", disable=None):
        trainer.epoch()
    return exact
