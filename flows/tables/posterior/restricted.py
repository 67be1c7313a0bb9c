"""The targets of a density inside intervals that constraints and conditions allow.

Targets are drawn inside the intervals R_j that are allowed given x and the targets before them, and
the draws y_i have the weights of each member's own density::

    r_m(y) = prod_j p_m(y_j | x, y_<j) / P_m(R_j | x, y_<j),        r(y) = sum_m v_m r_m(y)
    weight of member m = p_m(y_i | x) / P_m(A | x) / r(y_i),        y_i ~ r

For one target, ``P_m(A | x)`` is the probability of intervals of the noise. For several targets, it
is the mean of ``prod_j P_m(R_j | x, y_<j)`` over draws of all targets but the last, which is
integrated exactly. Source: Genz 1992, as in ``mixtures/truncated_mixture.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
from scipy.special import ndtri, softmax

from flows.core.arrays import Array, choose
from flows.core.intervals import in_intervals, log_interval
from flows.tables.columns.constraint import Constraints
from flows.tables.posterior.target_population import TargetPopulation

# Draws of all targets but the last for the probability of constraints, at first and at most, in a
# number of independent sets, and the standard error in nats at which there are enough
MASS_DRAWS, MOST_MASS_DRAWS, MASS_SETS, MASS_ERROR = 64, 4_096, 8, 0.01


@dataclass(frozen=True)
class RestrictedTargets:
    """p(y | x) of each member for complete contexts x, inside of allowed intervals.

    Args:
        population: the flow.
        constraints: the constraints that rows meet.
    """

    population: TargetPopulation
    constraints: Constraints

    def places(self, ranges: Mapping[int, Array]) -> list[int]:
        """Return the indices of the targets that constraints or conditions restrict."""
        context = self.population.flow.context
        places = self.constraints.places
        return [
            j for j in range(self.population.target_count) if j in ranges or context + j in places
        ]

    def log_mass(self, x: Array) -> tuple[Array, Array]:
        """Return log P(A | x) of each member, and the standard errors, ``(n, M)`` each.

        Args:
            x: contexts ``(n, d)`` in the user's units.
        """
        found, error = np.zeros((2, len(x), self.population.members))
        if not self.constraints or not len(x):
            return found, error
        distinct, places = np.unique(x, axis=0, return_inverse=True)
        found[:] = -np.inf
        of_targets = np.full((len(distinct), self.population.target_count), np.nan)
        broken = self.constraints.broken(np.column_stack([distinct, of_targets])).any(axis=1)
        possible = np.flatnonzero(~broken)
        size = max(1, self.population.chunk // MASS_DRAWS)
        for start in range(0, len(possible), size):
            some = possible[start : start + size]
            found[some], error[some] = self._log_mass_of(distinct[some])
        places = places.ravel()
        return found[places], error[places]

    def _log_mass_of(self, x: Array) -> tuple[Array, Array]:
        """Return ``log_mass`` of contexts ``(n, d)`` that do not break a constraint."""
        n, members, count = len(x), self.population.members, self.population.target_count
        found, error = np.zeros((2, n, members))
        if not (restricted := self.places({})):
            return found, error
        if count == 1 and (labels := self.population.columns[-1].labels):
            rows = with_each(x, range(len(labels)))
            log_p = self.population.log_factors(rows)[:, :, 0]
            log_p[~self.constraints.met(rows, rows)] = -np.inf
            return np.logaddexp.reduce(log_p.reshape(n, len(labels), members), axis=1), error
        if restricted == [0]:
            return self.log_inside(x, np.full((n, 1, count), np.nan), 0, {})[2], error
        waiting, draws = np.arange(n), MASS_DRAWS
        while len(waiting) and draws <= MOST_MASS_DRAWS:
            size = max(1, self.population.chunk // draws)
            for start in range(0, len(waiting), size):
                some = waiting[start : start + size]
                found[some], error[some] = self._mass_of_draws(x[some], draws, restricted[-1])
            waiting, draws = waiting[(error[waiting] > MASS_ERROR).any(axis=1)], 4 * draws
        return found, error

    def _mass_of_draws(self, x: Array, draws: int, last: int) -> tuple[Array, Array]:
        """Return log P(A | x) of several targets, and the standard errors, ``(n, M)`` each.

        Args:
            x: contexts ``(n, d)`` in the user's units.
            draws: the number of draws of the targets before the last restricted one.
            last: the index of the last restricted target.
        """
        n, members, count = len(x), self.population.members, self.population.target_count
        # Own numbers for each member, so that their errors are independent
        sets = [
            scipy.stats.qmc.Sobol(last * members, rng=k).random(draws // MASS_SETS)
            for k in range(MASS_SETS)
        ]
        levels = np.full((draws, members, count), 0.5)
        levels[:, :, :last] = np.concatenate(sets).reshape(draws, members, last)
        noise = ndtri(levels)
        own = [np.tile(each, (n, 1, 1)) for each in (noise, levels)]
        log_p = self._walk(x.repeat(draws, axis=0), {}, *own)[1]
        log_sets = np.logaddexp.reduce(log_p.sum(axis=2).reshape(n, MASS_SETS, -1, members), axis=2)
        log_sets -= np.log(draws // MASS_SETS)
        log_mean = np.logaddexp.reduce(log_sets, axis=1) - np.log(MASS_SETS)
        with np.errstate(invalid="ignore"):
            ratio = np.exp(log_sets - log_mean[:, None])
        error = ratio.std(axis=1, ddof=1) / np.sqrt(MASS_SETS)
        return log_mean, np.where(np.isfinite(log_mean), error, np.inf)  # no draw meets them

    def draw(
        self,
        x: Array,
        ranges: Mapping[int, Array],
        log_mass: Array,
        generator: np.random.Generator,
    ) -> tuple[Array, Array]:
        """Draw targets inside intervals, given contexts.

        Args:
            x: contexts ``(n, d)`` in the user's units.
            ranges: intervals ``(I, 2)`` in the user's units, by the index of the target.
            log_mass: log P(A | x) of each member, ``(n, M)``.
            generator: the source of the draws.

        Returns draws ``(n, D)``, and their log-weights without the constraints,
        log p_m(y | x) - log r(y), ``(n, M)``.
        """
        n, flow, restricted = len(x), self.population.flow, self.places(ranges)
        noise = flow.base.sample(n, generator, flow.dtype).movedim(-1, 0).double().numpy()
        levels = generator.random(noise[:, 0].shape) if restricted else noise[:, 0]
        with np.errstate(divide="ignore"):
            log_v = np.tile(np.log(self._weights), (n, 1))
        if 0 in restricted:  # the intervals of the first target depend on x alone
            nothing = np.full((n, 1, noise.shape[2]), np.nan)
            with np.errstate(invalid="ignore"):  # if no target meets the constraints
                share = self.log_inside(x, nothing, 0, ranges)[2] - log_mass
            log_v += np.where(np.isfinite(share), share, -np.inf)
        is_possible = np.isfinite(log_v).any(axis=1)
        shares = softmax(np.where(is_possible[:, None], log_v, 0.0), axis=1)
        member = choose(shares, generator.random(n))
        # Each member draws its own rows, side by side; a member with fewer draws the first row, too
        rows = [np.flatnonzero(member == m) for m in range(flow.members)]
        most = max(map(len, rows))
        table = np.zeros((most, flow.members), np.int64)
        for m, own in enumerate(rows):
            table[: len(own), m] = own
        z, _ = self._walk(x[table], ranges, noise[table, np.arange(flow.members)], levels[table])
        drawn, y = flow.decode(z, x[table]).numpy(), np.empty(levels.shape)
        for m, own in enumerate(rows):
            y[own] = drawn[: len(own), m]
        log_p = self.population.log_factors(np.column_stack([x, y]), only_discrete=True).sum(axis=2)
        with np.errstate(divide="ignore"):
            log_r = log_p + np.log(shares)
        for j in restricted:
            log_r -= self.log_inside(x, y[:, None], j, ranges)[2]
        for j, intervals in ranges.items():
            is_possible &= in_intervals(y[:, j], intervals)
        with np.errstate(invalid="ignore"):  # of impossible draws
            found = log_p - np.logaddexp.reduce(log_r, axis=1)[:, None]
        return y, np.where(is_possible[:, None], found, -np.inf)

    def log_inside(
        self, x: Array, y: Array, j: int, ranges: Mapping[int, Array]
    ) -> tuple[Array, Array, Array]:
        """Return the intervals of target j that constraints and conditions allow.

        Args:
            x: contexts ``(n, d)`` or ``(n, M, d)`` in the user's units.
            y: the targets ``(n, M or 1, D)``, of which those before j matter.
            j: the index of the target.
            ranges: intervals ``(I, 2)`` in the user's units, by the index of the target.

        Returns the noise at their ends ``(2, I, n, M)``, their log-probabilities ``(I, n, M)``, and
        the log-probability of all of them together, ``(n, M)``.
        """
        population, context = self.population, self.population.flow.context
        if not j and x.ndim == 2:  # the intervals depend on x alone, and often all x are equal
            x, places = np.unique(x, axis=0, return_inverse=True)
            ends, each, whole = self.log_inside(x[:, None], y[: len(x), :1], 0, ranges)
            places = places.ravel()
            return ends[:, :, places], each[:, places], whole[places]
        given = x if x.ndim == 3 else x[:, None]
        n, members = np.broadcast_shapes(y.shape[:2], given.shape[:2])
        rows = np.full((n, members, len(population.columns)), np.nan)
        rows[..., :context], rows[..., context : context + j] = given, y[..., :j]
        drawn = rows.reshape(n * members, -1)
        written = self.constraints.written(drawn)
        written[:, :context] = drawn[:, :context]
        allowed = self.constraints.allowed(written, context + j, ranges.get(j))
        before = np.where(np.isnan(y), self.middle[context:], y)
        before = np.broadcast_to(before, (n, members, y.shape[2]))
        ends = np.array(
            [
                [population.noise_of(x, before, j, end.reshape(n, members)) for end in own.T]
                for own in allowed.transpose(1, 0, 2)
            ]
        ).transpose(1, 0, 2, 3)
        log_each = log_interval(population.flow.base.log_cdf, *ends)
        return ends, log_each, np.asarray(np.logaddexp.reduce(log_each, axis=0))

    def noise_inside(self, ends: Array, log_each: Array, levels: Array) -> Array:
        """Return noise inside intervals, ``(n, M)``; 0 if they hold no number.

        Args:
            ends: the ends of the intervals, ``(2, I, n, M)``.
            log_each: their log-probabilities, ``(I, n, M)``.
            levels: uniform numbers from 0 to 1, ``(n, M or 1)``.
        """
        log_p = np.logaddexp.reduce(log_each, axis=0)
        is_empty = np.isneginf(log_p)
        with np.errstate(invalid="ignore"):
            share = np.nan_to_num(np.exp(log_each - log_p))
        below = share.cumsum(axis=0)
        which = (levels > below).sum(axis=0).clip(0, len(share) - 1)[None]
        low, high, own, end = (
            np.take_along_axis(each, which, axis=0)[0] for each in (*ends, share, below)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.nan_to_num((levels - end + own) / own).clip(0, 1)
        z = self.population.flow.base.inside(low, high, level)
        return np.where(is_empty, 0.0, z)

    def _walk(
        self, x: Array, ranges: Mapping[int, Array], noise: Array, levels: Array
    ) -> tuple[Array, Array]:
        """Draw the targets of every member inside intervals, one target after another.

        A discrete target is rounded before the next one is drawn, as ``log_factors`` reads it.

        Args:
            x: contexts ``(n, d)`` or ``(n, M, d)`` in the user's units.
            ranges: intervals ``(I, 2)`` in the user's units, by the index of the target.
            noise: the noise of targets that nothing restricts, ``(n, M, D)``.
            levels: uniform numbers from 0 to 1 for restricted targets, ``(n, M, D)``.

        Returns the noise of the targets ``(n, M, D)``, and the log-probabilities of their
        intervals, ``(n, M, D)``, 0 for targets that nothing restricts.
        """
        population, flow = self.population, self.population.flow
        restricted, columns = self.places(ranges), population.columns[flow.context :]
        z, log_p, y = noise.copy(), np.zeros(noise.shape), np.full(noise.shape, np.nan)
        for j, column in enumerate(columns):
            if j in restricted:
                y = flow.decode(z, x).numpy() if j else y
                ends, log_each, log_p[..., j] = self.log_inside(x, y, j, ranges)
                z[..., j] = self.noise_inside(ends, log_each, levels[..., j])
            if column.is_discrete and j + 1 < len(columns):
                y = flow.decode(z, x).numpy()
                z[..., j] = population.noise_of(x, y, j, y[..., j])
        return z, log_p

    @cached_property
    def middle(self) -> Array:
        """A row ``(d + D,)`` with possible values."""
        return self.population.flow.middle()[0].numpy()

    @cached_property
    def _weights(self) -> Array:
        return self.population.member_weights.numpy()


def with_each(x: Array, values: Sequence[float]) -> Array:
    """Return each context of ``x`` ``(n, d)`` with each of K values after it, ``(n K, d + 1)``."""
    return np.column_stack([x.repeat(len(values), axis=0), np.tile(values, len(x))])
