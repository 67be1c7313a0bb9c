"""The automatic recipe: how a table is regularised is chosen from its own training rows.

1. *Folds.* The rows are cut into five. A member learns from four fifths and is scored on the fifth
   that it never sees (``fold_trainer.py``).
2. *Successive halving.* Every candidate (``candidates.py``), a way to regularise, has a member a
   fold. Twice, only the candidates whose mixture makes the held-out rows most likely go on.
3. *Stopping.* Training ends when the members gain next to nothing any more. Then the learning rate
   cools down to 0.
4. *Stacking.* The ensemble's weights maximise the likelihood of the held-out rows
   (``stacking.py``).

No row judges a member that learned from it. Sources: Jamieson and Talwalkar 2016 (successive
halving); Hu et al. 2024 (MiniCPM, the cooling). docs/settings.md has what each part is worth.
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
from flows.core.scaler import Scaler
from flows.core.seeds import numpy_generator
from flows.core.settings import FOLDS, TrainingSettings, folds_and_candidates
from flows.networks import registry
from flows.networks.network import DensityNetwork
from flows.networks.preprocessing import Preprocessing
from flows.references import fit_gaussian
from flows.training import stacking
from flows.training.candidates import CANDIDATES
from flows.training.fold_trainer import FoldTrainer, Member

ROUNDS = (125, 1_000)  # steps after which candidates are dropped
# Candidates after the first round, as a multiple of those that are kept at last; 4 at least
SPARE = 2
LOG = 200  # steps between two rows of the history
MOST_STEPS = 8_000
COOLING = 0.25  # how long the learning rate takes to fall to 0, as a share of the steps before
REFERENCES = {"independent Gaussians": False, "one Gaussian": True}  # whether correlated


def train_auto(
    model: DensityNetwork,
    rows: Tensor,
    scaler: Scaler,
    test: Tensor | None,
    settings: TrainingSettings,
    on_log: Callable[[int, dict[str, Array]], None] | None,
    name: str,
) -> None:
    """Train ``model`` on ``rows`` ``(n, 1, D)``, which are scaled by ``scaler``.

    Its members become the networks that are kept. Raises ``ValueError`` for a number of members
    that the folds and candidates can't give.
    """
    folds, kept = folds_and_candidates(model.members)
    about = model.description
    if not about or model.member_range.start or rows.shape[1] != 1:
        raise ValueError(
            "the automatic recipe trains a whole population of flows.build, "
            "on rows that all members share"
        )

    def population(candidates: int) -> DensityNetwork:
        network = registry.build(
            about["model"],
            about["event_shape"],
            about["settings"],
            members=candidates * folds,
            seed=about["seed"],
            columns=model.columns,
        )
        return cast(DensityNetwork, network)

    z = rows[:, 0].numpy()
    fold = numpy_generator(settings.seed, "folds").permutation(np.arange(len(z)) % FOLDS)
    fold[fold >= folds] = -1
    curves: dict[int, dict[Member, dict[str, float]]] = {}
    with tqdm(total=round((1 + COOLING) * MOST_STEPS), desc=name, unit="step", disable=None) as bar:
        bar.set_postfix_str("fitting margins, finding neighbours")
        members = [Member(candidate, f) for candidate in CANDIDATES for f in range(folds)]
        start = population(len(CANDIDATES))
        held = None if test is None else test.numpy()
        trainer = FoldTrainer(start, z, scaler, held, members, fold, settings)

        def on_check() -> None:
            bar.update(trainer.step - bar.n)
            bar.set_postfix_str(
                f"{len(trainer.candidates)} candidates, held_out_nll {trainer.best_nll.min():.3f}"
            )
            if trainer.step // LOG > max(curves, default=0) // LOG:
                curves[trainer.step] = trainer.curves()

        for until, count in zip(ROUNDS, (max(SPARE * kept, 4), kept), strict=True):
            trainer.train(until, on_check)
            chosen = stacking.chosen(trainer.scores()[fold >= 0], count)
            trainer.keep(
                [trainer.candidates[c] for c in chosen],
                model if count == kept else population(len(chosen)),
            )
        trainer.train(MOST_STEPS, on_check)
        trainer.train(round((1 + COOLING) * trainer.step), on_check, cool=True)
        curves[trainer.step] = trainer.curves()
    trainer.optimizer.parameters.copy_(trainer.best)
    scores = trainer.scores()
    weights = stacking.weights(scores[fold >= 0])
    model.weights.copy_(torch.from_numpy(np.repeat(weights / folds, folds)))
    held_out = stacking.mixture(scores, weights)
    model.history = {
        "epoch": np.array([step // trainer.steps for step in curves], dtype=np.float64),
        "held_out": held_out,
        "fold": fold.astype(np.float64),
    }
    for key in curves[trainer.step][trainer.members[0]]:
        model.history[key] = np.array(
            [[row[member][key] for member in trainer.members] for row in curves.values()]
        )
    if on_log is not None:
        for place, epoch in enumerate(model.history["epoch"]):
            each = {key: value[place] for key, value in model.history.items() if value.ndim == 2}
            on_log(int(epoch), each)
    unseen = held_out[fold >= 0]
    about["training"] = {
        "recipe": "auto",
        "rows": len(z),
        "folds": folds,
        "steps": trainer.step,
        "members": [
            {"fold": member.fold, "regularisation": str(member.candidate), "steps": int(step)}
            for member, step in zip(trainer.members, trainer.best_step, strict=True)
        ],
        "held_out": float(unseen.mean()),
        "held_out_se": float(unseen.std() / math.sqrt(len(unseen))),
        "references": score_references(z, scaler, model, fold),
    }


def score_references(
    z: Array, scaler: Scaler, model: DensityNetwork, fold: Array
) -> dict[str, float]:
    """Return the mean log-density of two simple models on the same folds, in nats.

    It is in the user's units; ``z`` ``(n, D)`` are scaled by ``scaler``.
    """
    plain = Preprocessing(z.shape[1:], 1, model.columns)
    plain.standardize.set(scaler)
    log_det = plain.from_scaled(torch.from_numpy(z.T.copy())[None])[1].expand(1, len(z))[0].numpy()
    scores = dict.fromkeys(REFERENCES, 0.0)
    for f in np.unique(fold[fold >= 0]):
        own = Scaler.fit(z[fold != f])
        train, unseen = own.scale(z[fold != f]), own.scale(z[fold == f])
        for name, correlated in REFERENCES.items():
            log_q = fit_gaussian(train, correlated=correlated).log_prob(unseen)
            log_q += log_det[fold == f] - np.log(own.deviation).sum()
            scores[name] += float(log_q.sum()) / int((fold >= 0).sum())
    return scores
