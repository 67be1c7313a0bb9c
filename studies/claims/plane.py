"""The scores of cells in the plane: one population, with one member per replicate.

A score that is not finite is kept as ``NaN``.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from flows.core.arrays import Array
from flows.core.settings import TrainingSettings
from flows.evaluation import likelihood
from flows.evaluation.cost import epochs_to_converge, flops_per_epoch
from flows.mixtures.fitting import fit_gmm, fit_kde
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.networks.flow import Flow
from flows.networks.population import Population, ensemble_log_prob
from flows.recipe.train import train as train_model
from flows.truths import ring
from studies.claims import remedies, replicates
from studies.claims.replicates import Settings
from studies.engine import Scores

TRUTH = ring.make()
DIM = TRUTH.means.shape[1]
COMPARISONS = ["precision", "recall", "density", "coverage", "c2st_auc"]
MODES = ["mode_tv", "modes", "high_quality"]
ARCHITECTURE = ("hidden", "transform", "bins")  # keys of ``base``; the others are for training


def truth(protocol: Settings) -> Scores:
    """Score samples of the truth itself."""
    name = "equal truth"
    scores = sample_scores(protocol, GaussianMixture.of(TRUTH), name)
    return {"kl": np.zeros(protocol["replicates"]), **scores}


def depth(model: str, couplings: int, base: Settings, protocol: Settings) -> Scores:
    """Train a flow; return the scores of its density, cost and samples."""
    name = f"depth {model} {couplings}"
    train, test = data(protocol, protocol["train"])
    flow = build(protocol, base, model, couplings)
    train_model(flow, train, test, training(base), name=name)
    log_p = TRUTH.log_prob(test.reshape(-1, DIM)).reshape(test.shape[:2])
    return {
        "kl": divergence(protocol, flow),
        "test_excess_nll": likelihood.divergence(log_p, flow.score(test)),
        "epochs_to_converge": epochs_to_converge(flow.history["epoch"], flow.history["test_nll"]),
        "flops_per_epoch": flops_per_epoch(flow, len(train)),
        "parameters": flow.parameters_per_member(),
        **sample_scores(protocol, flow, name),
    }


def control(
    model: str, couplings: int, effort: float, base: Settings, protocol: Settings
) -> Scores:
    """Train the same flow with new points every epoch, for ``effort`` times the epochs."""
    settings = training(base, epochs=round(effort * base["epochs"]), noise=0)
    train, _ = data(protocol, protocol["train"])
    flow = build(protocol, base, model, couplings)
    trainer = remedies.FreshTrainer(flow, train, settings, GaussianMixture.of(TRUTH))
    for _ in tqdm(range(settings.epochs), desc=f"control {model} {couplings}", disable=None):
        trainer.epoch()
    return {"kl": divergence(protocol, flow)}


def equal(model: str, settings: Settings, training: Settings, protocol: Settings) -> Scores:
    """Train and score a model at the pipeline's settings, changed to equal sizes."""
    name, train = f"equal {model}", TrainingSettings(**training)
    population = replicates.built(model, settings, protocol["replicates"], train.seed)
    train_model(population, *data(protocol, protocol["train"]), train, name=name)
    scores = sample_scores(protocol, population, name)
    # A GAN has no density: 0 if its samples are finite, else NaN, so that failures are counted.
    dense = population.supports("log_prob")
    kl = divergence(protocol, population) if dense else 0 * scores["recall"]
    return {"kl": kl, "parameters": population.parameters_per_member(), **scores}


def curve(model: str, rows: int, couplings: int, base: Settings, protocol: Settings) -> Scores:
    """Train a flow on ``rows`` rows, for as many steps as on the rows of the protocol."""
    train, _ = data(protocol, rows)
    steps, now = (math.ceil(n / base["batch_size"]) for n in (protocol["train"], rows))
    settings = training(base, epochs=max(1, round(base["epochs"] * steps / now)))
    flow = build(protocol, base, model, couplings)
    return {"kl": divergence(protocol, remedies.train(flow, train, settings))}


