"""Unknown columns of a row: the density of the known values, and weighted unknown values.

The density of the known (observed) columns o is the joint density with the unknown columns u
integrated out. The unknown columns have the conditional density::

    q(x_o) = integral of q(x_o, x_u) dx_u,        q(x_u | x_o) = q(x_o, x_u) / q(x_o)

- *Unknown labels* alone are summed, if they have at most ``MOST_COMBINATIONS`` combinations.
- *One unknown number* is integrated over its normal score by adaptive quadrature
  (``quadrature.py``).
- *Other unknown columns* are integrated by importance sampling (Owen 2013, chapter 9). The
  proposal r is the conditional of a mixture that approximates the fitted density
  (``distillation.py``)::

      q(x_o) ~ 1/N sum_i w_i,      w_i = q(x_o, x_i) / r(x_i | x_o),      x_i ~ r( . | x_o)

  The number of draws is doubled until ``ENOUGH`` draws are effective. Before each doubling, the
  proposal of the unknown numbers is adapted to the earlier draws (``importance.py``). Unknown
  labels are drawn from the mixture given all numbers and the known labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from flows.core.arrays import Array, Mask, Whole, rounded
from flows.core.seeds import numpy_generator
from flows.mixtures.mixture import patterns
from flows.mixtures.truncated_mixture import BoxProposal, codes_inside
from flows.posterior.distillation import Distilled
from flows.posterior.importance import Draws, effective
from flows.posterior.posterior import FIRST, Posterior
from flows.posterior.quadrature import integrate
from flows.posterior.region import Goal, Region
from flows.tables.field import Field

# From rows (n, D), with codes for labels, to log-densities (n, M) of the members of an ensemble
LogDensity = Callable[[Array], Array]

POINTS = 20_000  # draws that are weighted at a time: limits the memory
MOST_COMBINATIONS = 1_024  # of unknown labels that are summed
TOLERANCE = 8e-3  # largest change between two halvings; the error is about a tenth of this
WIDTH = 1.1  # scale of the logistic curve that spaces the nodes, in standard deviations


class JointPosteriors:
    """The posteriors of a joint density.

    Args:
        log_density: the members' log-densities of complete rows, with probabilities of labels.
        distilled: the approximation of the density, for proposals.
        member_weights: the weights of the members in the ensemble, ``(M,)``.
    """

    def __init__(
        self, log_density: LogDensity, distilled: Distilled, member_weights: Array
    ) -> None:
        self.log_density, self.distilled = log_density, distilled
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
            elif part.intervals:
                each = (part.take(np.array([k])) for k in range(len(some)))
                found = [self._restricted(one, seed, goal) for one in each]
            elif len(places) == 1:
                found = self._integrated(rows[some], places[0])
            else:
                numbers = region.row_numbers[some]
                found = self._drawn(rows[some], unknown, numbers, seed, goal, own[some])
            yield from zip(some.tolist(), found, strict=True)

    def _restricted(self, region: Region, seed: int, goal: Goal) -> Posterior:
        """Return the posterior of a region of one row.

        The draws are from the conditional of the distilled mixture, restricted to the intervals
        (``truncated_mixture.py``).
        """
        [row], intervals = region.rows, region.intervals
        generator = numpy_generator(seed, "unknown", int(region.row_numbers[0]))
        distilled, unknown = self.distilled, np.isnan(row)
        columns = distilled.numbers, distilled.labels
        known = distilled.rows(row[None])
        proposal, _, _ = BoxProposal.given(
            distilled.mixture, known, columns, intervals, distilled.ends
        )
        numbers, labels = ([d for d in own if unknown[d]] for own in columns)

        def piece(count: int) -> tuple[Array, Array]:
            points, (z, codes) = row[None].repeat(count, axis=0), proposal.sample(count, generator)
            points[:, labels], log_r = codes, proposal.log_prob(z, codes)
            log_r -= self._set_numbers(points, numbers, z)
            log_q = np.empty((0, len(self.member_weights)))
            return points, (self.log_density(points) if count else log_q) - log_r[:, None]

        def draw(count: int) -> tuple[Array, Array]:
            sizes = [POINTS] * (count // POINTS) + [count % POINTS]
            parts, log_weights = zip(*map(piece, sizes), strict=True)
            values = np.concatenate(parts)
            log_share = region.log_share(self.columns, values)
            return values, np.concatenate(log_weights) + log_share[:, None]

        return Posterior.doubled(draw, self.member_weights, goal)

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

        def log_integrand(row: Whole, u: Array) -> Array:
            values, log_slope = points(row, u)
            return self.log_density(values).reshape(*u.shape, -1) + log_slope[:, :, None]

        nodes = integrate(log_integrand, len(rows), TOLERANCE)
        values, kind = points(nodes.row, nodes.u[:, None])[0], {"is_exact": True, "along": d}
        own = [nodes.row == row for row in range(len(rows))]
        return [self._posterior(values[each], nodes.log_mass[each], **kind) for each in own]

    def _drawn(
        self, rows: Array, unknown: Mask, row_numbers: Whole, seed: int, goal: Goal, own: Array
    ) -> list[Posterior]:
        """Draw the ``unknown`` columns, ``(D,)``, until the ``goal`` of each row.

        ``log_own`` is computed for each complete row of ``own`` ``(n, D)``.
        """
        streams = [numpy_generator(seed, "unknown", int(number)) for number in row_numbers]
        clouds = [Draws(stream, self.member_weights) for stream in streams]
        waiting, count, total = np.arange(len(rows)), FIRST, 0
        while len(waiting) and total < goal.most:
            for some in np.array_split(waiting, -(-count * len(waiting) // POINTS)):
                self._draw(rows[some], unknown, [clouds[k] for k in some], count)
            total += count
            count = total  # doubles the draws
            few = [effective(clouds[k].log_ensemble_weights) < goal.effective for k in waiting]
            waiting = waiting[few]
        log_own = np.full(len(rows), np.nan)
        for k in np.flatnonzero(~np.isnan(own).any(axis=1)):
            log_own[k] = self._log_own(own[k : k + 1], unknown, clouds[k])
        return [
            self._posterior(each.values, each.log_weights - np.log(len(each.z)), log_own=log_w)
            for each, log_w in zip(clouds, log_own, strict=True)
        ]

    def _draw(self, rows: Array, unknown: Mask, clouds: Sequence[Draws], count: int) -> None:
        """Add ``count`` draws to each of ``clouds``, which belong to the ``rows``."""
        distilled, of_numbers = self.distilled, unknown[self.distilled.numbers]
        drawn = distilled.rows(rows).take(np.arange(len(rows)).repeat(count))
        first = distilled.mixture.conditional(drawn.numbers, of_numbers, drawn.codes)
        if clouds[0].counts and of_numbers.any():
            z = np.concatenate([each.propose(count) for each in clouds])
        else:
            level = np.concatenate([each.generator.random(count) for each in clouds])
            size = count, int(of_numbers.sum())
            noise = np.concatenate([each.generator.standard_normal(size) for each in clouds])
            z = first.sample(level, noise)
        drawn.numbers[:, of_numbers] = z
        places = np.split(np.arange(len(drawn.codes)), len(rows))
        log_labels = np.zeros(len(drawn.codes))
        if (drawn.codes < 0).any():
            for each, own in zip(clouds, places, strict=True):
                filled, log_labels[own] = distilled.mixture.draw_missing(
                    drawn.take(own), each.generator
                )
                drawn.codes[own] = filled.codes
        points = rows.repeat(count, axis=0)
        points[:, distilled.labels] = drawn.codes
        numbers = [d for d in distilled.numbers if unknown[d]]
        log_slope = self._set_numbers(points, numbers, z)
        log_q = self.log_density(points) + (log_slope - log_labels)[:, None]
        log_first = first.log_prob(z)
        for each, own in zip(clouds, places, strict=True):
            each.add(z[own], log_first[own], log_q[own], points[own])

    def _log_own(self, row: Array, unknown: Mask, draws: Draws) -> float:
        """Return ``-log r``, in the user's units, of the unknown columns of a complete row."""
        distilled, of_numbers = self.distilled, unknown[self.distilled.numbers]
        own = distilled.rows(row)
        codes = np.where(unknown[distilled.labels], -1, own.codes)
        first = distilled.mixture.conditional(own.numbers, of_numbers, codes)
        z = own.numbers[:, of_numbers]
        log_r = draws.log_proposal(z, first.log_prob(z))
        for d in distilled.numbers:
            if unknown[d]:
                log_r += distilled.scores(d, row[:, d])[1]
        log_r += distilled.mixture.log_prob(own.numbers, own.codes)
        log_r -= distilled.mixture.log_prob(own.numbers, codes)
        return -float(log_r[0])

    def _posterior(self, values: Array, log_weights: Array, **kind: Any) -> Posterior:
        return Posterior.of(values, log_weights, self.member_weights, **kind)
