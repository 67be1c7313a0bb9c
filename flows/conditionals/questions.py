"""Questions to the density of a table: any columns given any others.

Rows are numbers ``(n, D)`` in the user's units, with codes for labels and ``NaN`` for what is
unknown; ``numbers`` ``(n,)`` are those of their random streams. ``Density`` asks the same of data
frames.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from flows.conditionals.labels import log_probability
from flows.conditionals.unknowns import ENOUGH, MOST, TOLERANCE, Posterior, Unknowns
from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.core.seeds import numpy_generator
from flows.networks.population import ensemble_log_prob
from flows.tables.columns import WHOLE
from flows.tables.preparation import as_drawn

QUANTILES = (0.05, 0.5, 0.95)
PER_SAMPLE = 8  # weighted draws for each one that is kept
GRID, REACH = 200, 3.5  # points of a curve, and normal scores to either side of 0 that they span
FILLINGS = 16  # of the gaps in the rest of a row, that a curve is averaged over


class Estimate(NamedTuple):
    """Log-densities by the members ``(n, M)``, and how well the ensemble's are known.

    ``error`` ``(n,)`` is their standard error in nats, 0 where nothing was drawn; ``effective``
    ``(n,)`` the effective number of draws, infinite there.
    """

    log_q: Array
    error: Array
    effective: Array


def evidence(unknowns: Unknowns, rows: Array, numbers: Whole) -> Estimate:
    """Return the log-density of what is known of each row."""
    found = _empty(unknowns, len(rows))
    for k, posterior in unknowns.posteriors(rows, numbers):
        found.log_q[k] = posterior.log_evidence
        found.error[k], found.effective[k] = posterior.error, posterior.effective
    nothing = np.isnan(rows).all(axis=1)  # is certain
    found.log_q[nothing], found.error[nothing] = 0.0, 0.0
    return found


def conditional(unknowns: Unknowns, rows: Array, given: Mask, numbers: Whole) -> Estimate:
    """Return the log-density of what is known of each row, given the columns ``given`` ``(D,)``.

    A complete row is one more of the draws, so that its own weight counts::

        log q(x_u | x_o) ~ log q(x) - log [ (w(x_u) + sum_i w_i) / (N + 1) ]

    It is the density of a value that is picked by weight among x_u and the N draws, so it is not
    optimistic in expectation, as the plain estimate is where few draws are effective.
    """
    joint = evidence(unknowns, rows, numbers)
    found = _empty(unknowns, len(rows))
    known = np.where(given, rows, np.nan)
    for k, posterior in unknowns.posteriors(known, numbers, own=rows):
        log_evidence = posterior.log_evidence
        if not np.isnan(posterior.log_own):
            count, log_own = len(posterior.values), joint.log_q[k] + posterior.log_own
            log_evidence = np.logaddexp(log_evidence + np.log(count), log_own) - np.log(count + 1)
        found.log_q[k] = joint.log_q[k] - log_evidence
        found.error[k] = np.hypot(posterior.error, joint.error[k])
        found.effective[k] = min(posterior.effective, joint.effective[k])
    return found


def _empty(unknowns: Unknowns, n: int) -> Estimate:
    return Estimate(np.empty((n, len(unknowns.member_weights))), np.empty(n), np.empty(n))


def versions(
    unknowns: Unknowns, rows: Array, numbers: Whole, count: int, seed: int
) -> tuple[Array, Array]:
    """Return ``count`` versions of the rows, with what is unknown drawn, ``(count, n, D)``.

    With them come the effective numbers of draws, ``(n,)``.
    """
    found, effective = np.repeat(rows[None], count, axis=0), np.full(len(rows), np.inf)
    places = np.flatnonzero(np.isnan(rows).any(axis=1))
    enough = max(ENOUGH, 2 * count)  # so that few are the same
    for place, posterior in unknowns.posteriors(rows[places], numbers[places], seed, enough):
        k = places[place]
        picked = posterior.pick(count, numpy_generator(seed, "unknown", int(numbers[k]), 1))
        found[:, k], effective[k] = as_drawn(unknowns.columns, picked), posterior.effective
    return np.where(np.isnan(rows), found, rows), effective


def samples(unknowns: Unknowns, row: Array, count: int, seed: int) -> Iterator[tuple[Array, float]]:
    """Yield ``count`` draws of what is unknown of one row ``(D,)``, as whole rows ``(n, D)``.

    With each piece comes its effective number of draws for one that is kept.
    """
    size = MOST // PER_SAMPLE
    for number, start in enumerate(range(0, count, size)):
        kept = min(size, count - start)
        [(_, posterior)] = unknowns.posteriors(row[None], np.array([number]), seed, np.inf)
        picked = posterior.pick(kept, numpy_generator(seed, "unknown", number, 1))
        drawn = np.where(np.isnan(row), as_drawn(unknowns.columns, picked), row)
        yield drawn, posterior.effective / kept


def fill(unknowns: Unknowns, rows: Array, numbers: Whole) -> tuple[Array, Array]:
    """Return the rows with conditional medians in place of what is unknown, and labels likeliest.

    With them come the effective numbers of draws, ``(n,)``.
    """
    filled, effective = rows.copy(), np.full(len(rows), np.inf)
    places = np.flatnonzero(np.isnan(rows).any(axis=1))
    for place, posterior in unknowns.posteriors(rows[places], numbers[places]):
        k = places[place]
        effective[k] = posterior.effective
        for d in np.flatnonzero(np.isnan(rows[k])).tolist():
            if labels := unknowns.columns[d].labels:
                filled[k, d] = _shares(unknowns, posterior, d, len(labels)).argmax()
            else:
                filled[k, d] = posterior.quantiles(d, np.array(0.5))
    return np.where(np.isnan(rows), as_drawn(unknowns.columns, filled), rows), effective


def predict(
    unknowns: Unknowns, rows: Array, d: int, levels: Sequence[float], numbers: Whole
) -> pd.DataFrame:
    """Return the distribution of column ``d`` given what is known of the others, a line a row.

    It is the mean, the standard deviation, and the quantiles at ``levels``, in the column's units;
    or the probability of each label. ``effective_draws`` are empty where nothing is drawn. The two
    moments are of values within one range of the column beyond either end of it: further out there
    are few, and in the unit of a positive column they may have no mean. Raises ``UserError`` for a
    level that is not between 0 and 1.
    """
    for level in levels:
        if not 0 < level < 1:
            raise UserError(f"quantile {level:g}: must be between 0 and 1")
    if len({f"{level:g}" for level in levels}) < len(levels):
        raise UserError(f"quantiles {', '.join(map(str, levels))}: two are the same to six digits")
    column, distilled = unknowns.columns[d], unknowns.distilled
    rows = rows.copy()
    rows[:, d] = np.nan
    low, high = 2 * distilled.low[d] - distilled.high[d], 2 * distilled.high[d] - distilled.low[d]
    lines = np.empty((len(rows), len(column.labels) or 2 + len(levels)))
    effective = np.empty(len(rows))
    for k, posterior in unknowns.posteriors(rows, numbers):
        effective[k] = posterior.effective
        if column.labels:
            lines[k] = _shares(unknowns, posterior, d, len(column.labels))
            continue
        x = posterior.values[:, d]
        inside = (low <= x) & (x <= high)
        # Further out they are 0 here: they weigh nothing, and their squares may overflow
        x, weights = np.where(inside, x, 0.0), np.where(inside, posterior.weights, 0.0)
        with np.errstate(invalid="ignore"):  # where none is inside, there are no moments
            weights /= weights.sum()
        mean = weights @ x
        quantiles = np.full((len(levels), rows.shape[1]), 0.5)
        quantiles[:, d] = posterior.quantiles(d, np.array(levels))
        lines[k, :2] = mean, np.sqrt(weights @ (x - mean) ** 2)
        lines[k, 2:] = as_drawn(unknowns.columns, quantiles)[:, d]
    names = list(column.labels) or ["mean", "sd", *(f"q{level:g}" for level in levels)]
    found = pd.DataFrame(lines, columns=names)
    return found.assign(effective_draws=np.where(np.isinf(effective), np.nan, effective))


def curve(unknowns: Unknowns, row: Array, d: int, number: int) -> tuple[Array, Array]:
    """Return values of column ``d``, ``(G,)``, and their density given the rest of a row ``(D,)``.

    They are the probabilities of labels. What is unknown of the rest is drawn, and the curves are
    averaged::

        q(x_d | x_o) = E [ q(x_d | x_o, x_u) ],      x_u ~ q(x_u | x_o)

    The density sums to 1 over the values, each of which stands for what is nearest to it.
    """
    rest = np.where(np.arange(len(row)) == d, np.nan, row)[None]
    if np.isnan(rest).sum() > 1:
        rest = versions(unknowns, rest, np.array([number]), FILLINGS, 0)[0][:, 0]
    x = _grid(unknowns, row, d)
    rows = rest.repeat(len(x), axis=0)
    rows[:, d] = np.tile(x, len(rest))
    log_q = log_probability(unknowns.log_density, unknowns.columns, rows, TOLERANCE)
    log_q = ensemble_log_prob(log_q, unknowns.member_weights).reshape(len(rest), -1)
    log_q += np.log(np.gradient(x))
    share = np.exp(log_q - logsumexp(log_q, axis=1, keepdims=True)).mean(axis=0)
    return x, share / np.gradient(x)


def _grid(unknowns: Unknowns, row: Array, d: int) -> Array:
    """Return values that span column ``d`` and the row's own value, evenly in normal scores."""
    column = unknowns.columns[d]
    if column.labels:
        return np.arange(len(column.labels), dtype=np.float64)
    own = 0.0 if np.isnan(row[d]) else unknowns.distilled.scores(d, row[d : d + 1])[0].item()
    low, high = min(-REACH, own - 1), max(REACH, own + 1)
    x = unknowns.distilled.values(d, np.linspace(low, high, GRID))[0]
    step = column.step if column.kind in WHOLE else None
    return np.unique(np.round(x / step) * step) if step else x


