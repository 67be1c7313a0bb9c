"""The probability of an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from flows.core.arrays import rounded
from flows.tables.columns.lazy import pd
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import ERROR, Evidence, Goal
from flows.tables.posterior.region import Region
from flows.tables.questions.few_rows import LEVEL, interval
from flows.tables.questions.question import Answer, Asked, Question

MOST_OF_AN_EVENT = 200_000  # draws for a probability, at most
# Significant digits of the added columns
DIGITS = {"probability": 6, "low": 6, "high": 6, "integration_error": 2}
NEAR_1 = 4.0  # errors of a probability from 1, below which draws do not tell its interval
ROUGH = 0.021  # standard error of a probability, relative, above which a notice says so


class Probability(NamedTuple):
    """The probability of an event.

    Args:
        probability: the estimate, from 0 to 1.
        low: the lower end of the interval of 95% that few rows leave (``few_rows.py``); ``NaN``
            without an interval.
        high: the upper end.
        integration_error: the standard error of the integration, from random draws, and of the
            probability of the constraints. The interval includes the error of the draws.
        draws: the number of draws behind the estimate.
    """

    probability: float
    low: float
    high: float
    integration_error: float
    draws: int


@dataclass(frozen=True)
class EventProbability(Question):
    """The probability of an event E under the conditions C of each row::

        P(E | C) = P(E and C) / P(C)

    Known values have a density in place of a probability. Terms with draws are estimated until the
    standard error is below 2% of the probability, or with ``MOST_OF_AN_EVENT`` draws. If no draw
    has a weight above 0, the standard error is infinite; if no draw for C has, the probability is
    ``NaN``. The results are ``probability``, with the interval of 95% that few rows leave,
    ``integration_error`` and ``draws``, ``(n,)`` each.

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
        n, (both, excludes) = len(region), region.also(self.event)
        log_p, error, draws = np.full(n, -np.inf), np.zeros(n), np.zeros(n)
        log_p[~excludes] = 0.0
        # The probability of an event that the conditions imply is 1
        none = np.empty((0, 2))
        narrower = [
            d
            for d in self.event.intervals
            if d in self.event.rare
            or not np.array_equal(both.intervals.get(d, none), region.intervals.get(d, none))
        ]
        possible = np.flatnonzero(~excludes & region.gaps[:, narrower].any(axis=1))
        whole, given = (
            self._evidence(density, part.take(possible), number)
            for number, part in enumerate((both, region))
        )
        with np.errstate(invalid="ignore"):
            log_answers = density.in_views(whole.parts) - density.in_views(given.parts)
        log_p[possible], draws[possible] = log_answers[0, 0], whole.draws + given.draws
        error[possible] = whole.error(given)
        p = np.minimum(1.0, np.exp(log_p))
        with np.errstate(divide="ignore", invalid="ignore"):
            absolute = np.where(np.isfinite(error), p * error, error)
            effective = np.where(absolute > 0, 1 / error**2, np.inf)
        low, high = p.copy(), p.copy()  # an exact 0 or 1 is its own interval
        answers = np.exp(log_answers).swapaxes(0, 1)
        low[possible], high[possible] = interval(answers, LEVEL, is_probability=True)
        # The draws end when p has a small error, which may be large beside 1 - p
        is_rough = (draws > 0) & (1 - p < NEAR_1 * absolute)
        unknown = np.isin(np.arange(n), possible) & (density.fills_context(region) | is_rough)
        low[unknown] = high[unknown] = np.nan
        results = {"probability": p, "integration_error": absolute, "draws": draws}
        return Answer(results, effective, {"probability": low}, {"probability": high})

    def _evidence(self, density: ArrayDensity, part: Region, number: int) -> Evidence:
        """Return the probabilities of the conditions of rows, perhaps times densities.

        Args:
            density: the density.
            part: the rows and the conditions.
            number: 0 for the event and the conditions, 1 for the conditions, which have other
                draws.
        """
        # The probability of everything is 1, also given the context of a target
        if part.is_everything or (density.targets and not part.intervals):
            return Evidence.empty(len(part), density.population.members)
        part = replace(part, row_numbers=2 * part.row_numbers + number)
        return density.log_known(part, self.seed, Goal(0.0, ERROR, MOST_OF_AN_EVENT))

    def adds(self, density: ArrayDensity) -> list[str]:
        return [*DIGITS]

    def added(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        ends = {"low": answer.low["probability"], "high": answer.high["probability"]}
        found = answer.results | ends
        shown = {name: rounded(found[name], digits) for name, digits in DIGITS.items()}
        return pd.DataFrame(shown, asked.frame.index)

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
    [p], [low], [high] = (each["probability"] for each in (answer.results, answer.low, answer.high))
    [error], [draws] = answer["integration_error"], answer["draws"]
    return Probability(float(p), float(low), float(high), float(error), int(draws))
