"""Train and score one cell of the study: ``python -m studies.claims.score depth glow 8`` from the top folder.

A cell is one population, member r trained on replicate r's own data. It writes a row per replicate; what is not finite is kept as ``NaN``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from zlib import crc32

import numpy as np
from tqdm import tqdm

from flows import references
from flows.core import seeds
from flows.core.arrays import Array
from flows.core.errors import UserError, errors_in_one_line
from flows.core.population import Population
from flows.data import splits
from flows.evaluation import likelihood, samples
from flows.evaluation.cost import epochs_to_converge, flops_per_epoch
from flows.networks import registry
from flows.networks.flow import Flow
from flows.targets import ring
from flows.training.trainer import fit
from stages.shared import files
from stages.shared import settings as pipeline
from studies.claims import settings, variants
from studies.claims.settings import Settings

TRUTH = ring.make()
DIM = TRUTH.means.shape[1]
COMPARISONS = ("precision", "recall", "density", "coverage", "c2st_auc")
Table = dict[str, Array]


@errors_in_one_line("score")
def main(*words: str) -> None:
    params = settings.load()
    if words not in params.cells():
        cells = (" ".join([group, *map("|".join, allowed)]) for group, allowed in params.words().items())
        raise UserError(f"there is no cell {' '.join(words)!r} in params.yaml; the cells are: {', '.join(cells)}")
    group, *cell = words
    table = GROUPS[group](params, *cell)
    files.write_csv(settings.path(*words), {"data_seed": params.data_seeds, **table}, float_format="%.6g")
    failed = int((~np.isfinite(table["kl"])).sum())
    means = ", ".join(f"{key} {np.mean(value):.4g}" for key, value in table.items())
    print(f"{' '.join(words)}: {means}" + (f"; {failed} failed" if failed else ""))


# The groups


def depth(params: Settings, model: str, couplings: str) -> Table:
    name = f"depth {model} {couplings}"
    train, test = data(params, params.rows.train)
    flow = fit(build(params, model, couplings), train, test, params.training(), name=name)
    log_p = TRUTH.log_prob(test.reshape(-1, DIM)).reshape(test.shape[:2])
    return {
        "kl": divergence(params, flow),
        "test_excess_nll": likelihood.divergence(log_p, likelihood.log_density(flow, test)),
        "epochs_to_converge": epochs_to_converge(flow.history["epoch"], flow.history["test_nll"]),
        "flops_per_epoch": np.full(flow.members, flops_per_epoch(flow, len(train))),
        "parameters": np.full(flow.members, flow.parameters_per_member()),
        **sample_scores(params, flow, name),
    }


def control(params: Settings, model: str, couplings: str) -> Table:
    training = params.training(epochs=round(params.control.effort * params.base.epochs), noise=0)
    train, _ = data(params, params.rows.train)
    flow = build(params, model, couplings)
    trainer = variants.FreshTrainer(flow, train, training, references.truth(TRUTH))
    for _ in tqdm(range(training.epochs), desc=f"control {model} {couplings}", unit="epoch", disable=None):
        trainer.epoch()
    return {"kl": divergence(params, flow)}


def equal(params: Settings, model: str) -> Table:
    """The pipeline's own settings, from its own ``params.yaml``, but for what the study changes to make sizes equal."""
    name = f"equal {model}"
    if model == "truth":
        return {"kl": np.zeros(params.replicates.count), **sample_scores(params, references.truth(TRUTH), name)}
    own = pipeline.load()
    training = own.training(model)
    network = registry.build(model, (DIM,), own.architecture(model) | params.equal[model], members=params.replicates.count, seed=training.seed)
    fit(network, *data(params, params.rows.train), training, name=name)
    scores = sample_scores(params, network, name)
    # A GAN has no density: its column says 0 where it sampled well and NaN where it did not, so that failures are counted alike.
    kl = divergence(params, network) if network.has("log_prob") else 0 * scores["recall"]
    return {"kl": kl, "parameters": np.full(network.members, network.parameters_per_member()), **scores}


def curve(params: Settings, model: str, rows: str) -> Table:
    train, _ = data(params, int(rows))
    if model in ("gmm", "kde"):
        fitted = [reference(params, model, train[:, r]) for r in range(params.replicates.count)]
        return {"kl": np.concatenate([divergence(params, each, count=params.curve.fresh) for each in fitted])}
    steps, now = (math.ceil(n / params.base.batch_size) for n in (params.rows.train, len(train)))  # of an epoch
    training = params.training(epochs=max(1, round(params.base.epochs * steps / now)))
    flow = variants.train(build(params, model, params.curve.couplings), train, training, name=f"curve {model} {rows}")
    return {"kl": divergence(params, flow)}


