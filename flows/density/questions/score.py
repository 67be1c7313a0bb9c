"""The log-density of the known values of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flows.core.arrays import Array, Mask
from flows.density.array_density import ArrayDensity
from flows.density.question import Answer, Asked, Question
from flows.posterior.region import Region
from flows.recipe.record import EVERY
from flows.tables.lazy import pd
from flows.tables.notices import Notice, TableError

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
    those of the ensemble ``(n,)``; ``error``, the standard errors of the latter in nats ``(n,)``, 0
    for a row without random draws; and ``tail_probability`` ``(n,)``, ``NaN`` without ``tails``.
    Given some columns, the density of the ensemble is q(x) / q(given columns), and not the mean of
    the members' densities given these columns.

    Args:
        given: the names of the columns to condition on.
        missing: the policy for missing values (``apply_missing_policy``).
        tails: whether to add tail probabilities. The log-density of a complete training row is then
            that of the members that did not learn from the row.
    """

    given: Sequence[str] = ()
    missing: str = "keep"
    tails: bool = False

    noun: ClassVar[str] = "log-densities"
    scores: ClassVar[bool] = True

    def check(self, density: ArrayDensity) -> None:
        self._is_given(density)

    def given_rows(self, density: ArrayDensity, rows: Array) -> Array | None:
        return np.where(self._is_given(density), rows, np.nan) if self.given else None

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        n, outputs, is_given = len(region), ~density.inputs, self._is_given(density)
        members = np.full((n, density.population.members), -np.inf)
        results = {"members": members, "log_density": np.full(n, -np.inf), "error": np.zeros(n)}
        results["tail_probability"] = np.full(n, np.nan)
        fold = np.full(n, EVERY)
        found = Answer(results, np.full(n, np.inf))
        impossible = region.refused[:, outputs].any(axis=1)
        impossible |= density.constraints.broken(region.rows).any(axis=1)
        lacking = region.missing[:, outputs].any(axis=1) & bool(density.targets)
        direct = ~impossible & ~region.gaps.any(axis=1) & (not is_given.any())
        if direct.any():
            members[direct] = density.log_density(region.rows[direct])
            if self.tails:
                fold[direct] = density.held_out_in(region.rows[direct])
            found["log_density"][direct] = density.out_of_fold(members[direct], fold[direct])
        if (others := np.flatnonzero(~(impossible | lacking | direct))).size:
            part = region.take(others)
            own = _given(density, part, is_given) if is_given.any() else _known(density, part)
            for name, values in own.results.items():
                found[name][others] = values
            found.effective[others] = own.effective
        for values in results.values():
            values[lacking] = np.nan
        if self.tails:
            results["tail_probability"][:] = density.tail_probability(members, fold)
        return found

    def adds(self, density: ArrayDensity) -> list[str]:
        names = ["log_density", "log_density_sd", "log_density_se"]
        return [*names, "tail_probability"] if self.tails else names

    def added(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        columns = [answer["log_density"], density.deviation(answer["members"]), answer["error"]]
        if self.tails:
            columns.append(answer["tail_probability"])
        found = np.stack(columns, axis=1).round(DIGITS)
        return pd.DataFrame(found, asked.frame.index, self.adds(density))

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


def _known(density: ArrayDensity, region: Region) -> Answer:
    """Return the log-density of the known values of each row."""
    log_q, error, effective = density.log_known(region)
    found = {"members": log_q, "log_density": density.ensemble(log_q), "error": error}
    return Answer(found, effective)


def _given(density: ArrayDensity, region: Region, is_given: Mask) -> Answer:
    """Return the log-density of the known values of each row, given the columns ``is_given``.

    The values x_u of a complete row are one more draw, with their own weight::

        log q(x_u | x_o) ~ log q(x) - log [ (w(x_u) + sum_i w_i) / (N + 1) ]

    Without this draw, the estimate is too high in expectation if few draws are effective.
    """
    joint, found = _known(density, region), _empty(density, len(region))
    known = region.hiding(np.flatnonzero(~is_given).tolist())
    for k, posterior in density.posteriors(known, own=region.rows):
        log_evidence = posterior.log_evidence
        if not np.isnan(posterior.log_own):
            count, log_own = len(posterior.values), joint["members"][k] + posterior.log_own
            log_sum = np.logaddexp(log_evidence + np.log(count), log_own)
            log_evidence = log_sum - np.log(count + 1)
        found["members"][k] = joint["members"][k] - log_evidence
        log_known = density.ensemble(log_evidence[None])[0]
        found["log_density"][k] = joint["log_density"][k] - log_known
        found["error"][k] = np.hypot(posterior.error, joint["error"][k])
        found.effective[k] = min(posterior.effective, joint.effective[k])
    return found


def _empty(density: ArrayDensity, n: int) -> Answer:
    names = ("log_density", "error")
    members = np.empty((n, density.population.members))
    return Answer({"members": members, **{name: np.empty(n) for name in names}}, np.empty(n))
