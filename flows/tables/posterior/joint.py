"""Unknown columns of a row: the density of the known values, and weighted unknown values.

The density of the known (observed) columns o is the joint density with the unknown columns u
integrated out. The unknown columns have the conditional density::

    q(x_o) = integral of q(x_o, x_u) dx_u,        q(x_u | x_o) = q(x_o, x_u) / q(x_o)

- *Unknown labels* alone are summed, if they have at most ``MOST_COMBINATIONS`` combinations.
- *All numbers unknown*: the members draw them given the known labels (``given_labels.py``), as
  long as many of these draws lie inside the intervals.
- *One unknown number* is integrated over its normal score by adaptive quadrature
  (``quadrature.py``), inside the intervals that constraints and conditions allow.
- *Other unknown columns* are integrated by importance sampling
  (Owen 2013, chapter 9). The proposal r is the conditional of a mixture that approximates the
  fitted density (``distillation.py``), restricted to the region (``truncated_mixture.py``)::

      q(x_o) ~ 1/N sum_i w_i,      w_i = q(x_o, x_i) / r(x_i | x_o),      x_i ~ r( . | x_o)

  If no number is known, the members draw a part of the rows, which bounds the weights. The number
  of draws is doubled until they reach a goal, by default ``ENOUGH`` effective draws. If few draws
  are effective, the proposal of the unknown numbers is adapted to the earlier draws
  (``importance.py``). Unknown labels are drawn from the mixture given all numbers and the known
  labels. Constrained numbers are drawn one after another, each inside the intervals that the
  constraints allow given the known values and the draws before it.

A known value that many rows hold stands for its cell (``peaks.py``): sums and quadrature use the
mean of the density over the cell, and each draw has its own noise over the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np

from flows.core.arrays import Array, Whole, rounded
from flows.core.rows import by_value, with_values
from flows.mixtures.mixture import patterns
from flows.mixtures.truncated_mixture import codes_inside
from flows.networks.densities import Along
from flows.networks.population import ensemble_log_prob
from flows.tables.columns.constraint import Constraints
from flows.tables.columns.field import Field
from flows.tables.posterior.distillation import Distilled
from flows.tables.posterior.given_labels import GivenLabels
from flows.tables.posterior.peaks import Peaks
from flows.tables.posterior.posterior import BATCHES, FIRST, Goal, Posterior
from flows.tables.posterior.quadrature import Curves, Line, Nodes, integrate
from flows.tables.posterior.region import Region
from flows.tables.posterior.sampler import POINTS, LogDensity, Sampler

INTEGRALS = 500  # rows whose unknown number is integrated over at a time: limits the memory
MOST_COMBINATIONS = 1_024  # of unknown labels that are summed
TOLERANCE = 5e-3  # the sum of the differences of two rules; the error is mostly far smaller
WIDTH = 2.0  # scale of the line on which the nodes lie, in standard deviations
# Levels of the quantiles in ``_with_means``
RATIO_LEVELS = np.array([0.005, *(np.arange(9) + 0.5) / 9, 0.995])
BESIDE = 0.02  # of a cell, the distance of knots from a value at which a density jumps


class JointPosteriors:
    """The posteriors of a joint density.

    Args:
        log_density: the members' log-densities of complete rows that meet the constraints, with
            probabilities of labels.
        along: the same for rows that lack one number, as ``Densities.along``.
        distilled: the approximation of the density, for proposals.
        peaks: the cells of values that many rows hold. The density of such a known value is the
            mean over its cell: over points in a sum or an integral, and over noise in draws.
        member_weights: the weights of the members in the ensemble, ``(M,)``.
        constraints: the constraints that cut the density.
        log_mass_se: the standard errors of the members' log-probabilities of the constraints,
            ``(M,)``.
        given_labels: the members given labels.
    """

    def __init__(
        self,
        log_density: LogDensity,
        along: Callable[[Array, Whole], Along],
        distilled: Distilled,
        peaks: Peaks,
        member_weights: Array,
        constraints: Constraints,
        log_mass_se: Array,
        given_labels: GivenLabels,
    ) -> None:
        self.log_density, self.along = log_density, along
        self.distilled, self.peaks = distilled, peaks
        self.constraints, self.log_mass_se = constraints, log_mass_se
        how = distilled, peaks, member_weights, constraints, given_labels
        self.sampler = Sampler(log_density, *how)
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
        alone = self._lack_one_number(rows)
        for start in range(0, len(alone), INTEGRALS):
            some = alone[start : start + INTEGRALS]
            yield from zip(some.tolist(), self._integrated(region.take(some)), strict=True)
        others = np.setdiff1d(np.arange(len(rows)), alone)
        for unknown, each in patterns(rows[others], POINTS // FIRST):
            some = others[each]
            places, part = np.flatnonzero(unknown).tolist(), region.take(some).of_gaps()
            if not places or self._combinations(places) <= MOST_COMBINATIONS:
                found = self._listed(part, places)
            else:
                found = self._drawn(part, seed, goal, own[some])
            yield from zip(some.tolist(), found, strict=True)

    def _lack_one_number(self, rows: Array) -> Whole:
        """Return the rows that lack one value, which is a number, ``(m,)``, column by column."""
        gaps = np.isnan(rows)
        found = np.flatnonzero(
            (gaps.sum(axis=1) == 1) & gaps[:, self.distilled.numbers].any(axis=1)
        )
        return found[np.argsort(gaps[found].argmax(axis=1), kind="stable")]

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
        at = self.peaks.at(rows).repeat(len(grid), axis=0)
        log_q = self.peaks.mean(self.log_density, values, at)
        log_q = log_q + region.log_share(self.columns, values)[:, None]
        if self.constraints:
            is_met = self.constraints.met(values, rows.repeat(len(grid), axis=0))
            log_q = np.where(is_met[:, None], log_q, -np.inf)
        parts = zip(np.split(values, len(rows)), np.split(log_q, len(rows)), strict=True)
        return [self._posterior(*part, is_exact=True) for part in parts]

    def _integrated(self, region: Region) -> list[Posterior]:
        """Return posteriors of rows that lack one number each, which is integrated over.

        The integral is over the normal score z of the unknown number, with nodes at
        ``z = m + s v``. m is the conditional mean of the distilled mixture, s its deviation times
        ``WIDTH``, and v a number of a ``Line``. The integral is over the intervals of z that are
        allowed. Rows that lack different columns are integrated together.
        """
        rows, d = region.rows, region.gaps.argmax(axis=1)
        mean, scale, row, limits, ends = self._intervals(region, d)
        nothing = np.full((1, len(self.member_weights)), -np.inf)
        no_draw = nothing.repeat(BATCHES, axis=0)
        if not len(row):
            return [self._posterior(each[None], nothing, is_exact=True) for each in rows]
        line, along = Line(*ends.T), self.along(rows, d)

        def points(part: Whole, t: Array) -> tuple[Array, Array]:
            """Return the unknown numbers at ``t``, and log dx/dt, ``(r, K)`` each."""
            own, (v, log_slope) = row[part], line.at(part, t)
            z, x = mean[own, None] + scale[own, None] * v, np.empty(t.shape)
            for column, places in by_value(d[own]):
                x[places], slope = self.distilled.values(column, z[places])
                log_slope[places] += slope
            # Rounding errors may put a node beyond an end
            return np.clip(x, *limits[part].T[..., None]), log_slope + np.log(scale[own, None])

        def log_integrand(part: Whole, t: Array) -> Array:
            x, log_slope = points(part, t)
            return along(row[part], x) + log_slope[:, :, None]

        nodes = integrate(log_integrand, len(row), TOLERANCE, self.member_weights)
        (x, _), (edges, _) = (points(nodes.row, each) for each in (nodes.u, nodes.edges))
        of_row = row[nodes.row]
        values = with_values(rows[of_row], d[of_row], x).reshape(*x.shape, -1)
        for column, own in by_value(d):
            nodes = self._with_means(rows, column, own, nodes, of_row, x)
        curves, found = Curves(nodes, edges), list[Posterior]()
        for k, each in enumerate(rows):
            own = np.flatnonzero(of_row == k)
            own = own[np.argsort(edges[own, 0], kind="stable")]
            curve = partial(curves.of, own)
            if not curves.shares(self.member_weights)[own].any():
                if len(own):  # all densities underflow, so the error is unknown, as without draws
                    found.append(self._posterior(np.tile(each, (BATCHES, 1)), no_draw))
                else:
                    found.append(self._posterior(each[None], nothing, is_exact=True))
                continue
            parts = (some[own].reshape(-1, some.shape[2]) for some in (values, nodes.log_mass))
            found.append(self._posterior(*parts, is_exact=True, along=int(d[k]), curve=curve))
        return found

    def _intervals(self, region: Region, d: Whole) -> tuple[Array, Array, Whole, Array, Array]:
        """Return where the unknown number of each row is integrated over.

        Args:
            region: the rows.
            d: the column that each row lacks, ``(n,)``.

        Returns m and s of each row, ``(n,)`` each; and for each of I intervals its row, ``(I,)``,
        and its ends in the user's units and on the line, ``(I, 2)`` each. The density jumps at the
        breaks of a column, which no interval contains.
        """
        known, mean, scale = self.distilled.known(region.rows), np.empty(len(d)), np.empty(len(d))
        row, limits, ends = np.arange(0), np.empty((0, 2)), np.empty((0, 2))
        for column, own in by_value(d):
            is_unknown, codes = np.array(self.distilled.numbers) == column, known.codes[own]
            given = self.distilled.mixture.conditional(known.numbers[own], is_unknown, codes)
            # The last bits depend on the number of rows
            mean[own], deviation = (rounded(each)[:, 0] for each in given.moments())
            scale[own] = WIDTH * deviation
            within = region.intervals.get(column)
            allowed = self.constraints.allowed(region.rows[own], column, within)
            jumps = [-np.inf, *self.columns[column].breaks, np.inf]
            allowed = np.concatenate([allowed.clip(*pair) for pair in pairwise(jumps)], axis=1)
            places, which = np.nonzero(np.asarray(allowed[..., 0] < allowed[..., 1]))
            allowed, places = allowed[places, which], own[places]
            scores = self.distilled.ends(column, allowed)
            row, limits = np.concatenate([row, places]), np.concatenate([limits, allowed])
            ends = np.concatenate([ends, (scores - mean[places, None]) / scale[places, None]])
        return mean, scale, row, limits, ends

    def _with_means(
        self, rows: Array, d: int, own: Whole, nodes: Nodes, of_row: Whole, x: Array
    ) -> Nodes:
        """Return nodes with the means over the cells of known values that many rows hold.

        The ratio of the mean to the density at the known values changes slowly with the unknown
        value. Therefore the ratio is computed at quantiles of the unknown value, and on both sides
        of its jumps, and its logarithm is interpolated between them. In tests, the log-density is
        within 0.02 of the mean of integrals over the cell.

        Args:
            rows: the rows ``(n, D)``.
            d: the index of a column.
            own: the indices of the rows that lack this column.
            nodes: the nodes, with densities at the known values.
            of_row: the row of each interval of nodes, ``(P,)``.
            x: the values of the nodes, ``(P, K)``.
        """
        at = self.peaks.at(rows)
        some = np.intersect1d(own[at[own].any(axis=1)], of_row)
        if not len(some):
            return nodes
        column, knots = self.columns[d], list[Array]()
        jumps = [each + sign * BESIDE * column.cell for each in column.breaks for sign in (-1, 1)]
        for k in some:
            of_k = of_row == k
            log_q = ensemble_log_prob(nodes.log_mass[of_k], self.member_weights)
            quantiles = _quantiles(x[of_k].ravel(), log_q.ravel(), RATIO_LEVELS)
            beside = np.clip(jumps, x[of_k].min(), x[of_k].max())
            knots.append(np.sort(np.concatenate([quantiles, beside])))
        levels = np.stack(knots)
        filled = rows[some].repeat(levels.shape[1], axis=0)
        filled[:, d] = levels.ravel()
        of_filled = at[some].repeat(levels.shape[1], axis=0)
        log_ratio = self.peaks.mean(self.log_density, filled, of_filled) - self.log_density(filled)
        log_ratio = np.nan_to_num(log_ratio, posinf=0, neginf=0).reshape(*levels.shape, -1)
        log_mass = nodes.log_mass.copy()
        for k, own_levels, ratios in zip(some, levels, log_ratio, strict=True):
            of_k = of_row == k
            for m, each in enumerate(ratios.T):
                log_mass[of_k, :, m] += np.interp(x[of_k], own_levels, each)
        return nodes._replace(log_mass=log_mass)

    def _drawn(self, region: Region, seed: int, goal: Goal, own: Array) -> list[Posterior]:
        """Return posteriors of draws of the unknown values of rows that lack the same values."""
        return [
            self._posterior(each.values, each.log_weights - np.log(len(each)), log_own=log_own)
            for each, log_own in self.sampler.draw(region, seed, goal, own)
        ]

    def _posterior(self, values: Array, log_weights: Array, **kind: Any) -> Posterior:
        # The draws of the ensemble that meet the constraints have one probability for all rows
        kind |= {"log_mass_se": self.log_mass_se, "mass_shares": self.member_weights}
        return Posterior.of(values, log_weights, self.member_weights, **kind)


def _quantiles(x: Array, log_weights: Array, levels: Array) -> Array:
    """Return the quantiles of weighted values ``x`` ``(K,)`` at levels from 0 to 1."""
    order = np.argsort(x, kind="stable")
    with np.errstate(invalid="ignore"):  # if no value has a weight
        weights = np.nan_to_num(np.exp(log_weights[order] - log_weights.max()))
    return np.interp(levels * weights.sum(), weights.cumsum(), x[order])
