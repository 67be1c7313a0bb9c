"""Unknown columns of a row: the density of the known values, and weighted unknown values.

The density of the known (observed) columns o is the joint density with the unknown columns u
integrated out. The unknown columns have the conditional density::

    q(x_o) = integral of q(x_o, x_u) dx_u,        q(x_u | x_o) = q(x_o, x_u) / q(x_o)

- *Unknown labels* alone are summed, if they have at most ``MOST_COMBINATIONS`` combinations.
- *One unknown number* is integrated over its normal score by adaptive quadrature
  (``quadrature.py``).
- *Other unknown columns*, and numbers inside intervals, are integrated by importance sampling
  (Owen 2013, chapter 9). The proposal r is the conditional of a mixture that approximates the
  fitted density (``distillation.py``), restricted to the region (``truncated_mixture.py``)::

      q(x_o) ~ 1/N sum_i w_i,      w_i = q(x_o, x_i) / r(x_i | x_o),      x_i ~ r( . | x_o)

  The number of draws is doubled until they reach a goal, by default ``ENOUGH`` effective draws. If
  few draws are effective, the proposal of the unknown numbers is adapted to the earlier draws
  (``importance.py``). Unknown labels are drawn from the mixture given all numbers and the known
  labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from flows.core.arrays import Array, Whole, rounded
from flows.core.seeds import numpy_generator
from flows.mixtures.mixture import patterns
from flows.mixtures.truncated_mixture import BoxProposal, codes_inside, restriction
from flows.posterior.cut import intervals_met
from flows.posterior.distillation import Distilled
from flows.posterior.goal import Goal
from flows.posterior.importance import Draws
from flows.posterior.posterior import FIRST, Posterior
from flows.posterior.quadrature import integrate
from flows.posterior.region import Region
from flows.tables.constraint import Constraints
from flows.tables.field import Field

# From rows (n, D), with codes for labels, to log-densities (n, M) of the members of an ensemble
LogDensity = Callable[[Array], Array]

POINTS = 20_000  # draws that are weighted at a time: limits the memory
MOST_COMBINATIONS = 1_024  # of unknown labels that are summed
TOLERANCE = 8e-3  # largest change between two halvings; the error is about a tenth of this
GRID = 2_000  # values at which constraints are checked
WIDTH = 1.1  # scale of the logistic curve that spaces the nodes, in standard deviations


class JointPosteriors:
    """The posteriors of a joint density.

    Args:
        log_density: the members' log-densities of complete rows, with probabilities of labels.
        distilled: the approximation of the density, for proposals.
        member_weights: the weights of the members in the ensemble, ``(M,)``.
        constraints: the constraints that cut the density.
    """

    def __init__(
        self,
        log_density: LogDensity,
        distilled: Distilled,
        member_weights: Array,
        constraints: Constraints,
    ) -> None:
        self.log_density, self.distilled = log_density, distilled
        self.constraints = constraints
        self.columns: Sequence[Field] = distilled.columns
        self.member_weights = member_weights

    def of(
        self, region: Region, seed: int = 0, goal: Goal | None = None, own: Array | None = None
    ) -> Iterator[tuple[int, Posterior]]:
        """Yield the index and the posterior of each row of a region, in any order.

        The evidence is the density of the known values, times the probability of the intervals
        given these values.

        Args:
            region: the rows and the intervals of unknown values.
            seed: the seed of the random streams.
            goal: when drawing ends; by default, with ``ENOUGH`` effective draws.
            own: the rows with their true values, ``(n, D)``, for ``Posterior.log_own``.
        """
        goal, rows = goal or Goal(), region.rows
        own = rows if own is None else own
        for unknown, some in patterns(rows, POINTS // FIRST):
            places, part = np.flatnonzero(unknown).tolist(), region.take(some).of_gaps()
            if not places or self._combinations(places) <= MOST_COMBINATIONS:
                found = self._listed(part, places)
            elif len(places) == 1 and not part.intervals:
                found = self._integrated(rows[some], places[0])
            else:
                found = self._drawn(part, seed, goal, own[some])
            yield from zip(some.tolist(), found, strict=True)

    def _set_numbers(self, points: Array, places: Sequence[int], z: Array) -> Array:
        """Set columns of ``points`` ``(n, D)`` to the values with the normal scores ``z``.

        Return the sum of log dx/dz over the columns, ``(n,)``.

        Args:
            points: rows in the user's units, which are changed.
            places: the indices of the columns.
            z: the normal scores, ``(n, U)``.
        """
        log_slope = np.zeros(len(points))
        for d, scores in zip(places, z.T.copy(), strict=True):
            points[:, d], slope = self.distilled.values(d, scores)
            log_slope += slope
        return log_slope

    def _combinations(self, places: list[int]) -> float:
        """Return the number of combinations of the labels; infinity if a column has numbers."""
        # Floats, because a product of whole numbers may overflow
        return float(np.prod([float(len(self.columns[d].labels)) or np.inf for d in places]))

    def _listed(self, region: Region, places: list[int]) -> list[Posterior]:
        """Return posteriors over all allowed combinations of the labels at ``places``.

        If ``places`` is empty, the rows are complete, and each posterior has only its row.
        """
        rows, codes = region.rows, []
        for d in places:
            count = len(self.columns[d].labels)
            own = region.intervals.get(d)
            codes.append(np.arange(count) if own is None else codes_inside(own, count))
        grid = np.array(list(product(*codes)), dtype=np.float64)
        values = rows.repeat(len(grid), axis=0)
        values[:, places] = np.tile(grid, (len(rows), 1))
        log_q = self.log_density(values) + region.log_share(self.columns, values)[:, None]
        parts = zip(np.split(values, len(rows)), np.split(log_q, len(rows)), strict=True)
        return [self._posterior(*part, is_exact=True) for part in parts]

    def _integrated(self, rows: Array, d: int) -> list[Posterior]:
        """Integrate over the normal score z of column ``d``, with z as a function of u in (0, 1)::

            z(u) = m + s log(u / (1 - u)),      dz/du = s / (u (1 - u))

        m is the conditional mean of the distilled mixture, and s its deviation times ``WIDTH``.
        With constraints, the integral is over the intervals of u whose values meet them.
        """
        known = self.distilled.rows(rows)
        is_unknown = np.array(self.distilled.numbers) == d
        given = self.distilled.mixture.conditional(known.numbers, is_unknown, known.codes)
        # The last bits depend on the number of rows
        mean, deviation = (rounded(each) for each in given.moments())
        scale = WIDTH * deviation

        def points(row: Whole, u: Array) -> tuple[Array, Array]:
            z = mean[row] + scale[row] * np.log(u / (1 - u))
            x, log_slope = self.distilled.values(d, z)
            values = rows[row].repeat(u.shape[1], axis=0)
            values[:, d] = x.ravel()
            return values, log_slope + np.log(scale[row] / (u * (1 - u)))

        row, low, high = np.arange(len(rows)), np.zeros(len(rows)), np.ones(len(rows))
        if self.constraints:
            grid = np.tile((np.arange(GRID) + 0.5) / GRID, (len(rows), 1))
            row, low, high = intervals_met(
                lambda some, u: self.constraints.met(points(some, u)[0]).reshape(u.shape),
                grid,
                (0.0, 1.0),
            )

        def log_integrand(part: Whole, t: Array) -> Array:
            width = (high - low)[part, None]
            values, log_slope = points(row[part], low[part, None] + width * t)
            log_q = self.log_density(values).reshape(*t.shape, -1)
            return log_q + (log_slope + np.log(width))[:, :, None]

        if not len(row):
            nothing = np.full((1, len(self.member_weights)), -np.inf)
            return [self._posterior(each[None], nothing, is_exact=True) for each in rows]
        nodes = integrate(log_integrand, len(row), TOLERANCE)
        u = low[nodes.row] + (high - low)[nodes.row] * nodes.u
        values, kind = points(row[nodes.row], u[:, None])[0], {"is_exact": True, "along": d}
        found = []
        for k, each in enumerate(rows):
            own = row[nodes.row] == k
            mass = nodes.log_mass[own]
            if not own.any():
                mass = np.full((1, len(self.member_weights)), -np.inf)
            shown = values[own] if own.any() else each[None]
            found.append(self._posterior(shown, mass, **kind))
        return found

    def _drawn(self, region: Region, seed: int, goal: Goal, own: Array) -> list[Posterior]:
        """Draw the unknown values of rows that lack the same values, until the goal of each row.

        ``log_own`` is computed for each complete row of ``own`` ``(n, D)``.
        """
        distilled, row_numbers = self.distilled, region.row_numbers.tolist()
        columns = distilled.numbers, distilled.labels
        inside = restriction(region.intervals, columns, distilled.sizes, distilled.ends)
        proposal = BoxProposal(distilled.mixture, distilled.rows(region.rows), *inside)
        streams = [numpy_generator(seed, "unknown", number) for number in row_numbers]
        draws = [Draws(stream, self.member_weights) for stream in streams]
        waiting, count, total = np.arange(len(region)), FIRST, 0
        while len(waiting) and total < goal.most:
            for some in np.array_split(waiting, -(-count * len(waiting) // POINTS)):
                self._draw(region, proposal, some, [draws[k] for k in some], count)
            total += count
            count = min(total, POINTS, goal.most - total)  # doubles the draws
            waiting = waiting[[not draws[k].reach(goal) for k in waiting]]
        log_own = np.full(len(region), np.nan)
        for k in np.flatnonzero(~np.isnan(own).any(axis=1)):
            log_own[k] = self._log_own(own[k : k + 1], int(k), proposal, draws[k])
        return [
            self._posterior(each.values, each.log_weights - np.log(len(each.z)), log_own=log_w)
            for each, log_w in zip(draws, log_own, strict=True)
        ]

    def _draw(
        self,
        region: Region,
        proposal: BoxProposal,
        some: Whole,
        draws: Sequence[Draws],
        count: int,
    ) -> None:
        """Add ``count`` draws to each of ``draws``, which belong to ``some`` rows of a region."""
        row, width = some.repeat(count), len(proposal.places)
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
                points[own[:, None], self.distilled.labels] = filled.codes
        numbers = [self.distilled.numbers[place] for place in proposal.places]
        log_slope = self._set_numbers(points, numbers, z) - log_labels
        log_q = np.full((len(row), len(self.member_weights)), -np.inf)
        inside = proposal.is_inside(z)
        log_q[inside] = self.log_density(points[inside]) + log_slope[inside, None]
        log_q += region.log_share(self.columns, points)[:, None]
        for each, own in zip(draws, places, strict=True):
            each.add(z[own], log_first[own], log_q[own], points[own])

    def _log_own(self, row: Array, k: int, proposal: BoxProposal, draws: Draws) -> float:
        """Return ``-log r``, in the user's units, of the values of a complete row in gaps of row k.

        Args:
            row: the complete row, ``(1, D)``.
            k: the index of the row among the rows of the proposal.
            proposal: the first proposal.
            draws: the draws of the row.
        """
        distilled, mixture = self.distilled, proposal.mixture
        own, codes = distilled.rows(row), proposal.known.codes[k : k + 1]
        z = own.numbers[:, proposal.places]
        log_r = draws.log_proposal(z, proposal.log_prob(np.array([k]), z))
        for d in (distilled.numbers[place] for place in proposal.places):
            log_r += distilled.scores(d, row[:, d])[1]
        log_r += mixture.log_prob(own.numbers, own.codes) - mixture.log_prob(own.numbers, codes)
        return -float(log_r[0])

    def _posterior(self, values: Array, log_weights: Array, **kind: Any) -> Posterior:
        return Posterior.of(values, log_weights, self.member_weights, **kind)
