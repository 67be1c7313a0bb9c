"""Score one case of a baseline: ``python -m studies.recipe.score_baseline vae`` from the top folder.

As ``score.py`` does, and by its samples as well: a GAN has nothing else.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
import yaml

from flows import seeds
from flows.evaluation import samples
from flows.population import Population
from flows.targets import Target
from studies.recipe.score import FIRST_FREE_SEED, HERE, ROWS, case_settings, divergences, make_target, rounded, split, trained, write

GROUP = "baselines"
SAMPLES, COMPARED, NEIGHBOURS = 10_000, 1_000, 5  # samples for the modes, and against so many fresh points of the truth


def main(case: str) -> None:
    params = yaml.safe_load((HERE / "params.yaml").read_text(encoding="utf-8"))
    settings = case_settings(params, GROUP, case)
    if min(settings["seeds"]) < FIRST_FREE_SEED:
        sys.exit(f"studies/recipe/params.yaml: {GROUP}.common.seeds = {settings['seeds']}: must be at least {FIRST_FREE_SEED} each")
    target = make_target(settings["target"], params["custom"])
    splits = [split(target.sample(ROWS, seeds.numpy_generator(seed, "generate"))) for seed in settings["seeds"]]
    model = trained(settings, splits)
    known = type(model).log_prob is not Population.log_prob
    result: dict[str, Any] = divergences(model, settings, target, splits) if known else {"parameters": model.parameters_per_member()}
    result.update(of_samples(model, target))
    write(GROUP, case, result)
    print(f"{GROUP} {case}: " + ", ".join(f"{key} {value:.4f}" for key, value in result.items() if isinstance(value, float)))


def of_samples(model: Population, target: Target) -> dict[str, float]:
    """Means over all members."""
    drawn = model.sample((SAMPLES,), generator=seeds.torch_generator(FIRST_FREE_SEED, "sample")).transpose(0, 1).double().numpy()
    real = target.sample(COMPARED, seeds.numpy_generator(FIRST_FREE_SEED, "metric"))
    rows = []
    for of_member in drawn:
        few = of_member[:COMPARED]
        rows.append(
            {
                **samples.mode_scores(samples.mode_mass(of_member, target), target),
                **samples.neighbour_scores(real, few, NEIGHBOURS),
                "c2st_auc": samples.classifier_auc(real, few, seeds.integer(FIRST_FREE_SEED, "metric", 2)),
            }
        )
    return rounded({key: np.mean([row[key] for row in rows]) for key in rows[0]})


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main(*sys.argv[1:])
