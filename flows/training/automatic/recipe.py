"""The automatic recipe: it chooses the regularisation for a table from the training rows.

1. *Folds.* The rows are cut into five folds; copies of a row share a fold. A member learns from
   four fifths of the rows, and is scored on the held-out fifth (``fold.py``).
2. *Successive halving.* Every candidate (``candidates.py``), a way to regularise, has one member
   per fold. Twice, only the candidates whose mixture makes the held-out rows most likely are kept.
3. *Stopping.* Training at the full learning rate ends when the members hardly gain any more. The
   learning rate then falls to 0 (cooling).
4. *Mixtures.* Mixtures of Gaussians or, for tables with labels, of latent classes are fitted to the
   folds (``fold_mixtures.py``).
5. *Stacking.* The weights of networks and mixtures in the ensemble maximise the likelihood of the
   held-out rows (``stacking.py``).

No member is scored on a row that it learned from. A visit to a row with gaps uses one of several
draws of the missing values, and the score of a held-out row with gaps is the density of its known
values (``completion.py``). Sources: Jamieson and Talwalkar 2016 (successive halving); Hu et al.
2024 (MiniCPM, the cooling). docs/choices.md reports the gain of each part.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from flows.core.arrays import Array, Whole
from flows.core.progress import announce, peak_memory, progress, show_state
from flows.core.rows import effective_rows, equal_rows
from flows.core.seeds import numpy_generator
from flows.core.settings import FOLDS, folds_and_candidates
from flows.mixtures import completion
from flows.mixtures.fitting import fit_gaussian
from flows.networks.network_population import DensityPopulation
from flows.networks.population import Population, ensemble_log_prob
from flows.training.automatic import stacking
from flows.training.automatic.candidates import CANDIDATES, TARGET_CANDIDATES
from flows.training.automatic.composite import Composite
from flows.training.automatic.fold import Fold
from flows.training.automatic.fold_mixtures import FoldMixtures, fit_mixtures
from flows.training.automatic.fold_trainer import LEAST_OVERFITTED, FoldTrainer
from flows.training.automatic.limit import COOLING, Limit
from flows.training.record import MemberRecord, RowScores, RowState, TrainingRecord
from flows.training.trainer import Task, replay

HALVING_STEPS = (125, 500)  # steps after which candidates are dropped
# Candidates after the first round, as a multiple of the final number; 4 at least
SPARE = 2
TIMED = 6  # checks after which the time of the training is estimated
LOG = 200  # steps between two rows of the history
MOST_STEPS = 8_000
REFERENCES = {"independent Gaussians": False, "one Gaussian": True}  # name: whether correlated
TARGET_REFERENCES = {"a Gaussian without x": False, "a linear Gaussian": True}


def train_auto(
    population: DensityPopulation, task: Task, mixtures: int = 0, limit: Limit | None = None
) -> Population:
    """Train ``population`` with the automatic recipe, and return the ensemble.

    The ensemble is the population, or a ``Composite`` of the population and ``mixtures`` mixtures
    per fold; ``limit`` may end its parts early (``limit.py``). The training rows may have gaps
    (``NaN``); the test rows must be complete. A population with a context learns p(y | x); a row is
    the context x and the point y, and only x may have gaps. Raises ``ValueError`` for a number of
    members that does not fit the folds and candidates, and for rows or groups from which the recipe
    cannot learn.
    """
    folds, kept = folds_and_candidates(population.members)
    rows, test = _checked_rows(population, task)
    group = groups_of(rows, task.groups)
    fold_of = cut_into_folds(group, task.settings.seed)
    fold_of[fold_of >= folds] = -1
    is_held_out = fold_of >= 0
    limit = limit or Limit()
    added: list[FoldMixtures] = []
    searches: list[int] = []
    with progress(task.name, round((1 + COOLING) * MOST_STEPS), "step") as bar:
        show_state(bar, "fitting margins, finding neighbours")
        candidates = TARGET_CANDIDATES if population.context else CANDIDATES
        trainer = FoldTrainer(
            population, rows, test, candidates, fold_of, task.settings, task.copies
        )
        limit.start(trainer, kept, mixtures)
        rounds = _train_candidates(trainer, kept, limit, bar, task.name)
        _set_trained(population, trainer)
        scores = trainer.scores(every_row=True)
        weights = stacking.weights(scores[is_held_out])
        population.weights.copy_(torch.from_numpy(stacking.per_member(weights, folds)))
        if mixtures:
            show_state(bar, "fitting mixtures")
            counts = population.to_real.label_counts
            added, searches = fit_mixtures(trainer.prepared, rows, counts, mixtures, limit)
    members = [
        MemberRecord(member.prepared.fold.number, str(member.candidate), int(step))
        for member, step in zip(trainer.members, trainer.best_step, strict=True)
    ]
    result: Population = population
    if added:
        scores = np.column_stack([scores, *(each.scores for each in added)])
        weights = stacking.weights(scores[is_held_out])
        models = [model for each in added for model in each.models]
        result = Composite(population, models, stacking.per_member(weights, folds))
        members += [MemberRecord(f, str(each)) for each in added for f in range(folds)]
    replay(population.history, task.on_log)
    held_out = ensemble_log_prob(scores, weights)
    unseen = held_out[is_held_out]
    evidence: float = len(np.unique(group[is_held_out]))  # copies add none
    if task.copies is not None:
        evidence = effective_rows(group[is_held_out])
    gaps = np.isnan(rows).sum(axis=0)
    result.record = TrainingRecord(
        recipe="auto",
        rows=len(rows),
        folds=folds,
        steps=trainer.step,
        members=members,
        held_out=float(unseen.mean()),
        held_out_se=float(unseen.std() / math.sqrt(evidence)),
        references=score_references(trainer.folds),
        gaps=gaps.tolist() if gaps.any() else (),
        row_scores=row_scores(rows[:, population.context :], fold_of, held_out),
        cuts={"rounds": rounds, "searches": searches} if limit.is_recorded else {},
    )
    return result


def _checked_rows(population: DensityPopulation, task: Task) -> tuple[Array, Array | None]:
    """Return the training rows ``(n, D)`` and the test rows, or raise ``ValueError``."""
    shared = population.rows(task.rows, "train", may_have_gaps=True).double().numpy()
    if population.member_range.start or shared.shape[1] != 1:
        raise ValueError(
            "the automatic recipe trains a whole population of flows.build, "
            "on rows that all members share"
        )
    rows, test = shared[:, 0], None
    for row in np.flatnonzero(np.isnan(rows[:, population.context :]).any(axis=1))[:1].tolist():
        if population.context:
            raise ValueError(f"row {row} of train has a gap in the point y; only x may have gaps")
    if task.test is not None:
        test = population.rows(task.test, "test").double().numpy()[:, 0]
    return rows, test


def _train_candidates(
    trainer: FoldTrainer, kept: int, limit: Limit, bar: tqdm, name: str
) -> list[int]:
    """Train all candidates and halve their number twice; train the ``kept`` candidates to the end.

    Return the steps that ended both halvings, the training at the full rate, and the cooling.
    """
    spare = max(SPARE * kept, 4)
    clock: dict[int, float] = {}

    def on_check() -> None:
        clock[trainer.step] = time.monotonic()
        if len(clock) == TIMED:
            announce(bar, f"{name}: {_expected(trainer, clock, spare, kept, limit)}")
        state = f"{len(trainer.candidates)} candidates, held-out {-trainer.best_nll.min():.3f}"
        show_state(bar, state)
        bar.update(trainer.step - bar.n)
        if trainer.step // LOG > max(trainer.curves["train_nll"], default=0) // LOG:
            trainer.log()

    rounds: list[int] = []
    for part, (most, count) in enumerate(zip(HALVING_STEPS, (spare, kept), strict=True)):
        until = limit.until(part, most, trainer)
        trainer.train(until, on_check, partial(limit.goes_on, part, trainer))
        rounds.append(trainer.step)
        scores = limit.scores(trainer)
        chosen = stacking.chosen(scores[~np.isnan(scores[:, 0])], count)
        trainer.keep([trainer.candidates[c] for c in chosen])
    until = limit.until(2, MOST_STEPS, trainer)
    trainer.train(until, on_check, partial(limit.goes_on, 2, trainer))
    until = limit.until(3, round((1 + COOLING) * trainer.step), trainer)
    rounds += [trainer.step, until]
    trainer.train(until, on_check, cool=True)
    trainer.log()
    return rounds


def _set_trained(population: DensityPopulation, trainer: FoldTrainer) -> None:
    """Give ``population`` the best parameters of each member, and the history of the training."""
    trainer.optimizer.parameters.copy_(trainer.best)
    population.load_state_dict(trainer.population.state_dict())
    logged = list(trainer.curves["train_nll"])
    population.history = {
        "epoch": np.array([trainer.epochs(step) for step in logged], dtype=np.float64),
        **{key: np.stack([*curve.values()]) for key, curve in trainer.curves.items()},
    }


def row_scores(rows: Array, fold_of: Whole, held_out: Array) -> RowScores:
    """Return the out-of-fold scores ``held_out`` ``(n,)`` of ``rows`` ``(n, D)`` with their states.

    A row with missing values has no score, because its score would be a density of fewer values.
    """
    state = np.full(len(rows), RowState.SCORED.value)
    state[np.isnan(rows).any(axis=1)] = RowState.MISSING_VALUES
    state[fold_of < 0] = RowState.NOT_HELD_OUT
    return RowScores(fold_of, state, np.where(state == RowState.SCORED, held_out, np.nan))


def groups_of(rows: Array, groups: Any = None) -> Whole:
    """Return the group number of each row of ``rows`` ``(n, D)``, as ``(n,)``.

    Groups are numbered from 0 in the order of their first rows. Rows with equal integers in
    ``groups`` ``(n,)`` form a group; if ``groups`` is ``None``, equal rows do. Raises
    ``ValueError`` for other ``groups``, and if there are fewer groups than folds.
    """
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != rows.shape[:1] or groups.dtype.kind not in "iu":
            raise ValueError(
                f"groups must hold one integer for each of the {len(rows)} rows; got an array of "
                f"{groups.dtype} of shape {groups.shape}"
            )
    group = equal_rows(rows if groups is None else groups[:, None])
    if (count := group.max() + 1) < FOLDS:
        raise ValueError(
            f"the automatic recipe needs at least {FOLDS} different rows or groups, one per fold; "
            f"got {count}"
        )
    return group


def cut_into_folds(group: Whole, seed: int) -> Whole:
    """Return a random fold for each row, ``(n,)``; rows of a ``group`` ``(n,)`` share a fold."""
    folds = np.arange(group.max() + 1) % FOLDS
    return numpy_generator(seed, "folds").permutation(folds)[group]


def _expected(
    trainer: FoldTrainer, clock: dict[int, float], spare: int, kept: int, limit: Limit
) -> str:
    """Return the expected time, from the ``clock`` (s) of the first checks, and the memory.

    The time per step is proportional to the number of candidates: all, ``spare``, then ``kept``.
    """

    def candidate_steps(halved: int, last: int) -> float:
        first = count * HALVING_STEPS[0] + spare * (halved - HALVING_STEPS[0])
        return first + kept * ((1 + COOLING) * last - halved)

    (start, begun), *_, (step, now) = clock.items()
    count = len(trainer.candidates)
    share = (now - begun) / (step - start) / count
    least = min(limit.seconds, share * candidate_steps(LEAST_OVERFITTED, LEAST_OVERFITTED))
    most = min(limit.seconds, share * candidate_steps(HALVING_STEPS[1], MOST_STEPS))
    n, dim = trainer.shape
    return (
        f"{n:,} rows of {dim} columns: training will take {least:.0f} to {most:.0f} s, "
        f"and about {peak_memory():.1f} GB of memory"
    )


def score_references(folds: Sequence[Fold]) -> dict[str, float]:
    """Return the out-of-fold scores of two simple models: mean log-densities in nats.

    They are in the user's units. Each model is fitted to the completed training rows of a fold; the
    score of a held-out row with gaps is the density of its known values. With a context x, it is
    the density of the point given the known values of x.
    """
    context = folds[0].context
    references = TARGET_REFERENCES if context else REFERENCES
    totals = dict.fromkeys(references, 0.0)
    for fold in folds:
        log_det = np.nansum(fold.log_slopes(fold.held_out_rows)[:, context:], axis=1)
        for name, correlated in references.items():
            gaussian = fit_gaussian(fold.completed, correlated=correlated)
            log_q = completion.log_prob(gaussian, fold.held_out_rows) + log_det
            if context:
                of_x = gaussian.marginal(context)
                log_q -= completion.log_prob(of_x, fold.held_out_rows[:, :context])
            totals[name] += float(log_q.sum())
    count = sum(len(fold.held_out) for fold in folds)
    return {name: total / count for name, total in totals.items()}