def surprise(unknowns: Unknowns, rows: Array, numbers: Whole) -> tuple[Array, Array]:
    """Return by how much the rest of a row speaks against each of its values, in nats::

        s_j = log m(x_j) - log q(x_j | rest),   m = (margin_j + uniform_j) / 2

    ``uniform_j`` is the flat density 1 / (3 ranges of the column), or of a label 1 / K; with it,
    a value far outside of the table is odd although it is unlikely by itself. The surprise is free
    of units, ``(n, D)``, ``NaN`` for what is unknown. With it come the effective numbers of draws,
    the least of a row, ``(n,)``.
    """
    distilled = unknowns.distilled
    joint = evidence(unknowns, rows, numbers)
    found, effective = np.full(rows.shape, np.nan), joint.effective
    log_joint = ensemble_log_prob(joint.log_q, unknowns.member_weights)
    for d, column in enumerate(unknowns.columns):
        known = np.flatnonzero(~np.isnan(rows[:, d]))
        rest = rows[known]
        rest[:, d] = np.nan
        of_rest = evidence(unknowns, rest, numbers[known])
        log_rest = ensemble_log_prob(of_rest.log_q, unknowns.member_weights)
        level = len(column.labels) or 3 * (distilled.high[d] - distilled.low[d])
        log_margin = np.logaddexp(distilled.log_margin(d, rows[known, d]), -np.log(level))
        found[known, d] = log_margin - np.log(2) - (log_joint[known] - log_rest)
        effective[known] = np.minimum(effective[known], of_rest.effective)
    return found, effective


def rough(effective: Array, what: str) -> list[str]:
    """Return a notice on the rows ``(n,)`` with few effective draws; none where all have enough."""
    few = effective[effective < ENOUGH]
    if not len(few):
        return []
    return [
        f"the {what} of {len(few)} of {len(effective)} rows are rough: fewer than {ENOUGH} of "
        f"{MOST:,} draws are effective (at worst {few.min():.0f})"
    ]


def _shares(unknowns: Unknowns, posterior: Posterior, d: int, labels: int) -> Array:
    """Return the probabilities of the labels of column ``d``."""
    codes = as_drawn(unknowns.columns, posterior.values)[:, d].astype(np.int64)
    return np.bincount(codes, posterior.weights, labels).astype(np.float64)