def ablation(params: Settings, model: str, variant: str) -> Table:
    remedy = params.ablation.variants[variant]
    train, _ = data(params, params.rows.train, remedy.networks)
    flow = build(params, model, params.ablation.couplings, remedy.networks)
    flow = variants.train(flow, train, params.training(**remedy.changes()), remedy, name=f"ablation {model} {variant}")
    return {"kl": divergence(params, flow, remedy.networks)}


GROUPS: dict[str, Callable[..., Table]] = {"depth": depth, "control": control, "equal": equal, "curve": curve, "ablation": ablation}


# What they share


def data(params: Settings, rows: int, networks: int = 1) -> tuple[Array, Array]:
    """Training ``(rows, M, D)`` and test rows of every replicate, each ``networks`` times; split as by ``prepare`` with its default seed."""
    held = params.rows.test
    drawn = [splits.draw(TRUTH, rows + held, held, seed=seed, split_seed=0) for seed in params.data_seeds]
    train, test = (np.stack(part, axis=1).repeat(networks, axis=1) for part in zip(*drawn, strict=True))
    return train, test


def build(params: Settings, model: str, couplings: int | str, networks: int = 1) -> Flow:
    chosen = {"couplings": int(couplings), **params.base.model_dump(include={"hidden", "transform", "bins"})}
    flow = registry.build(model, (DIM,), chosen, members=params.replicates.count * networks, seed=params.base.seed)
    assert isinstance(flow, Flow)
    return flow


def divergence(params: Settings, model: Population, networks: int = 1, count: int | None = None) -> Array:
    """KL from the truth ``(R,)`` in nats, of the equal mixture of the ``networks`` of each replicate; on the same fresh points for all cells."""
    fresh = TRUTH.sample(count or params.evaluate.fresh, seeds.numpy_generator(params.replicates.first, "fresh"))
    log_q = likelihood.log_density(model, fresh)
    mixed = [likelihood.ensemble(log_q[:, k : k + networks]) for k in range(0, log_q.shape[1], networks)]
    return likelihood.divergence(TRUTH.log_prob(fresh)[:, None], np.concatenate(mixed, axis=1))


def reference(params: Settings, model: str, rows: Array) -> Population:
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    standardized = (rows - mean) / deviation, mean, deviation
    if model == "gmm":
        return references.fit_gmm(*standardized, components=[len(TRUTH.weights)], folds=5, seed=0)
    return references.fit_kde(*standardized, bandwidths=np.geomspace(0.02, 0.3, params.curve.bandwidths).tolist(), folds=5, seed=0)


def sample_scores(params: Settings, model: Population, name: str) -> Table:
    """The sample metrics ``(R,)`` of every replicate's network: modes on all its samples, comparisons as means over ``draws`` sets of them."""
    evaluate, held, count = params.evaluate, params.rows.test, params.replicates.count
    generator = seeds.numpy_generator(params.replicates.first, "sample", crc32(name.encode()))
    shape = (evaluate.samples,) if model.members == count else (evaluate.samples, count)
    drawn = model.sample(shape, generator=generator).double().numpy().reshape(evaluate.samples, count, DIM)
    drawn = np.where(np.isfinite(drawn).all(axis=(0, 2), keepdims=True), drawn, np.nan)  # one bad sample, and the replicate has failed
    # The directions and the bandwidth are of scores that are not reported.
    compare = partial(samples.two_sample_scores, neighbours=evaluate.neighbours, directions=np.eye(DIM), bandwidth=1.0)
    rows = []
    for r, seed in enumerate(params.data_seeds):
        real = TRUTH.sample(evaluate.draws * held, seeds.numpy_generator(seed, "metric"))
        sets = [slice(k * held, (k + 1) * held) for k in range(evaluate.draws)]
        compared = [compare(real[part], drawn[part, r], seed=seeds.integer(seed, "metric", 2)) for part in sets]
        means = {key: np.mean([scores[key] for scores in compared]) for key in COMPARISONS}
        rows.append({**samples.mode_scores(samples.mode_mass(drawn[:, r], TRUTH), TRUTH), **means})
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


if __name__ == "__main__":
    main(*sys.argv[1:])
