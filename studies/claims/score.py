"""Train and score one cell of the study: ``python -m studies.claims.score depth glow 8`` from the top folder.

A cell is one population, member r trained on replicate r's own data. It writes a row per replicate; what is not finite is kept as ``NaN``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
import torch
import yaml

import flows
from flows import references, seeds, splits, targets
from flows.evaluation import likelihood, samples
from flows.evaluation.cost import epochs_to_converge, flops_per_epoch
from flows.population import Population
from flows.targets import Array
from flows.training import TrainingSettings, fit
from studies.claims import variants

HERE = Path(__file__).parent
TARGET = targets.ring()
COMPARISONS = ("precision", "recall", "density", "coverage", "c2st_auc")
Table = dict[str, Array]


def main(*words: str) -> None:
    params = load()
    group, *cell = words or ("",)
    if group not in GROUPS:
        sys.exit(f"score: {group!r} is no group; the groups are: {', '.join(GROUPS)}")
    function, names = GROUPS[group]
    allowed = choices(params, group)
    if len(cell) != len(names):
        sys.exit(f"score: usage: python -m studies.claims.score {group} {' '.join(f'<{name}>' for name in names)}")
    for name, word, known in zip(names, cell, allowed, strict=True):
        if word not in known:
            sys.exit(f"score: {group}: {name} {word!r} is not in params.yaml; allowed: {', '.join(known)}")
    table = function(params, *cell)
    file = path(group, *cell)
    file.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"data_seed": data_seeds(params), **table})
    file.write_text(frame.to_csv(index=False, float_format="%.6g", lineterminator="\n", na_rep="NaN"), encoding="utf-8")
    failed = sum(not math.isfinite(value) for value in table["kl"])
    print(
        f"{' '.join(words)}: " + ", ".join(f"{key} {np.mean(value):.4g}" for key, value in table.items()) + (f"; {failed} failed" if failed else "")
    )


def load() -> dict[str, Any]:
    return yaml.safe_load((HERE / "params.yaml").read_text(encoding="utf-8"))


def choices(params: dict[str, Any], group: str) -> list[list[str]]:
    """What each word of a cell may be."""
    named = {
        "depth": [params["flows"], params["depth"]["couplings"]],
        "control": [params["flows"], params["depth"]["couplings"]],
        "equal": [[*params["equal"], "truth"]],
        "curve": [params["curve"]["models"], params["curve"]["rows"]],
        "ablation": [params["flows"], params["ablation"]["variants"]],
    }
    return [[str(word) for word in words] for words in named[group]]


def path(group: str, *cell: str) -> Path:
    """``results/depth/glow_8.csv`` for ``depth glow 8``."""
    return HERE / "results" / group / f"{'_'.join(cell)}.csv"


# The groups


def depth(params: dict[str, Any], model: str, couplings: str) -> Table:
    training = training_settings(params)
    train, test = data(params, params["rows"]["train"])
    flow = build(params, model, int(couplings), train.shape[1])
    history = fit(flow, train, test, training, name=f"depth {model} {couplings}")
    return {
        "kl": divergence(params, flow),
        "test_excess_nll": likelihood.divergence(
            np.stack([TARGET.log_prob(rows) for rows in test.numpy().transpose(1, 0, 2)], axis=1), likelihood.log_density(flow, test)
        ),
        "epochs_to_converge": epochs_to_converge(history.epoch, history.columns["test_nll"]),
        "flops_per_epoch": np.full(flow.members, flops_per_epoch(flow, len(train))),
        "parameters": np.full(flow.members, float(flow.parameters_per_member())),
        **sample_scores(params, flow, f"depth {model} {couplings}"),
    }


def control(params: dict[str, Any], model: str, couplings: str) -> Table:
    training = training_settings(params, epochs=round(params["control"]["effort"] * params["base"]["epochs"]))
    train, _ = data(params, params["rows"]["train"])
    flow = build(params, model, int(couplings), train.shape[1])
    variants.train_fresh(flow, train, training, references.truth(TARGET), name=f"control {model} {couplings}")
    return {"kl": divergence(params, flow)}


def equal(params: dict[str, Any], model: str) -> Table:
    """The pipeline's own settings, from its own ``params.yaml``."""
    if model == "truth":
        return {"kl": np.zeros(params["replicates"]["count"]), **sample_scores(params, references.truth(TARGET), "equal truth")}
    from stages import settings  # here, as the other groups don't depend on it

    try:
        pipeline = settings.load()
    except settings.UserError as error:
        sys.exit(f"score: {error}")
    training = pipeline.training(model).model_dump(exclude={"members"})
    train, test = data(params, params["rows"]["train"])
    network = flows.model_class(model)(dim=2, members=train.shape[1], seed=training["seed"], **pipeline.architecture(model))
    fit(network, train, test, TrainingSettings(**training), name=f"equal {model}")
    scores = sample_scores(params, network, f"equal {model}")
    # A GAN has no density: its column says 0 where it sampled well and NaN where it did not, so that failures are counted alike.
    kl = divergence(params, network) if network.has_density() else 0 * scores["recall"]
    return {"kl": kl, "parameters": np.full(network.members, float(network.parameters_per_member())), **scores}


