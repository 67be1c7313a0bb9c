"""Importance sampling of the unknown values of rows, with the draws of ``importance.py``.

Two sources propose values:

- If no number is known, *the members* draw them given the known labels (``given_labels.py``). There
  are no other draws as long as the share ``INSIDE`` of these draws lies in the region. Otherwise
  the members make the share ``BESIDE_OTHERS`` of the draws, which bounds the weights.
- *The distilled mixture* draws them given the known values (``distillation.py``), inside the
  region (``truncated_mixture.py``). Constrained numbers are drawn one after another, each inside
  the intervals that the constraints allow given the known values and the draws before it. Unknown
  labels are drawn from the mixture given all numbers and the known labels.

All log-densities are those of the normal scores z of the unknown numbers, divided by the
probability of drawing the unknown labels from the mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.core.intervals import in_intervals
from flows.core.seeds import numpy_generator
from flows.mixtures.truncated_mixture import BoxProposal, Limit, restriction
from flows.tables.columns.constraint import Constraints
from flows.tables.posterior.distillation import Distilled
from flows.tables.posterior.given_labels import GivenLabels
from flows.tables.posterior.importance import Draws
from flows.tables.posterior.peaks import Peaks
from flows.tables.posterior.posterior import FIRST, Goal
from flows.tables.posterior.region import Region

# From rows (n, D), with codes for labels, to log-densities (n, M) of the members of an ensemble
LogDensity = Callable[[Array], Array]

POINTS = 20_000  # draws that are weighted at a time: limits the memory
INSIDE = 0.2  # share of the members' draws that lie in the region, with which they go on alone
BESIDE_OTHERS = 0.25  # share of the members' draws beside those of the mixture


@dataclass(frozen=True)
class Sampler:
    """Weighted draws of the unknown values of rows.

    Args:
        log_density: the members' log-densities of complete rows that meet the constraints.
        distilled: the approximation of the density.
        peaks: the cells of values that many rows hold.
        member_weights: the weights of the members in the ensemble, ``(M,)``.
        constraints: the constraints that cut the density.
        given_labels: the members given labels.
    """

    log_density: LogDensity
    distilled: Distilled
    peaks: Peaks
    member_weights: Array
    constraints: Constraints
    given_labels: GivenLabels

    def draw(self, region: Region, seed: int, goal: Goal, own: Array) -> list[tuple[Draws, float]]:
        """Draw the unknown values of rows that lack the same values, until the goal of each row.

        Args:
            region: the rows and the conditions.
            seed: the seed of the random streams.
            goal: when drawing ends.
            own: the rows with their true values, ``(n, D)``.

        Returns the draws of each row, and ``Posterior.log_own``.
        """
        streams = [numpy_generator(seed, "unknown", each) for each in region.row_numbers.tolist()]
        draws = [Draws(stream, self.member_weights) for stream in streams]
        waiting, log_own = np.arange(len(region)), np.full(len(region), np.nan)
        if self._members_draw(region):
            are_done = [self._are_enough(region, k, each, goal) for k, each in enumerate(draws)]
            waiting = np.flatnonzero(~np.array(are_done))
        if len(waiting):
            proposal = self._proposal(region)
            for k in waiting.tolist():
                if len(draws[k]):
                    draws[k].rescore(*self._in_scores(draws[k].values, k, proposal))
            self._extend(region, proposal, draws, waiting, goal)
            for k in waiting[~np.isnan(own[waiting]).any(axis=1)].tolist():
                log_own[k] = self._log_own(region, own[k : k + 1], k, proposal, draws[k])
        return list(zip(draws, log_own.tolist(), strict=True))

    # Draws of the members

    def _members_draw(self, region: Region) -> bool:
        """Return whether the members draw the unknown values: no number is known."""
        return bool(region.gaps[:, self.distilled.numbers].all())

    def _are_enough(self, region: Region, k: int, draws: Draws, goal: Goal) -> bool:
        """Let the members draw row k until the goal, while enough draws lie in the region.

        Return whether the draws of the members are enough.
        """
        count = goal.first
        while count:
            values, log_q, log_members = self._of_members(region, k, draws.generator, count)
            # Normal scores and a first proposal are needed beside other draws alone
            draws.add_of_members(values[:, :0], log_members, np.zeros(count), log_q, values)
            if draws.reach(goal):
                return True
            if draws.effective < INSIDE * len(draws):
                return False
            count = min(len(draws), POINTS, goal.most - len(draws))  # doubles the draws
        return True

    def _of_members(
        self, region: Region, k: int, generator: np.random.Generator, count: int
    ) -> tuple[Array, Array, Array]:
        """Draw complete rows given the known labels of row k.

        Returns the rows ``(count, D)``, their log-densities ``(count, M)``, minus infinity outside
        of the region, and the log-densities of the draws, ``(count,)``. These are in the user's
        units.
        """
        row, sets = region.rows[k], self.given_labels.sets(region.intervals)
        values = self.given_labels.draw(row, sets, count, generator)
        inside = self._inside(region, values)
        if self.constraints:
            inside &= self.constraints.met(values, row)
        log_q = np.full((count, len(self.member_weights)), -np.inf)
        log_q[inside] = self.log_density(values[inside])  # others have the weight 0
        log_share = region.log_share(self.distilled.columns, values)
        return values, log_q + log_share[:, None], self._log_members(region, k, log_q)

    def _inside(self, region: Region, values: Array) -> Mask:
        """Return which complete rows ``(n, D)`` have numbers inside the intervals, ``(n,)``."""
        found = np.ones(len(values), bool)
        for d in region.intervals.keys() & set(self.distilled.numbers):
            found &= in_intervals(values[:, d], region.intervals[d])
        return found

    def _log_members(self, region: Region, k: int, log_q: Array) -> Array:
        """Return the log-densities ``(n,)`` with which the members draw rows in the gaps of row k.

        They are minus infinity if the members do not draw.

        Args:
            region: the rows and the conditions.
            k: the index of the row.
            log_q: the members' log-densities of the rows, ``(n, M)``, in any units.
        """
        if not self._members_draw(region):
            return np.full(len(log_q), -np.inf)
        sets = self.given_labels.sets(region.intervals)
        return self.given_labels.log_proposal(log_q, region.rows[k], sets)

    def _in_scores(
        self, values: Array, k: int, proposal: BoxProposal
    ) -> tuple[Array, Array, Array]:
        """Return the normal scores of complete rows in the gaps of row k.

        Args:
            values: the complete rows, ``(n, D)``.
            k: the index of the row.
            proposal: the first proposal.

        Returns the scores ``(n, U)``, the log-densities of the first proposal, ``(n,)``, and what
        changes the log-densities from the user's units, ``(n,)``.
        """
        distilled, mixture = self.distilled, proposal.mixture
        whole, codes = distilled.rows(values), proposal.known.codes[np.full(len(values), k)]
        z = whole.numbers[:, proposal.places]
        log_p = mixture.log_prob(whole.numbers, whole.codes)
        change = mixture.log_prob(whole.numbers, codes) - log_p
        for d in (distilled.numbers[place] for place in proposal.places):
            change -= distilled.scores(d, values[:, d])[1]
        return z, proposal.log_prob(np.full(len(values), k), z), change

    # Draws of the mixture

    def _proposal(self, region: Region) -> BoxProposal:
        """Return the proposal for rows that lack the same values."""
        distilled = self.distilled
        limits, sets = restriction(region.intervals, distilled.sizes, distilled.ends)
        if self.constraints:
            cut = self._limits(region)
            limits = cut | limits | cut  # the constrained numbers come first
        return BoxProposal(distilled.mixture, distilled.known(region.rows), limits, sets)

    def _extend(
        self,
        region: Region,
        proposal: BoxProposal,
        draws: Sequence[Draws],
        waiting: Whole,
        goal: Goal,
    ) -> None:
        """Add draws to the ``waiting`` rows of ``draws``, until the goal of each.

        Args:
            region: the rows and the conditions.
            proposal: the first proposal.
            draws: the draws of all rows.
            waiting: the indices of the rows that need draws.
            goal: when drawing ends.
        """
        share = BESIDE_OTHERS if self._members_draw(region) else 0
        total = max(len(draws[k]) for k in waiting)
        count = total or FIRST
        while len(waiting) and (count := min(count, POINTS, goal.most - total)) > 0:
            of_members = int(share * count)
            for k in waiting if of_members else ():
                found = self._of_members(region, k, draws[k].generator, of_members)
                z, log_first, change = self._in_scores(found[0], k, proposal)
                log_q, log_members = found[1] + change[:, None], found[2] + change
                draws[k].add_of_members(z, log_members, log_first, log_q, found[0])
            for some in np.array_split(waiting, -(-count * len(waiting) // POINTS)):
                own = [draws[k] for k in some]
                self._draw(region, proposal, some, own, count - of_members)
            total += count
            count = total  # doubles the draws
            waiting = waiting[[not draws[k].reach(goal) for k in waiting]]

    def _limits(self, region: Region) -> dict[int, Limit]:
        """Return the limits of constrained unknown numbers, by their place among the numbers.

        Args:
            region: rows that lack the same values, and intervals of these values.
        """
        distilled, gaps = self.distilled, np.isnan(region.rows[0])
        unknown = [d for d in distilled.numbers if gaps[d]]
        order = self.constraints.order(unknown, np.flatnonzero(~gaps).tolist())

        def limit(j: int) -> Limit:
            d, earlier = order[j], order[:j]

            def inside(row: Whole, before: Array) -> Array:
                is_of_rows = bool(np.isnan(before).all())  # and not of earlier draws
                rows = region.rows if is_of_rows else region.rows[row]
                if not is_of_rows:
                    drawn = rows.copy()
                    distilled.set_numbers(drawn, earlier, before)
                    rows = self.constraints.written(drawn, rows)
                allowed = self.constraints.allowed(rows, d, region.intervals.get(d))
                ends = distilled.ends(d, allowed)
                return ends[row] if is_of_rows else ends

            return inside

        return {distilled.numbers.index(d): limit(j) for j, d in enumerate(order)}

    def _draw(
        self,
        region: Region,
        proposal: BoxProposal,
        some: Whole,
        draws: Sequence[Draws],
        count: int,
    ) -> None:
        """Add ``count`` draws to each of ``draws``, which belong to ``some`` rows of a region."""
        distilled, row, width = self.distilled, some.repeat(count), len(proposal.places)
        z = np.empty((len(row), width))
        places = np.split(np.arange(len(row)), len(some))
        levels, noise, is_first = np.empty((len(row), proposal.uniforms)), z.copy(), []
        for each, own in zip(draws, places, strict=True):
            adapted = each.propose(count)
            is_first.append(np.full(count, adapted is None))
            if adapted is not None:
                z[own] = adapted
            else:
                levels[own] = each.generator.random((count, proposal.uniforms))
                noise[own] = each.generator.standard_normal((count, width))
        first = np.flatnonzero(np.concatenate(is_first))
        z[first] = proposal.sample(row[first], levels[first], noise[first])
        log_first, log_labels = proposal.log_prob(row, z), np.zeros(len(row))
        points = region.rows[row]
        if (proposal.known.codes < 0).any():
            for each, own in zip(draws, places, strict=True):
                filled, log_labels[own] = proposal.with_labels(row[own], z[own], each.generator)
                points[own, : len(distilled.sizes)] = filled.codes
        numbers = [distilled.numbers[place] for place in proposal.places]
        log_slope = distilled.set_numbers(points, numbers, z) - log_labels
        log_q = np.full((len(row), len(self.member_weights)), -np.inf)
        inside = np.isfinite(log_first)
        if self.constraints:
            inside &= self.constraints.met(points, region.rows[row])
        spread, log_weights = self._spread(region.rows[some], points, draws, places)
        log_slope += log_weights
        log_q[inside] = self.log_density(spread[inside]) + log_slope[inside, None]
        log_share = region.log_share(distilled.columns, points)[:, None]
        for k, each, own in zip(some, draws, places, strict=True):
            log_members = self._log_members(region, k, log_q[own])
            each.add(z[own], log_members, log_first[own], (log_q + log_share)[own], points[own])

    def _spread(
        self, known: Array, points: Array, draws: Sequence[Draws], places: Sequence[Whole]
    ) -> tuple[Array, Array]:
        """Return points with noise over the cells of known values that many rows hold.

        Also return the log-weights of the noise, ``(N,)``.

        Args:
            known: the known values of the rows, ``(n, D)``.
            points: complete rows ``(N, D)``.
            draws: the draws of each row.
            places: their places among the ``points``.
        """
        at, found, log_weights = self.peaks.at(known), points, np.zeros(len(points))
        for each, own, own_at in zip(draws, places, at, strict=True):
            if own_at.any():
                found = points.copy() if found is points else found
                u = each.generator.random((len(own), len(own_at)))
                found[own], log_weights[own] = self.peaks.spread(points[own], own_at, u)
        return found, log_weights

    def _log_own(
        self, region: Region, row: Array, k: int, proposal: BoxProposal, draws: Draws
    ) -> float:
        """Return ``-log r``, in the user's units, of the values of a complete row in gaps of row k.

        Args:
            region: the rows and the conditions.
            row: the complete row, ``(1, D)``.
            k: the index of the row in the region.
            proposal: the first proposal.
            draws: the draws of the row.
        """
        z, log_first, change = self._in_scores(row, k, proposal)
        log_members = np.full(1, -np.inf)
        if self._members_draw(region):
            log_members = self._log_members(region, k, self.log_density(row)) + change
        return float((change - draws.log_proposal(z, log_members, log_first))[0])
