"""The probability of an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import rounded
from flows.tables.columns.lazy import pd
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import ERROR, Goal, mass_error
from flows.tables.posterior.region import Region
from flows.tables.questions.question import Answer, Asked, Question

MOST_OF_AN_EVENT = 200_000  # draws for a probability, at most
DIGITS = {"probability": 6, "integration_error": 2}  # significant digits of the added columns
ROUGH = 0.021  # standard error of a probability, relative, above which a notice says so


class Probability(NamedTuple):
    """The probability of an event.

    Args:
        probability: the estimate, from 0 to 1.
        integration_error: the standard error of the integration, from random draws, and of the
            probability of the constraints. The uncertainty of a fit to few rows is not part of this
            error.
        draws: the number of draws behind the estimate.
    """

    probability: float
    integration_error: float
    draws: int


@dataclass(frozen=True)
class EventProbability(Question):
    """The probability of an event E under the conditions C of each row::

        P(E | C) = P(E and C) / P(C)

    Known values have a density in place of a probability. Terms with draws are estimated until the
    standard error is below 2% of the probability, or with ``MOST_OF_AN_EVENT`` draws. If no draw
    has a weight above 0, the standard error is infinite; if no draw for C has, the probability is
    ``NaN``. The results are ``probability``, ``integration_error`` and ``draws``, ``(n,)`` each.

    Args:
        event: the event, intervals only.
        seed: the seed of the random streams.
    """

    event: Region
    seed: int = 0

    noun: ClassVar[str] = "probabilities"
    needs_all: ClassVar[bool] = False
    fills_gaps: ClassVar[bool] = True

    def describes(self, density: ArrayDensity, region: Region) -> Sequence[str]:
        return [density.names[d] for d in self.event.intervals]

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        n = len(region)
        both, excludes = region.also(self.event)
        log_p, error, draws = np.full(n, -np.inf), np.zeros(n), np.zeros(n)
        log_p[~excludes] = 0.0
        shares, log_mass_se = np.zeros((2, n, density.population.members))
        # The probability of an event that the conditions imply is 1
        none = np.empty((0, 2))
        narrower = [
            d
            for d in self.event.intervals
            if d in self.event.rare
            or not np.array_equal(both.intervals.get(d, none), region.intervals.get(d, none))
        ]
        possible = np.flatnonzero(~excludes & region.gaps[:, narrower].any(axis=1))
        for number, (part, sign) in enumerate(((both, 1), (region, -1))):
            # The probability of everything is 1, also given the context of a target
            if part.is_everything or (density.targets and not part.intervals):
                continue
            # Both estimates have their own draws
            part = replace(part, row_numbers=2 * part.row_numbers + number).take(possible)
            goal = Goal(0.0, ERROR, MOST_OF_AN_EVENT)
            for place, posterior in density.posteriors(part, self.seed, goal):
                k = possible[place]
                with np.errstate(invalid="ignore"):
                    evidence = logsumexp(posterior.log_evidence, b=density.member_weights)
                    log_p[k] += sign * evidence
                error[k] = np.hypot(error[k], posterior.draw_error)
                # Both terms are divided by the same probabilities of constraints
                shares[k] += sign * posterior.shares
                log_mass_se[k] = np.maximum(log_mass_se[k], posterior.log_mass_se)
                draws[k] += 0 if posterior.is_exact else len(posterior.values)
        error = np.hypot(error, mass_error(shares, log_mass_se))
        p = np.minimum(1.0, np.exp(log_p))
        with np.errstate(divide="ignore", invalid="ignore"):
            absolute = np.where(np.isfinite(error), p * error, error)
            effective = np.where(absolute > 0, 1 / error**2, np.inf)
        return Answer({"probability": p, "integration_error": absolute, "draws": draws}, effective)

    def adds(self, density: ArrayDensity) -> list[str]:
        return [*DIGITS]

    def added(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        found = {name: rounded(answer[name], DIGITS[name]) for name in self.adds(density)}
        return pd.DataFrame(found, asked.frame.index)

    @property
    def enough(self) -> float:
        return 1 / ROUGH**2

    def roughness(self, rough: int, rows: int, least: float) -> str:
        which = "the probability is" if rows == 1 else f"{rough} of {rows} probabilities are"
        if not least:
            return f"{which} rough: no draw lies inside of the event"
        error = f"{1 / np.sqrt(least):.1%}"
        return f"{which} rough: the relative error of the integration is {error}, above 2%"


def probability_of(answer: Answer) -> Probability:
    """Return the answer for a region of one row."""
    p, error, draws = (float(answer[name][0]) for name in (*DIGITS, "draws"))
    return Probability(p, error, int(draws))