def curve(params: dict[str, Any], model: str, rows: str) -> Table:
    train, _ = data(params, int(rows))
    if model in ("gmm", "kde"):
        return {"kl": np.array([reference_divergence(params, model, train[:, r].numpy()) for r in range(train.shape[1])])}
    steps = [math.ceil(n / params["base"]["batch_size"]) for n in (params["rows"]["train"], len(train))]  # of an epoch
    training = training_settings(params, epochs=max(1, round(params["base"]["epochs"] * steps[0] / steps[1])))
    architecture = {**_architecture(params), "couplings": params["curve"]["couplings"]}
    flow = variants.train_variant(flows.model_class(model), architecture, train, training, name=f"curve {model} {rows}")
    return {"kl": divergence(params, flow)}


def ablation(params: dict[str, Any], model: str, variant: str) -> Table:
    changes = dict(params["ablation"]["variants"][variant])
    networks = changes.pop("networks", 1)  # of an ensemble
    fields = TrainingSettings.__dataclass_fields__
    training = training_settings(params, **{key: value for key, value in changes.items() if key in fields})
    train, _ = data(params, params["rows"]["train"], networks)
    architecture = {**_architecture(params), "couplings": params["ablation"]["couplings"]}
    amounts = {key: value for key, value in changes.items() if key not in fields}
    flow = variants.train_variant(flows.model_class(model), architecture, train, training, name=f"ablation {model} {variant}", **amounts)
    return {"kl": divergence(params, flow, networks)}


GROUPS: dict[str, tuple[Callable[..., Table], tuple[str, ...]]] = {
    "depth": (depth, ("model", "couplings")),
    "control": (control, ("model", "couplings")),
    "equal": (equal, ("model",)),
    "curve": (curve, ("model", "rows")),
    "ablation": (ablation, ("model", "variant")),
}


# What they share


def data_seeds(params: dict[str, Any]) -> list[int]:
    first, count = params["replicates"]["first"], params["replicates"]["count"]
    return list(range(first, first + count))


