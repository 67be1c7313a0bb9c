"""Score one case of the study: ``python -m studies.recipe.score search base`` from the top folder.

A case is a model, a target and training settings: the ``base`` of ``params.yaml`` with the case's own changes. Its populations
are trained on several data sets at once, some members on each, and scored by the divergence from the known truth.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import flows
from flows import references, seeds, targets
from flows.evaluation import likelihood
from flows.training import TrainingSettings, fit

HERE = Path(__file__).parent
FIRST_FREE_SEED = 100  # the truth of data seeds below is for reporting only: nothing is chosen by it
TEST_ROWS, ROWS = 200, 1000  # the split of the main pipeline's default


def main(group: str, case: str) -> None:
    params = yaml.safe_load((HERE / "params.yaml").read_text(encoding="utf-8"))
    settings = case_settings(params, group, case)
    if group == "search" and min(settings["seeds"]) < FIRST_FREE_SEED:
        sys.exit(f"studies/recipe/params.yaml: search.common.seeds = {settings['seeds']}: must be at least {FIRST_FREE_SEED} each")
    result = score(settings, params["custom"])
    write(group, case, result)
    print(f"{group} {case}: KL {result['kl']:.4f} nat, ensemble {result['kl_ensemble']:.4f} nat")


def case_settings(params: dict[str, Any], group: str, case: str) -> dict[str, Any]:
    """The base, or the pipeline's settings of a baseline where the group names it, with the group's common and the case's own changes."""
    changes = params[group]["cases"][case]
    own = params[group].get("models", {}).get(changes.get("model"), {})
    return {**params["base"], **own, **params[group]["common"], **changes}


def write(group: str, case: str, result: dict[str, Any]) -> None:
    path = HERE / "results" / group / f"{case}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def score(settings: dict[str, Any], custom: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean KL over data sets and members, of the ensembles, per data set, and of a kernel density on the same rows; in nats."""
    target = make_target(settings["target"], custom)
    splits = [split(target.sample(ROWS, seeds.numpy_generator(seed, "generate"))) for seed in settings["seeds"]]
    return divergences(trained(settings, splits), settings, target, splits)


def trained(settings: dict[str, Any], splits: list[tuple[targets.Array, targets.Array]]) -> Any:
    """The case's model, some members on each data set: all members of the first, then of the next."""
    train, test = (torch.from_numpy(np.stack(part, axis=1).repeat(settings["members"], axis=1)) for part in zip(*splits, strict=True))
    model_class = flows.model_class(settings["model"])
    architecture = {key: settings[key] for key in inspect.signature(model_class).parameters if key in settings and key not in ("members", "seed")}
    model = model_class(dim=2, members=train.shape[1], **architecture)
    training = {key: settings[key] for key in TrainingSettings.__dataclass_fields__ if key in settings}
    fit(model, train, test, TrainingSettings(**training), name=settings["model"])
    return model


def divergences(model: Any, settings: dict[str, Any], target: targets.Target, splits: list[tuple[targets.Array, targets.Array]]) -> dict[str, Any]:
    data_seeds, members = settings["seeds"], settings["members"]
    fresh = target.sample(settings["fresh"], seeds.numpy_generator(min(data_seeds), "fresh"))
    log_p = likelihood.log_density(references.truth(target), fresh)
    log_q = likelihood.log_density(model, fresh).reshape(len(fresh), len(data_seeds), members)
    kl = likelihood.divergence(log_p, log_q.reshape(len(fresh), -1)).reshape(len(data_seeds), members)
    ensemble = np.array([likelihood.divergence(log_p, likelihood.ensemble(log_q[:, k]))[0] for k in range(len(data_seeds))])
    kernel = np.array([kernel_density_kl(rows, fresh, log_p) for rows, _ in splits])
    return {
        **rounded({"kl": kl.mean(), "kl_sd": kl.std(axis=1, ddof=1).mean(), "kl_ensemble": ensemble.mean(), "kl_kde": kernel.mean()}),
        "parameters": model.parameters_per_member(),
        "by_seed": [
            {"seed": seed, **rounded({"kl": kl[k].mean(), "kl_ensemble": ensemble[k], "kl_kde": kernel[k]})} for k, seed in enumerate(data_seeds)
        ],
    }


def kernel_density_kl(rows: targets.Array, fresh: targets.Array, log_p: targets.Array) -> float:
    """KL of the reference that the flows should beat: a kernel density with a cross-validated bandwidth, as in the main pipeline."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    kernel = references.fit_kde((rows - mean) / deviation, mean, deviation, bandwidths=np.geomspace(0.02, 1.0, 60).tolist(), folds=5, seed=0)
    return float(likelihood.divergence(log_p, likelihood.log_density(kernel, fresh))[0])


def make_target(name: str, custom: list[dict[str, Any]]) -> targets.Target:
    if name == "custom":
        return targets.custom([c["weight"] for c in custom], [c["mean"] for c in custom], [c["covariance"] for c in custom])
    return {"ring": targets.ring, "grid": targets.grid}[name]()


def split(rows: targets.Array) -> tuple[targets.Array, targets.Array]:
    """Training and test rows, as the main pipeline's ``prepare`` splits them with its default seed."""
    order = seeds.numpy_generator(0, "split").permutation(len(rows))
    return rows[order[TEST_ROWS:]], rows[order[:TEST_ROWS]]


def rounded(numbers: dict[str, Any]) -> dict[str, float]:
    return {key: round(float(value), 5) for key, value in numbers.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
