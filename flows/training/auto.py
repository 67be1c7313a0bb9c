"""The found recipe.

How much a table is to be regularised, and in which way, is read off its own training rows.

1. *Folds.* The rows are cut into five. A member learns from four fifths and is scored on the fifth
   that it never sees (``race.py``).
2. *A race.* Every way to regularise (``candidates.py``) has a member a fold. Twice the race halts,
   and only those go on whose mixture the held-out rows like best.
3. *Stopping.* The race ends when the members gain next to nothing any more. Then the learning rate
   cools down to 0, and what that gains is taken along.
4. *Stacking.* The ensemble's weights maximise the likelihood of the held-out rows
   (``stacking.py``).

So nothing of it is chosen by hand, and no row judges a member that learned from it. Source for
dropping the losers early: Jamieson and Talwalkar 2016 (successive halving); for the cooling: Hu et
al. 2024 (MiniCPM). docs/settings.md has what each part is worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.core.settings import FOLDS, TrainingSettings, folds_and_ways
from flows.networks import registry
from flows.networks.network import DensityNetwork
from flows.training import stacking
from flows.training.candidates import CANDIDATES
from flows.training.fold_trainer import Member, Race

ROUNDS = (125, 1_000)  # steps after which candidates are dropped
# After the first round so many times the candidates that are kept at last, and 4 at least
SPARE = 2
LOG = 200  # steps between two rows of the history
MOST_STEPS = 8_000
COOLING = 0.25  # how long the learning rate takes to fall to 0, as a share of the steps before


OnLog = Callable[[int, dict[str, Array]], None]


def fit_found(
    model: DensityNetwork,
    rows: Tensor,
    test: Tensor | None,
    settings: TrainingSettings,
    on_log: OnLog | None,
    name: str,
) -> None:
    """Train ``model`` on the ``rows`` ``(n, 1, D)`` by the recipe above.

    Its members are the networks that are kept.

    Raises ``ValueError`` for a number of members that no folds make.
    """
    candidates = [
        each for each in CANDIDATES if not {each.door, each.noise} & set(settings.without)
    ]
    folds, kept = folds_and_ways(model.members)
    if kept > len(candidates):
        raise ValueError(
            f"members = {model.members}: the found recipe has {len(candidates)} candidates, "
            f"and keeps at most {FOLDS * len(candidates)} networks"
        )
    about = model.description
    if not about or model.member_range.start or rows.shape[1] != 1:
        raise ValueError(
            "the found recipe trains a whole population of flows.build, "
            "on rows that all members share"
        )

    def population(candidates: int) -> DensityNetwork:
        arguments = {"members": candidates * folds, "seed": about["seed"], "columns": model.columns}
        return cast(
            DensityNetwork,
            registry.build(about["model"], about["event_shape"], about["settings"], **arguments),
        )

    fold = numpy_generator(settings.seed, "folds").permutation(np.arange(len(rows)) % FOLDS)
    fold[fold >= folds] = -1
    curves: dict[int, dict[Member, dict[str, float]]] = {}
    with tqdm(total=round((1 + COOLING) * MOST_STEPS), desc=name, unit="step", disable=None) as bar:
        bar.set_postfix_str("fitting margins, finding neighbours")
        members = [Member(candidate, f) for candidate in candidates for f in range(folds)]
        race = Race(population(len(candidates)), rows[:, 0], test, members, fold, settings)

        def on_check() -> None:
            bar.update(race.step - bar.n)
            bar.set_postfix_str(
                f"{len(race.candidates)} candidates, held_out_nll {race.best_nll.min():.3f}"
            )
            if race.step // LOG > max(curves, default=0) // LOG:
                curves[race.step] = race.curves()

        for until, count in zip(ROUNDS, (max(SPARE * kept, 4), kept), strict=True):
            race.run(until, on_check)
            chosen = stacking.chosen(race.scores()[fold >= 0], count)
            race.keep(
                [race.candidates[c] for c in chosen],
                model if count == kept else population(len(chosen)),
            )
        race.run(MOST_STEPS, on_check)
        if "cooling" not in settings.without:
            race.run(round((1 + COOLING) * race.step), on_check, cool=True)
        curves[race.step] = race.curves()
    race.optimizer.parameters.copy_(race.best)
    scores = race.scores()
    weights = (
        np.full(kept, 1 / kept)
        if "stacking" in settings.without
        else stacking.weights(scores[fold >= 0])
    )
    model.weights.copy_(torch.from_numpy(np.repeat(weights / folds, folds)))
    held_out = stacking.mixture(scores, weights)
    model.history = {
        "epoch": np.array([step // race.steps for step in curves], dtype=np.float64),
        "held_out": held_out,
        "fold": fold.astype(np.float64),
    }
    for key in curves[race.step][race.members[0]]:
        model.history[key] = np.array(
            [[row[member][key] for member in race.members] for row in curves.values()]
        )
    if on_log is not None:
        for place, epoch in enumerate(model.history["epoch"]):
            on_log(
                int(epoch),
                {key: value[place] for key, value in model.history.items() if value.ndim == 2},
            )
    unseen = held_out[fold >= 0]
    about["training"] = {
        "recipe": "found",
        "rows": len(rows),
        "folds": folds,
        "steps": race.step,
        "members": [
            {"fold": member.fold, "regularisation": str(member.candidate), "steps": int(step)}
            for member, step in zip(race.members, race.best_step, strict=True)
        ],
        "held_out": float(unseen.mean()),
        "held_out_se": float(unseen.std() / math.sqrt(len(unseen))),
        "floors": floors(rows[:, 0].double().numpy(), fold),
    }


def floors(rows: Array, fold: Array) -> dict[str, float]:
    """The mean log-density of two simple models on the same folds, in nats and the user's units."""
    # Here: it takes half a second, and the fixed recipe needs none of it
    from scipy.stats import multivariate_normal

    found = {"independent Gaussians": 0.0, "one Gaussian": 0.0}
    for f in np.unique(fold[fold >= 0]):
        train, unseen = rows[fold != f], rows[fold == f]
        centre, scale = train.mean(axis=0), train.std(axis=0)
        train, unseen = (train - centre) / scale, (unseen - centre) / scale
        covariance = np.cov(train.T, bias=True).reshape(len(scale), -1) + 1e-6 * np.eye(len(scale))
        for key, matrix in zip(found, (np.eye(len(scale)), covariance), strict=True):
            found[key] += float(
                (multivariate_normal(cov=matrix).logpdf(unseen) - np.log(scale).sum()).sum()
            ) / int((fold >= 0).sum())
    return found
