"""The automatic recipe: candidates learn from folds of the rows, and are stacked.

``learn`` runs these steps. ``clock.py`` ends them in time, if there is a limit.

1. *Folds.* The rows are cut into five folds; copies of a row share a fold. A member learns from
   four fifths of the rows, and is scored on the held-out fifth (``fold.py``).
2. *Candidates.* Each fits members to all folds: networks (``network_candidate.py``) and mixtures
   (``mixture_candidate.py``), or a kind of your own (``candidate.py``).
3. *Stacking.* The weights of all members in the ensemble maximise the likelihood of the held-out
   rows (``stacking.py``). ``learn`` returns them as an ``Ensemble`` (``ensemble.py``), with a
   ``Record`` (``record.py``).

No member is scored on a row that it learned from. A visit to a row with gaps uses one of several
draws of the missing values, and the score of a held-out row with gaps is the density of its known
values. docs/choices.md reports the gain of each part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flows.core.arrays import Array, Whole
from flows.core.rows import equal_rows, standard_error
from flows.core.seeds import numpy_generator
from flows.core.settings import FOLDS
from flows.mixtures import expectation
from flows.networks.population import ensemble_log_prob
from flows.recipe import stacking
from flows.recipe.candidate import Candidate, Fitted, ensemble_of, held_out_scores
from flows.recipe.clock import Clock
from flows.recipe.ensemble import Ensemble
from flows.recipe.fold import Fold, Learned
from flows.recipe.mass import check_mass, log_mass
from flows.recipe.record import DECIMALS, MemberRecord, Record, RowScores, RowState

REFERENCES = "independent Gaussians", "one Gaussian"
TARGET_REFERENCES = "a Gaussian without x", "a linear Gaussian"


def learn(
    learned: Learned,
    candidates: Sequence[Candidate],
    folds: int = FOLDS,
    clock: Clock | None = None,
) -> tuple[Ensemble, Record]:
    """Fit all candidates to all folds, score held-out rows, and stack the members.

    Args:
        learned: the rows.
        candidates: the candidates; networks, if there are any, come first.
        folds: the number of folds of which members are held out, at most ``FOLDS``.
        clock: ends parts of the recipe; by default they end by their own rules.

    Raises ``ValueError`` for rows or groups from which the recipe cannot learn, and for networks of
    rows with labels without a ``MixtureCandidate``, which fits the density of the labels.
    """
    rows, clock = learned.rows, clock or Clock()
    group = groups_of(rows, learned.groups)
    fold_of = cut_into_folds(group, learned.seed)
    fold_of[fold_of >= folds] = -1
    every = [Fold(learned, fold_of, number) for number in range(folds)]
    for candidate in candidates:
        candidate.prepare(every, clock)
    fitted, scores = [], []
    for candidate in candidates:
        found = candidate.fit(every, clock)
        own = held_out_scores(found, every, len(rows))
        if candidate.keep is not None and found.settings:
            best = np.argsort(-np.nanmean(own, axis=0), kind="stable")[: candidate.keep].tolist()
            found, own = found.kept(best), own[:, best]
        fitted.append(found)
        scores.append(own)
    log_q, mass = np.column_stack(scores), dict[str, Any]()
    parts = [part for each in fitted for part in each.parts]
    of_member = [every[m % folds] for m in range(sum(part.members for part in parts))]
    if learned.possible is not None:  # score the members given the constraints
        masses, first = [], 0
        for k, part in enumerate(parts):
            alone = ensemble_of([part], of_member[first : first + part.members])
            first += part.members
            masses.append(log_mass(alone, learned.possible, learned.seed, k))
        log_p, error = (np.concatenate(each) for each in zip(*masses, strict=True))
        check_mass(log_p)
        log_q -= log_p.reshape(-1, folds).T[fold_of]
        mass = {"log_mass": log_p.tolist(), "log_mass_se": error.tolist()}
    weights = stacking.weights(log_q[fold_of >= 0])
    if learned.labels:
        weights = stacking.without_small(log_q[fold_of >= 0], weights)
    held_out = ensemble_log_prob(log_q, weights).round(DECIMALS)
    record = Record(
        recipe=learned.recipe.name,
        rows=len(rows),
        folds=folds,
        members=[member for each in fitted for member in member_records(each, folds)],
        references=score_references(every),
        scores=log_q,
        cuts=clock.ended if clock.is_recorded else {},
        **mass,
        **held_out_fields(learned, group, fold_of, held_out),
        **{key: value for each in fitted for key, value in each.record.items()},
    )
    of_members = stacking.per_member(weights, folds)
    if mass:  # the density of the ensemble is sum_m w_m q_m(x) / P_m(A)
        of_members = of_members / np.exp(mass["log_mass"])
        of_members /= of_members.sum()
    return ensemble_of(parts, of_member, of_members), record


def member_records(fitted: Fitted, folds: int) -> list[MemberRecord]:
    """Return how each member of a candidate was trained."""
    steps: list[int | None] = [*fitted.steps] or [None] * (len(fitted.settings) * folds)
    return [
        MemberRecord(m % folds, dict(fitted.settings[m // folds]), step)
        for m, step in enumerate(steps)
    ]


def held_out_fields(
    learned: Learned, group: Whole, fold_of: Whole, held_out: Array
) -> dict[str, Any]:
    """Return the fields of the record on the out-of-fold scores ``held_out`` ``(n,)`` of the rows.

    A row with missing values has no score of its own in the record, because its score is a density
    of fewer values.

    Args:
        learned: the rows.
        group: the group of each row, ``(n,)``.
        fold_of: the number of the fold in which each row is held out, ``(n,)``; -1 for none.
        held_out: the out-of-fold scores of the rows, ``(n,)``.
    """
    gaps, is_held_out = np.isnan(learned.rows), fold_of >= 0
    unseen = held_out[is_held_out]
    state = np.full(len(learned.rows), RowState.SCORED.value)
    state[gaps[:, learned.context :].any(axis=1)] = RowState.MISSING_VALUES
    state[~is_held_out] = RowState.NOT_HELD_OUT
    scored = np.where(state == RowState.SCORED, held_out, np.nan)
    return {
        "held_out": float(unseen.mean()),
        "held_out_se": standard_error(unseen, group[is_held_out]),
        "gaps": gaps.sum(axis=0).tolist() if gaps.any() else (),
        "row_scores": RowScores(fold_of, state, scored),
    }


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


def score_references(folds: Sequence[Fold]) -> dict[str, float]:
    """Return the out-of-fold scores of two simple models: mean log-densities in nats.

    They are in the user's units. Numbers are independent, or one Gaussian; labels have their
    frequencies. The score of a held-out row with gaps is the density of its known values. With a
    context x, it is the density of the point given the known values of x.
    """
    context, scores = folds[0].context, []
    for fold in folds:
        scaler = fold.scaler()
        learned, _ = fold.mapped(fold.learned, scaler)
        unseen, slopes = fold.mapped(fold.unseen, scaler)
        log_det = np.nansum(slopes[:, context:], axis=1)
        models = expectation.independent(learned), expectation.fit(learned, 1, expectation.RIDGE)
        log_q = np.column_stack([each.log_prob(unseen.numbers, unseen.codes) for each in models])
        if context:
            x = unseen.numbers[:, :context]
            log_q -= np.column_stack([each.marginal(context).log_prob(x) for each in models])
        scores.append(log_q + log_det[:, None])
    names = TARGET_REFERENCES if context else REFERENCES
    means = np.concatenate(scores).mean(axis=0).round(DECIMALS)
    return dict(zip(names, means.tolist(), strict=True))
