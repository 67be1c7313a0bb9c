"""A bijection that maps the columns of a table to the real line."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from flows.bijections.bijection import Bijection
from flows.tables.columns import LARGEST_WHOLE, WHOLE, Column, Peak

POWER = 5  # of the map from the farthest value to BEND times its distance
BEND = 2.0
EDGE = 0.002  # share of a peak's cell that is left out of its part of the line, at each end
END = math.log((1 - EDGE) / EDGE)
ROOM = 1.5  # the length of the gap beside a peak on the line


class ToReal(Bijection):
    """A fixed map for each column, chosen by its kind and shared by all members of a population.

    ``log_det`` sums the logarithms of the slopes, which stand beside or below the maps::

        forward:  no bound or a label    z = x                             0
                  a lower bound          z = g(y),  y = x - low            log g'(y)
                  an upper bound         z = -g(y),  y = high - x          log g'(y)
                    if y > top           |z| = g(top) + g'(top) top h(r),  r = y / top
                                         log g'(top) + log h'(r)
                  two bounds             z = log (x - low) / (high - x)
                                         log (high - low) - log (x - low) - log (high - x)

        inverse:  a bound                y = g^-1(|z|)                     -log g'(y)
                    if |z| > g(top)      y = top r                         -log g'(top) - log h'(r)
                                         r = h^-1((|z| - g(top)) / (g'(top) top))
                  two bounds             x = low + (high - low) s(z)
                                         log (high - low) + log s(z) + log s(-z)
                                         s(z) = 1 / (1 + e^-z)

        positive        g(y) = log y                              g^-1(z) = e^z
        whole numbers   g(y) = log (e^(2 sqrt(y / c)) - 1)        g^-1(z) = c (log(1 + e^z) / 2)^2
        h(r) = (r^5 - 1) / 5  for 1 < r <= 2,   h(2) + 16 (r - 2)  for r > 2

    ``low`` and ``high`` are the bounds: for whole numbers, the ends of the cells of the smallest
    and the largest value. c is the width of a cell. The g of whole numbers is a logarithm near the
    bound and, further away, the square root that stabilises the variance of counts. ``top`` is the
    distance of the farthest value of the fitted table from the bound. Behind a logarithm, the tails
    of Student's t that columns have after the map would have no moments. Therefore the map rises
    faster beyond ``top`` and is straight at last; few samples are twice as far as the farthest
    value. If a count has no ``farthest`` value, as in files of version 0.2, its g is that of a
    positive column.

    Many rows may hold one value v that is far from all others, such as 0 among amounts of money. If
    v lies at the only bound, or if there is no bound, the cell of this peak gets a part of the line
    of its own, and hardly any row lies near the ends of this part::

        v at a bound    g(y) = logit((1 - e) y / c)                           if y <= c
                        g(y) = E + (sqrt(1 + t(y - c)) - 1) 2                 otherwise
        no bound        z = logit(1/2 + (1 - 2 e) (x - v) / c)                if |x - v| <= c / 2
                        z = +-(E + t(|x - v| - c / 2))                        otherwise
        t(r)            t = 1.5 r / gap                                       if r <= gap
                        t = 1.5 + (r - gap) / spread                          otherwise
        e = 0.002,      E = logit(1 - e),     logit(p) = log p - log (1 - p)

    ``gap`` is the distance from the cell to the nearest other values, and ``spread`` half the range
    of most of them. A smooth density then needs no jump at the ends of the cell, and samples have
    the value as often as rows.

    The map has no parameters and no buffers, because the description in the checkpoint holds the
    columns. Samples stay strictly between the bounds, even if floating-point rounding would put
    them on a bound. The slopes of the first ``context`` columns do not count in ``log_det``.
    """

    def __init__(self, columns: Sequence[Column], context: int = 0) -> None:
        super().__init__()
        self.columns, self.context = list(columns), context

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = x.clone(), x.new_zeros(len(x), x.shape[-1])
        for d, column in enumerate(self.columns):
            z[:, d], log_slopes = _to_line(column, x[:, d])
            for each in log_slopes if d >= self.context else ():
                log_det = log_det + each
        return z, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = z.clone(), z.new_zeros(len(z), z.shape[-1])
        for d, column in enumerate(self.columns):
            x[:, d], log_slopes = _from_line(column, z[:, d])
            for each in log_slopes if d >= self.context else ():
                log_det = log_det + each
        return x, log_det

    def round_whole(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(M, D, N)`` with whole columns rounded to the centres of their cells.

        The whole columns are integers, counts and categories. Categories become codes.
        """
        x = x.clone()
        for d, column in enumerate(self.columns):
            if column.kind in WHOLE and (cell := column.cell):
                # + 0.0 turns -0.0 into 0.0
                count, inverse = ((x[:, d] / cell).round() + 0.0, round(1 / cell))
                # 3 / 10 is 0.3; 3 * 0.1 is 0.30000000000000004
                x[:, d] = count / inverse if inverse * cell == 1 else count * cell
            if column.kind == "category":
                x[:, d] = x[:, d].clamp(0, len(column.labels) - 1)
            elif column.kind == "count" or (column.kind in WHOLE and column.has_end):
                low, high = column.ends
                x[:, d] = x[:, d].clamp(max(low, -LARGEST_WHOLE), min(high, LARGEST_WHOLE))
        return x


def _to_line(column: Column, x: Tensor) -> tuple[Tensor, list[Tensor | float]]:
    """Return the map of values ``x`` of a column, and the terms of the logarithm of its slopes."""
    low, high = column.bounds
    if column.labels or (math.isinf(low) and math.isinf(high)):
        return (x, []) if column.peak is None else _around(column.peak, column.cell, x)
    if math.isfinite(low) and math.isfinite(high):
        below, above = (x - low).log(), (high - x).log()
        return below - above, [math.log(high - low), -below, -above]
    z, log_slope = _bent(column, x - low if math.isfinite(low) else high - x)
    return z if math.isfinite(low) else -z, [log_slope]


def _from_line(column: Column, z: Tensor) -> tuple[Tensor, list[Tensor | float]]:
    """Return the inverse of ``_to_line`` at ``z``, and the terms of the logarithm of its slopes."""
    low, high = column.bounds
    if column.labels or (math.isinf(low) and math.isinf(high)):
        return (z, []) if column.peak is None else _from_around(column.peak, column.cell, z)
    terms: list[Tensor | float]
    if math.isfinite(low) and math.isfinite(high):
        # The distance to the nearer bound, so that a small one keeps its digits
        near = (high - low) * z.abs().neg().sigmoid()
        x = torch.where(z < 0, low + near, high - near)
        terms = [math.log(high - low), logsigmoid(z), logsigmoid(-z)]
    else:
        distance, log_slope = _unbent(column, z if math.isfinite(low) else -z)
        distance = distance.clamp(torch.finfo(z.dtype).tiny)
        x = low + distance if math.isfinite(low) else high - distance
        terms = [log_slope]
    ends = torch.tensor([low, high], dtype=z.dtype)
    return x.clamp(*torch.nextafter(ends, ends.flip(0))), terms


def _around(peak: Peak, cell: float, x: Tensor) -> tuple[Tensor, list[Tensor | float]]:
    """Return the map of a column with a peak and without a bound, and its log-slopes."""
    away = x - peak.value
    inside = away.clamp(-cell / 2, cell / 2)
    z, log_slope = _logit(inside / cell, 0.5, 1 - 2 * EDGE)
    t, log_rise = _beside(peak, away - inside)
    return z + t, [torch.where(away == inside, log_slope - math.log(cell), log_rise)]


def _from_around(peak: Peak, cell: float, z: Tensor) -> tuple[Tensor, list[Tensor | float]]:
    """Return the inverse of ``_around`` at ``z``, and its log-slopes."""
    inside = z.clamp(-END, END)
    share, log_slope = _from_logit(inside, 0.5, 1 - 2 * EDGE)
    distance, log_rise = _from_beside(peak, z - inside)
    log_slope = torch.where(z == inside, log_slope + math.log(cell), log_rise)
    return peak.value + cell * share + distance, [log_slope]


def _logit(share: Tensor, start: float, length: float) -> tuple[Tensor, Tensor]:
    """Return logit(start + length share), and the logarithms of its slopes."""
    p = start + length * share
    return p.log() - (1 - p).log(), math.log(length) - p.log() - (1 - p).log()


def _from_logit(z: Tensor, start: float, length: float) -> tuple[Tensor, Tensor]:
    """Return the inverse of ``_logit`` at ``z``, and the logarithms of its slopes."""
    return (z.sigmoid() - start) / length, logsigmoid(z) + logsigmoid(-z) - math.log(length)


def _beside(peak: Peak, distance: Tensor) -> tuple[Tensor, Tensor]:
    """Return +-t at signed distances from the cell of a peak, and its log-slopes."""
    in_gap = distance.clamp(-peak.gap, peak.gap)
    steep, flat = distance.new_tensor([ROOM / peak.gap, 1 / peak.spread]).log()
    t = ROOM / peak.gap * in_gap + (distance - in_gap) / peak.spread
    return t, torch.where(distance == in_gap, steep, flat)


def _from_beside(peak: Peak, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse of ``_beside`` at ``t``, and its log-slopes."""
    in_gap = t.clamp(-ROOM, ROOM)
    flat, steep = t.new_tensor([peak.gap / ROOM, peak.spread]).log()
    distance = peak.gap / ROOM * in_gap + peak.spread * (t - in_gap)
    return distance, torch.where(t == in_gap, flat, steep)


def _top(column: Column) -> float:
    """Return the distance from the only bound to where the map of a column bends."""
    low, high = column.bounds
    if column.farthest is None:
        return math.inf
    return column.farthest - low if math.isfinite(low) else high - column.farthest


def _rise(column: Column, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return g at distances ``y`` from the bound, and the logarithms of its slopes."""
    if column.kind not in WHOLE or column.farthest is None:
        return y.log(), -y.log()
    cell = column.cell or 1.0
    if column.peak is None:
        root = (y / cell).sqrt()
        log_fraction = (-torch.expm1(-2 * root)).log()
        return 2 * root + log_fraction, -root.log() - log_fraction - math.log(cell)
    inside = y.clamp(max=cell)
    z, log_slope = _logit(inside / cell, 0.0, 1 - EDGE)
    t, log_rise = _beside(column.peak, y - inside)
    root = (1 + t).sqrt()
    log_slope = torch.where(y == inside, log_slope - math.log(cell), log_rise - root.log())
    return z + 2 * (root - 1), log_slope


def _fall(column: Column, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse of g at ``z``, and the logarithms of its slopes."""
    if column.kind not in WHOLE or column.farthest is None:
        return z.exp(), z
    cell = column.cell or 1.0
    if column.peak is None:
        log_root = softplus(z).log() - math.log(2)
        return cell * (2 * log_root).exp(), log_root + logsigmoid(z) + math.log(cell)
    inside = z.clamp(max=END)
    share, log_slope = _from_logit(inside, 0.0, 1 - EDGE)
    root = 1 + (z - inside) / 2
    distance, log_rise = _from_beside(column.peak, root**2 - 1)
    log_slope = torch.where(z == inside, log_slope + math.log(cell), log_rise + root.log())
    return cell * share + distance, log_slope


def _bent(column: Column, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the map of distances ``y`` from the bound, and the logarithms of its slopes."""
    if (top := _top(column)) == math.inf:
        return _rise(column, y)
    z, log_slope = _rise(column, y.clamp(max=top))
    ratio = (y / top).clamp(1.0)
    bend = ratio.clamp(max=BEND)
    beyond = (bend**POWER - 1) / POWER + BEND ** (POWER - 1) * (ratio - bend)
    return z + log_slope.exp() * top * beyond, log_slope + (POWER - 1) * bend.log()


def _unbent(column: Column, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse of ``_bent`` at ``z``, and the logarithms of its slopes."""
    if (top := _top(column)) == math.inf:
        return _fall(column, z)
    end, log_end_slope = (each.item() for each in _rise(column, z.new_tensor(top)))
    beyond = (z - end).clamp(0.0) / (math.exp(log_end_slope) * top)
    y, log_slope = _fall(column, z.clamp(max=end))
    bent = beyond.clamp(max=(BEND**POWER - 1) / POWER)
    log_bend = torch.log1p(POWER * bent) / POWER
    ratio = log_bend.exp() + (beyond - bent) / BEND ** (POWER - 1)
    return y * ratio, log_slope - (POWER - 1) * log_bend
