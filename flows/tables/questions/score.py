"""The log-density of the known values of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from flows.core.arrays import Array, Mask
from flows.recipe.record import EVERY
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import BATCHES, ENOUGH, Evidence
from flows.tables.posterior.region import Region
from flows.tables.questions.few_rows import check_level, ends_of, interval
from flows.tables.questions.question import Answer, Asked, Question

DIGITS = 6  # decimals of the added columns


@dataclass(frozen=True)
class Score(Question):
    """The log-density of the known values of each row, perhaps given some of them.

    A label has a probability. Other values have these results:

    - A missing value is integrated out. If the density has a target, a missing value of the context
      is averaged over, and a row that lacks a target has the result ``NaN``.
    - A value that its column does not allow gives minus infinity. In the context of a target, such
      a value counts as missing.

    The results are ``members``, the members' log-densities in nats ``(n, M)``; ``log_density``,
    those of the ensemble ``(n,)``; ``error``, the standard errors of the latter in nats ``(n,)``,
    from random draws and the probabilities of constraints; and ``tail_probability`` ``(n,)``,
    ``NaN`` without ``tails``. The added ``log_density_sd`` is the standard deviation over
    ``members`` (``ArrayDensity.deviation``), ``NaN`` for a row far below all out-of-fold scores.
    Given some columns, the density of the ensemble is q(x) / q(given columns), and not the mean of
    the members' densities given these columns.

    Args:
        given: the names of the columns to condition on.
        missing: the policy for missing values (``apply_missing_policy``).
        tails: whether to add tail probabilities. The log-density of a complete training row is then
            that of the members that did not learn from the row.
        interval: the level of the interval that few rows leave in each log-density
            (``few_rows.py``); ``None`` for no intervals. A row far below all out-of-fold scores has
            no interval.
    """

    given: Sequence[str] = ()
    missing: str = "keep"
    tails: bool = False
    interval: float | None = None

    noun: ClassVar[str] = "log-densities"
    scores: ClassVar[bool] = True

    def check(self, density: ArrayDensity) -> None:
        self._is_given(density)
        check_level(self.interval)

    def given_rows(self, density: ArrayDensity, rows: Array) -> Array | None:
        return np.where(self._is_given(density), rows, np.nan) if self.given else None

    def unanswered(self, density: ArrayDensity, region: Region) -> Mask:
        lacks_output = region.missing[:, ~density.inputs].any(axis=1)
        return np.asarray(lacks_output & bool(density.targets))

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        n, outputs, is_given = len(region), ~density.inputs, self._is_given(density)
        members = np.full((n, density.population.members), -np.inf)
        results = {"members": members, "log_density": np.full(n, -np.inf), "error": np.zeros(n)}
        results["tail_probability"] = np.full(n, np.nan)
        fold = np.full(n, EVERY)
        found = Answer(results, np.full(n, np.inf))
        with_interval = self.interval is not None
        shape = (1 + BATCHES, len(density.views), n) if with_interval else (0, 0, n)
        answers = np.full(shape, -np.inf)
        impossible = region.refused[:, outputs].any(axis=1)
        impossible |= density.constraints.broken(region.rows).any(axis=1)
        lacking = self.unanswered(density, region)
        direct = ~impossible & ~region.gaps.any(axis=1) & (not is_given.any())
        if direct.any():
            rows = region.rows[direct]
            evidence = density.evidence(rows, rows)
            members[direct] = evidence.log_q
            if self.tails:
                fold[direct] = density.held_out_in(rows)
            found["log_density"][direct] = density.out_of_fold(members[direct], fold[direct])
            found["error"][direct] = evidence.error()
            if with_interval:
                answers[:, :, direct] = density.in_views(evidence.log_q)
        if (others := np.flatnonzero(~(impossible | lacking | direct))).size:
            part = region.take(others)
            joint = density.log_known(part)
            known = _known(density, part, is_given, joint) if is_given.any() else None
            for name, values in _scores(density, joint, known).items():
                found[name][others] = values
            if with_interval:
                answers[:, :, others] = _parts(density, joint, known)
            effective = joint.effective if known is None else known.effective
            found.effective[others] = np.minimum(joint.effective, effective)
        for values in results.values():
            values[lacking] = np.nan
        if self.tails:
            tails = density.tail_probability(members, fold)
            results["tail_probability"][:] = np.where(lacking, np.nan, tails)
        if self.interval is None:
            return found
        answers[0, 0] = results["log_density"]  # perhaps out of fold
        low, high = interval(answers, self.interval)
        without = density.fills_context(region) | np.isnan(self._deviation(density, region, found))
        low, high = (np.where(without, np.nan, end) for end in (low, high))
        return replace(found, low={"log_density": low}, high={"log_density": high})

    def adds(self, density: ArrayDensity) -> list[str]:
        names = ["log_density", "log_density_sd", "log_density_se"]
        names += ends_of("log_density") if self.interval is not None else ()
        return [*names, "tail_probability"] if self.tails else names

    def added(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        deviation = self._deviation(density, asked.region, answer)
        columns = [answer["log_density"], deviation, answer["error"]]
        if self.interval is not None:
            columns += [answer.low["log_density"], answer.high["log_density"]]
        if self.tails:
            columns.append(answer["tail_probability"])
        found = np.stack(columns, axis=1).round(DIGITS)
        return pd.DataFrame(found, asked.frame.index, self.adds(density))

    def _deviation(self, density: ArrayDensity, region: Region, answer: Answer) -> Array:
        """Return the standard deviations over the members, ``(n,)``, ``NaN`` for a far row."""
        # Out-of-fold scores are those of complete rows, or of targets given any known values
        is_whole = ~region.gaps[:, ~density.inputs].any(axis=1) & (not self.given)
        compared = np.where(is_whole, answer["log_density"], np.nan)
        return density.deviation(answer["members"], compared)

    def _is_given(self, density: ArrayDensity) -> Mask:
        """Return which columns are given, ``(D,)``.

        Raises ``TableError`` for an unknown column, and if all columns are given.
        """
        if isinstance(self.given, str):
            problem = f"given = {self.given!r}: must be a list of columns, such as [{self.given!r}]"
            raise TableError([Notice(problem)])
        found = np.zeros(len(density.columns), bool)
        found[[density.schema.find(str(name)) for name in self.given]] = True
        if len(found) and found.all():
            raise TableError([Notice("every column is given; leave out a column to score")])
        return found


def _scores(density: ArrayDensity, joint: Evidence, known: Evidence | None) -> dict[str, Array]:
    """Return the log-densities of rows, perhaps given the ``known`` values, and their errors."""
    log_q, log_density = joint.log_q, density.ensemble(joint.log_q)
    if known is not None:
        log_q = log_q - known.log_q
        log_density = log_density - density.ensemble(known.log_q)
    return {"members": log_q, "log_density": log_density, "error": joint.error(known)}


def _parts(density: ArrayDensity, joint: Evidence, known: Evidence | None) -> Array:
    """Return the log-densities as ``interval`` takes them, ``(1 + B, 1 + F, n)``."""
    found = density.in_views(joint.parts)
    if known is not None:
        with np.errstate(invalid="ignore"):
            found = found - density.in_views(known.parts)
    return found.swapaxes(0, 1)


def _known(density: ArrayDensity, region: Region, is_given: Mask, joint: Evidence) -> Evidence:
    """Return the log-density of the columns ``is_given`` of each row.

    If few draws are effective, the values x_u of a complete row are one more draw, with their own
    weight::

        log q(x_u | x_o) ~ log q(x) - log [ (w(x_u) + sum_i w_i) / (N + 1) ]

    Without this draw, the estimate would be too high in expectation. With enough other draws, the
    draw is left out, because the values of a row far outside may have most of the weight.

    Args:
        density: the density.
        region: the rows.
        is_given: which columns are given, ``(D,)``.
        joint: the log-densities of all known values of the rows.
    """
    known = region.hiding(np.flatnonzero(~is_given).tolist())
    found, others = density.known_exactly(known)
    for place, posterior in density.posteriors(known.take(others), own=region.rows[others]):
        k = int(others[place])
        found.put(k, posterior)
        if posterior.effective < ENOUGH and not np.isnan(posterior.log_own):
            count, log_own = len(posterior.values), joint.log_q[k] + posterior.log_own
            for each in (found.log_q, found.batches.swapaxes(0, 1)):
                log_sum = np.logaddexp(each[k] + np.log(count), log_own)
                each[k] = log_sum - np.log(count + 1)
    return found
