"""The clock of a fit with a limit of time, which every part of the recipe asks.

Before each unit, such as an epoch or a setting of a search, a part asks whether the unit and what
must follow it will end in time. A unit is expected to take as long as the last one. After each step
of an epoch, a part also asks whether its time is over. The numbers at which the parts ended
(``Cuts``) give the same fit again without the clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from flows.core.settings import Cuts

# Shares of the limit for the mixtures, and for the scores of held-out rows like new rows
SHARES = {"mixtures": 0.2, "scores": 0.25}
SLACK = 0.08  # share of the limit for everything after the networks that does not ask the clock
# The networks have the rest of the limit. A round of halving ends at this share of the time that is
# left for the networks when training starts
ROUNDS = {"first": 0.3, "second": 0.55, "training": 1.0}
TOLERANCE = 1.1  # a fit that takes more than this many times its limit is late


class Part:
    """A part of a fit.

    Args:
        end: when the part ends, as ``time.monotonic`` counts; infinity for no limit.
        recorded: the number of units after which the part ended in an earlier fit; ``None`` to ask
            the clock.

    Attributes:
        done: the number of units at the last look at the clock.
        last: the time of the last look; infinity before the first.
        unit: the seconds per unit between the last two looks.
    """

    def __init__(self, end: float, recorded: int | None = None) -> None:
        self.end, self.recorded = end, recorded
        self.done, self.last, self.unit = 0, math.inf, 0.0

    def measure(self, done: int) -> None:
        """Note the time after ``done`` units."""
        now = time.monotonic()
        if done > self.done and self.last < math.inf:
            self.unit = (now - self.last) / (done - self.done)
        self.done, self.last = done, now

    def goes_on(self, done: int, ahead: float = 1.0) -> bool:
        """Return whether ``ahead`` further units will end in time, after ``done`` units."""
        if self.recorded is not None:
            return done < self.recorded
        if self.end == math.inf:
            return True
        self.measure(done)
        return self.last + ahead * self.unit < self.end

    def is_over(self, done: int) -> bool:
        """Return whether the part must end now, after ``done`` units."""
        if self.recorded is not None:
            return done >= self.recorded
        return self.end < math.inf and time.monotonic() >= self.end

    def left(self, most: int) -> int:
        """Return how many of ``most`` units will end in time."""
        if self.end == math.inf or not self.unit:
            return most
        return max(0, min(most, int((self.end - time.monotonic()) / self.unit)))


class Clock:
    """The clock of a fit, which counts from now.

    Args:
        seconds: the limit of time.
        cuts: where the parts of an earlier fit ended.

    Attributes:
        ended: where the parts ended, as ``Cuts`` has them.
        is_recorded: whether the record keeps ``ended``.
        reserved: the shares of the limit that are reserved, by part.
        trained_from: the share of the limit that had passed when the first round began.
    """

    def __init__(self, seconds: float = math.inf, cuts: Cuts | None = None) -> None:
        self.seconds, self.begun, self.cuts = seconds, time.monotonic(), cuts
        self.is_recorded = cuts is not None or seconds < math.inf
        self.ended: dict[str, Any] = {"rounds": [], "searches": []}
        self.reserved: dict[str, float] = {}
        self.trained_from: float | None = None

    def again(self) -> Clock:
        """Return the clock of a fit that starts again within the same limit."""
        found = Clock(self.seconds, self.cuts)
        found.begun = self.begun
        return found

    def passed(self) -> float:
        """Return the seconds since the fit began."""
        return time.monotonic() - self.begun

    def reserve(self, part: str) -> None:
        """Reserve time for ``"mixtures"``, or for ``"scores"`` of rows like new rows."""
        self.reserved[part] = SHARES[part]

    def round(self, name: str, first: int = 0, waiting: int = 1) -> Part:
        """Return the part of a round of networks, one of ``ROUNDS``; the units are steps.

        Args:
            name: the round.
            first: the place of the first round of these networks in ``Cuts.rounds``.
            waiting: the number of populations that share the rest of the round, this one included.
        """
        passed = self._share_passed()
        if self.trained_from is None:
            self.trained_from = passed
        end = self.trained_from + ROUNDS[name] * (self._networks_end - self.trained_from)
        share = passed + (end - passed) / waiting
        return self._part(share, lambda cuts: cuts.rounds[first + list(ROUNDS).index(name)])

    def cooling(self) -> Part:
        """Return the part of the cooling; the units are steps."""
        return self._part(self._networks_end, lambda cuts: cuts.cooled)

    @property
    def _networks_end(self) -> float:
        """The share of the limit at which the networks end."""
        return 1 - SLACK - sum(self.reserved.values())

    def search(self, place: int, places: int) -> Part:
        """Return the part of a search; the units are settings.

        Args:
            place: the place of the search among those of its candidate.
            places: the number of searches of the candidate.
        """
        number, passed = len(self.ended["searches"]), self._share_passed()
        end = 1 - SLACK - self.reserved.get("scores", 0.0)
        if self.trained_from is None:  # before the networks
            end = min(end, passed + SHARES["mixtures"] * (places - place) / places)
        share = passed + (end - passed) / (places - place)
        return self._part(
            share, lambda cuts: cuts.searches[number] if number < len(cuts.searches) else 0
        )

    def scores(self) -> Part:
        """Return the part that scores held-out rows like new rows; the units are rows."""
        return self._part(1 - SLACK, lambda cuts: cuts.rescored)

    def _share_passed(self) -> float:
        """Return the share of the limit that has passed; 0 without a limit."""
        limited = self.seconds < math.inf
        return self.passed() / self.seconds if limited else 0.0

    def _part(self, share: float, recorded: Callable[[Cuts], int | None]) -> Part:
        if self.cuts is not None:
            return Part(math.inf, recorded(self.cuts))
        return Part(self.begun + share * self.seconds if self.seconds < math.inf else math.inf)

    def late(self) -> str:
        """Return a sentence if the fit took longer than the limit, and otherwise nothing."""
        taken = self.passed()
        if taken <= TOLERANCE * self.seconds:
            return ""
        return f"the fit took {taken:.1f} s, more than its limit of {self.seconds:g} s"