def reference(name: str, rows: int, bandwidths: int, fresh: int, protocol: Settings) -> Scores:
    """Fit a Gaussian mixture with the right number of components, or a kernel density."""
    grid = np.geomspace(0.02, 0.3, bandwidths).tolist()
    fits = {
        "gmm": partial(fit_gmm, components=[len(TRUTH.weights)], folds=5, seed=0),
        "kde": partial(fit_kde, bandwidths=grid, folds=5, seed=0),
    }
    train, _ = data(protocol, rows)
    models = [GaussianMixture.fit(fits[name], own) for own in train.swapaxes(0, 1)]
    return {"kl": np.concatenate([divergence(protocol, q, count=fresh) for q in models])}


def ablation(
    model: str, couplings: int, remedy: Settings, base: Settings, protocol: Settings
) -> Scores:
    """Train flows with one remedy against overfitting; the remedy may be an ensemble."""
    amounts = remedies.Remedy.model_fields.keys()
    chosen = remedies.Remedy(**{key: remedy[key] for key in remedy.keys() & amounts})
    changes = {key: remedy[key] for key in remedy.keys() - amounts}
    train, _ = data(protocol, protocol["train"], chosen.networks)
    flow = build(protocol, base, model, couplings, chosen.networks)
    flow = remedies.train(flow, train, training(base, **changes), chosen)
    return {"kl": divergence(protocol, flow, chosen.networks)}


# Shared by the cells


def data(protocol: Settings, rows: int, networks: int = 1) -> tuple[Array, Array]:
    """Return the rows of all replicates, with each replicate ``networks`` times.

    The other arguments are as in ``replicates.data``.
    """
    train, test = replicates.data(TRUTH, protocol, rows)
    return train.repeat(networks, axis=1), test.repeat(networks, axis=1)


def training(base: Settings, **changes: Any) -> TrainingSettings:
    """Return the training settings of ``base``, with ``changes``."""
    chosen = {key: value for key, value in base.items() if key not in ARCHITECTURE}
    return TrainingSettings(**{**chosen, **changes})


def build(
    protocol: Settings, base: Settings, model: str, couplings: int, networks: int = 1
) -> Flow:
    """Build a flow with ``networks`` members per replicate."""
    chosen = {"couplings": couplings, **{key: base[key] for key in ARCHITECTURE}}
    flow = replicates.built(model, chosen, protocol["replicates"] * networks, base["seed"])
    assert isinstance(flow, Flow)
    return flow


def divergence(
    protocol: Settings, model: Population, networks: int = 1, count: int | None = None
) -> Array:
    """Return the KL from the truth ``(R,)``, in nats, of the ensemble of each replicate.

    An ensemble is the equal mixture of the ``networks`` of a replicate. ``count`` is the number of
    fresh points, if the protocol does not say it.
    """
    fresh = replicates.fresh(TRUTH, protocol, count)
    log_q = model.score(fresh)
    parts = [log_q[:, k : k + networks] for k in range(0, log_q.shape[1], networks)]
    mixed = np.stack([ensemble_log_prob(part) for part in parts], axis=1)
    return likelihood.divergence(TRUTH.log_prob(fresh)[:, None], mixed)


def sample_scores(protocol: Settings, model: Population, name: str) -> Scores:
    """Return the sample metrics ``(R,)`` of every replicate's network."""
    total, count = protocol["samples"], protocol["replicates"]
    generator = replicates.sample_stream(protocol, name)
    shape = (total,) if model.members == count else (total, count)
    points = model.sample(shape, generator=generator).double().numpy().reshape(total, count, DIM)
    # A single sample that is not finite makes the replicate fail.
    points = np.where(np.isfinite(points).all(axis=(0, 2), keepdims=True), points, np.nan)
    return replicates.sample_scores(TRUTH, points, protocol, COMPARISONS, MODES)
