"""The automatic recipe: how a table is regularised is chosen from its own training rows.

1. *Folds.* The rows are cut into five; equal rows are not parted. A member learns from four fifths
   and is scored on the fifth that it never sees (``fold_trainer.py``).
2. *Successive halving.* Every candidate (``candidates.py``), a way to regularise, has a member a
   fold. Twice, only the candidates whose mixture makes the held-out rows most likely go on.
3. *Stopping.* Training ends when the members gain next to nothing any more. Then the learning rate
   cools down to 0.
4. *Stacking.* The ensemble's weights maximise the likelihood of the held-out rows
   (``stacking.py``).

No row judges a member that learned from it. Of a row with gaps, each visit takes one of several
draws of what is missing, and the score is that of what is known (``completion.py``). Sources:
Jamieson and Talwalkar 2016 (successive halving); Hu et al. 2024 (MiniCPM, the cooling).
docs/settings.md has what each part is worth.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from flows.core.arrays import Array, Whole
from flows.core.progress import announce, peak_memory, progress, say
from flows.core.scaler import Scaler
from flows.core.seeds import numpy_generator
from flows.core.settings import FOLDS, folds_and_candidates
from flows.mixtures.fitting import fit_gaussian
from flows.networks.network import DensityNetwork
from flows.networks.population import ensemble_log_prob
from flows.tables.duplicates import equal_rows
from flows.training.automatic import completion, stacking
from flows.training.automatic.candidates import CANDIDATES
from flows.training.automatic.completion import Completion
from flows.training.automatic.fold_trainer import LEAST_OVERFITTED, FoldTrainer
from flows.training.trainer import Task, replay, scaled

ROUNDS = (125, 500)  # steps after which candidates are dropped
# Candidates after the first round, as a multiple of those that are kept at last; 4 at least
SPARE = 2
TIMED = 6  # checks by which the time of a fit is told
LOG = 200  # steps between two rows of the history
MOST_STEPS = 8_000
COOLING = 0.25  # how long the learning rate takes to fall to 0, as a share of the steps before
REFERENCES = {"independent Gaussians": False, "one Gaussian": True}  # whether correlated


def train_auto(model: DensityNetwork, task: Task) -> None:
    """Train ``model`` by the automatic recipe: its members become the networks that are kept.

    Scaled rows may have gaps, which are ``NaN``. Raises ``ValueError`` for a number of members that
    the folds and candidates can't give, and for rows that can't be learnt.
    """
    rows, test, settings, scaler, on_log, name = task
    in_units = scaler is None
    if scaler is None:
        rows, scaler = scaled(model, rows, "train", None)
    if test is not None:
        test, _ = scaled(model, test, "test", scaler, in_units=in_units)
    rows = model.shaped(rows, "train")
    folds, kept = folds_and_candidates(model.members)
    spare = max(SPARE * kept, 4)
    about = model.description
    if "model" not in about or model.member_range.start or rows.shape[1] != 1:
        raise ValueError(
            "the automatic recipe trains a whole population of flows.build, "
            "on rows that all members share"
        )

    z = rows[:, 0].numpy()
    fold = cut_into_folds(z, settings.seed)
    fold[fold >= folds] = -1
    most = round((1 + COOLING) * MOST_STEPS)
    with progress(name, most, "step") as bar:
        say(bar, "fitting margins, finding neighbours")
        held = None if test is None else test[:, 0].numpy()
        trainer = FoldTrainer(model, z, scaler, held, CANDIDATES, fold, settings)
        clock: dict[int, float] = {}

        def on_check() -> None:
            clock[trainer.step] = time.monotonic()
            if len(clock) == TIMED:
                announce(bar, f"{name}: {_expected(trainer, clock, spare, kept)}")
            state = f"{len(trainer.candidates)} candidates, held-out {-trainer.best_nll.min():.3f}"
            say(bar, state)
            bar.update(trainer.step - bar.n)
            if trainer.step // LOG > max(trainer.curves["train_nll"], default=0) // LOG:
                trainer.log()

        for until, count in zip(ROUNDS, (spare, kept), strict=True):
            trainer.train(until, on_check)
            scores = trainer.scores()
            chosen = stacking.chosen(scores[~np.isnan(scores[:, 0])], count)
            trainer.keep([trainer.candidates[c] for c in chosen])
        trainer.train(MOST_STEPS, on_check)
        trainer.train(round((1 + COOLING) * trainer.step), on_check, cool=True)
        trainer.log()
    trainer.optimizer.parameters.copy_(trainer.best)
    model.load_state_dict(trainer.model.state_dict())
    scores = trainer.scores(every_row=True)
    weights = stacking.weights(scores[fold >= 0])
    model.weights.copy_(torch.from_numpy(np.repeat(weights / folds, folds)))
    held_out, logged = ensemble_log_prob(scores, weights), list(trainer.curves["train_nll"])
    model.history = {
        "epoch": np.array([trainer.epochs(step) for step in logged], dtype=np.float64),
        "held_out": held_out,
        # Of rows with gaps it is the density of fewer values: tail probabilities leave them out
        "fold": np.where(np.isnan(z).any(axis=1), -1.0, fold),
    }
    model.history |= {key: np.stack([*curve.values()]) for key, curve in trainer.curves.items()}
    replay(model.history, on_log)
    unseen = held_out[fold >= 0]
    different = equal_rows(z[fold >= 0]).max() + 1  # copies add no evidence
    about["training"] = {
        "recipe": "auto",
        "rows": len(z),
        "folds": folds,
        "steps": trainer.step,
        "members": [
            {
                "fold": member.fold.number,
                "regularisation": str(member.candidate),
                "steps": int(step),
            }
            for member, step in zip(trainer.members, trainer.best_step, strict=True)
        ],
        "held_out": float(unseen.mean()),
        "held_out_se": float(unseen.std() / math.sqrt(different)),
        "references": score_references(z, fold, trainer.completions),
    }
    if (gaps := np.isnan(z).sum(axis=0)).any():
        about["training"]["gaps"] = gaps.tolist()


def cut_into_folds(rows: Array, seed: int) -> Whole:
    """Return the fold of each of ``rows`` ``(n, D)``, at random; equal rows are in the same."""
    group = equal_rows(rows)
    count = group.max() + 1
    return numpy_generator(seed, "folds").permutation(np.arange(count) % FOLDS)[group]


def _expected(trainer: FoldTrainer, clock: dict[int, float], spare: int, kept: int) -> str:
    """Return how long training will take, by the ``clock`` (s) at its first steps, and its memory.

    The time of a step is in proportion to the candidates: all, then ``spare``, then ``kept``.
    """

    def candidate_steps(halved: int, last: int) -> float:
        first = len(CANDIDATES) * ROUNDS[0] + spare * (halved - ROUNDS[0])
        return first + kept * ((1 + COOLING) * last - halved)

    (start, begun), *_, (step, now) = clock.items()
    share = (now - begun) / (step - start) / len(CANDIDATES)
    least = share * candidate_steps(LEAST_OVERFITTED, LEAST_OVERFITTED)
    most = share * candidate_steps(ROUNDS[1], MOST_STEPS)
    n, dim = trainer.rows.shape
    return (
        f"{n:,} rows of {dim} columns: training will take {least:.0f} to {most:.0f} s, "
        f"and about {peak_memory():.1f} GB of memory"
    )


def score_references(z: Array, fold: Whole, completions: Sequence[Completion]) -> dict[str, float]:
    """Return the mean log-density of two simple models on the same folds, in nats.

    It is in the user's units; ``z`` ``(n, D)`` are scaled. Of a row with gaps it is that of what is
    known.
    """
    unknown, plain = np.isnan(z), completions[0].units
    scaled = torch.from_numpy(z.T.copy())[None]
    log_det = plain.from_scaled(scaled)[1].expand(1, len(z))[0].numpy()
    if unknown.any():
        log_det = np.nansum(plain.log_slopes(scaled)[0].numpy(), axis=0)
    scores = dict.fromkeys(REFERENCES, 0.0)
    for f in np.unique(fold[fold >= 0]).tolist():
        train, _ = completions[f].draw(z[fold != f], 1)
        own = Scaler.fit(train)
        unseen = own.scale(z[fold == f])
        log_slope = np.where(unknown[fold == f], 0.0, np.log(own.deviation)).sum(axis=1)
        for name, correlated in REFERENCES.items():
            gaussian = fit_gaussian(own.scale(train), correlated=correlated)
            log_q = completion.log_prob(gaussian, unseen) + (log_det[fold == f] - log_slope)
            scores[name] += float(log_q.sum()) / int((fold >= 0).sum())
    return scores