def data(params: dict[str, Any], rows: int, networks: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Training ``(rows, M, D)`` and test rows of every replicate, each ``networks`` times; split as by ``prepare`` with its default seed."""
    held = params["rows"]["test"]
    drawn = [TARGET.sample(rows + held, seeds.numpy_generator(seed, "generate")) for seed in data_seeds(params)]
    parts = zip(*(splits.holdout(each, held, seed=0) for each in drawn), strict=True)
    train, test = (torch.from_numpy(np.stack(part, axis=1).repeat(networks, axis=1)) for part in parts)
    return train, test


def training_settings(params: dict[str, Any], **changes: Any) -> TrainingSettings:
    chosen = {**params["base"], **changes}
    return TrainingSettings(**{key: chosen[key] for key in TrainingSettings.__dataclass_fields__})


def build(params: dict[str, Any], model: str, couplings: int, members: int) -> Any:
    return flows.model_class(model)(dim=2, members=members, couplings=couplings, **_architecture(params))


def _architecture(params: dict[str, Any]) -> dict[str, Any]:
    return {key: params["base"][key] for key in ("hidden", "transform", "bins", "seed")}


def divergence(params: dict[str, Any], model: Population, networks: int = 1) -> Array:
    """KL from the truth ``(R,)`` in nats, of the equal mixture of the ``networks`` of each replicate; on the same fresh points for all cells."""
    fresh, log_p = fresh_points(params, params["evaluate"]["fresh"])
    log_q = likelihood.log_density(model, fresh)
    mixed = [likelihood.ensemble(log_q[:, k : k + networks]) for k in range(0, log_q.shape[1], networks)]
    return likelihood.divergence(log_p, np.concatenate(mixed, axis=1))


def reference_divergence(params: dict[str, Any], model: str, rows: Array) -> float:
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    standardized = (rows - mean) / deviation
    if model == "gmm":
        fitted = references.fit_gmm(standardized, mean, deviation, components=[len(TARGET.weights)], folds=5, seed=0)
    else:
        bandwidths = np.geomspace(0.02, 0.3, params["curve"]["bandwidths"]).tolist()
        fitted = references.fit_kde(standardized, mean, deviation, bandwidths=bandwidths, folds=5, seed=0)
    fresh, log_p = fresh_points(params, params["curve"]["fresh"])
    return float(likelihood.divergence(log_p, likelihood.log_density(fitted, fresh))[0])


def fresh_points(params: dict[str, Any], count: int) -> tuple[Array, Array]:
    """Points from the truth ``(n, D)`` that nothing trains on, and their log-density ``(n, 1)``."""
    fresh = TARGET.sample(count, seeds.numpy_generator(params["replicates"]["first"], "fresh"))
    return fresh, TARGET.log_prob(fresh)[:, None]


@torch.no_grad()
def sample_scores(params: dict[str, Any], model: Population, name: str) -> Table:
    """The sample metrics ``(R,)`` of every replicate's network: modes on all its samples, comparisons as means over ``draws`` sets of them."""
    evaluate, held, count = params["evaluate"], params["rows"]["test"], params["replicates"]["count"]
    generator = seeds.torch_generator(params["replicates"]["first"], "sample", crc32(name.encode()))
    shape = (evaluate["samples"],) if model.members == count else (evaluate["samples"], count)
    drawn = model.sample(shape, generator=generator).double().numpy().reshape(evaluate["samples"], count, -1)
    rows = []
    for r, seed in enumerate(data_seeds(params)):
        if not np.isfinite(drawn[:, r]).all():
            rows.append(dict.fromkeys(("modes", "high_quality", "mode_tv", *COMPARISONS), float("nan")))
            continue
        real = TARGET.sample(evaluate["draws"] * held, seeds.numpy_generator(seed, "metric"))
        sets = [slice(k * held, (k + 1) * held) for k in range(evaluate["draws"])]
        compared = [compare(real[part], drawn[part, r], evaluate["neighbours"], seeds.integer(seed, "metric", 2)) for part in sets]
        means = {key: float(np.mean([scores[key] for scores in compared])) for key in COMPARISONS}
        rows.append({**samples.mode_scores(samples.mode_mass(drawn[:, r], TARGET), TARGET), **means})
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def compare(real: Array, fake: Array, neighbours: int, seed: int) -> dict[str, float]:
    return {**samples.neighbour_scores(real, fake, neighbours), "c2st_auc": samples.classifier_auc(real, fake, seed)}


if __name__ == "__main__":
    main(*sys.argv[1:])
