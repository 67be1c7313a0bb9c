"""Maps of the values of one column to the real line, and back: what a kind of numbers chooses from.

A map has two methods. ``forward(x)`` returns z, and ``inverse(z)`` returns x. Each also returns the
terms of the logarithm of its slopes, numbers or tensors, which are summed in their order. The maps
have no parameters. ``inverse`` stays strictly between the bounds, even if floating-point rounding
would put a value on a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from flows.tables.columns.rounding import Peak

POWER = 5  # of the bend from the farthest value to BEND times its distance
BEND = 2.0
EDGE = 0.002  # share of a peak's cell that is left out of its part of the line, at each end
END = math.log((1 - EDGE) / EDGE)
ROOM = 1.5  # the length of the gap beside a peak on the line

Mapped = tuple[Tensor, list[Tensor | float]]


class Line(Protocol):
    """A map to the real line."""

    def forward(self, x: Tensor) -> Mapped:
        """Return z, and the terms of log dz/dx."""

    def inverse(self, z: Tensor) -> Mapped:
        """Return x, and the terms of log dx/dz."""


class Straight:
    """The identity, for columns without bounds."""

    def forward(self, x: Tensor) -> Mapped:
        return x, []

    def inverse(self, z: Tensor) -> Mapped:
        return z, []


@dataclass(frozen=True)
class Between:
    """The logit between two bounds::

    forward:  z = log (x - low) / (high - x)
              log dz/dx = log (high - low) - log (x - low) - log (high - x)
    inverse:  x = low + (high - low) s(z),   s(z) = 1 / (1 + e^-z)
              log dx/dz = log (high - low) + log s(z) + log s(-z)
    """

    low: float
    high: float

    def forward(self, x: Tensor) -> Mapped:
        below, above = (x - self.low).log(), (self.high - x).log()
        return below - above, [math.log(self.high - self.low), -below, -above]

    def inverse(self, z: Tensor) -> Mapped:
        # The distance to the nearer bound, so that a small one keeps its digits
        # Not z.abs(), whose gradient at 0 is 0
        near = (self.high - self.low) * torch.where(z < 0, z, -z).sigmoid()
        x = torch.where(z < 0, self.low + near, self.high - near)
        log_length = math.log(self.high - self.low)
        return _inside(x, self.low, self.high), [log_length, logsigmoid(z), logsigmoid(-z)]


@dataclass(frozen=True)
class StraightBetween:
    """A straight line that bends near two bounds, so that it has no ends::

        forward:  z = x + w log (1 - e^-a) - w log (1 - e^-b)
                  a = (x - low) / w,  b = (high - x) / w
        inverse:  x = low + w sp((z - low) / w) - w sp((z - high) / w),   sp(t) = log (1 + e^t)
                  log dx/dz = log s((z - low) / w) + log s((high - z) / w)
                              + log (1 - e^-((high - low) / w)),   s(t) = 1 / (1 + e^-t)

    Args:
        low: the lower bound.
        high: the upper bound.
        width: the distance from a bound within which the line bends, w.
    """

    low: float
    high: float
    width: float

    def forward(self, x: Tensor) -> Mapped:
        below, above = (x - self.low) / self.width, (self.high - x) / self.width
        bend = (-torch.expm1(-below)).log() - (-torch.expm1(-above)).log()
        z = x + self.width * bend
        return z, [-each for each in self._log_slopes(z)]

    def inverse(self, z: Tensor) -> Mapped:
        low, high = (z - self.low) / self.width, (z - self.high) / self.width
        # The distance to the nearer bound, so that a small one keeps its digits
        is_low = low + high < 0
        x = torch.where(
            is_low,
            self.low + self.width * (softplus(low) - softplus(high)),
            self.high - self.width * (softplus(-high) - softplus(-low)),
        )
        return _inside(x, self.low, self.high), [*self._log_slopes(z)]

    def _log_slopes(self, z: Tensor) -> list[Tensor | float]:
        """Return the terms of log dx/dz."""
        length = math.log(-math.expm1((self.low - self.high) / self.width))
        low, high = (z - self.low) / self.width, (self.high - z) / self.width
        return [logsigmoid(low), logsigmoid(high), length]


class Rise(Protocol):
    """A map g of the distance y from a bound. Both methods return log-slopes beside the values."""

    def up(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(y), and log g'(y)."""

    def down(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return y with g(y) = z, and log dy/dz."""


class Logarithm:
    """g(y) = log y."""

    def up(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y.log(), -y.log()

    def down(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z.exp(), z


@dataclass(frozen=True)
class SquareRoot:
    """A logarithm near the bound and, further away, the root that stabilises a count's variance::

        g(y) = log (e^(2 sqrt(y / c)) - 1),     g^-1(z) = c (log(1 + e^z) / 2)^2

    c is the width of a cell, or the value below which a positive number has the logarithm.
    """

    cell: float

    def up(self, y: Tensor) -> tuple[Tensor, Tensor]:
        root = (y / self.cell).sqrt()
        log_fraction = (-torch.expm1(-2 * root)).log()
        return 2 * root + log_fraction, -root.log() - log_fraction - math.log(self.cell)

    def down(self, z: Tensor) -> tuple[Tensor, Tensor]:
        # Below -30, softplus is e^z, whose logarithm is z also where e^z is 0
        log_root = torch.where(z < -30, z, softplus(z).log()) - math.log(2)
        log_slope = log_root + logsigmoid(z) + math.log(self.cell)
        return self.cell * (2 * log_root).exp(), log_slope


@dataclass(frozen=True)
class SoftRise:
    """A logarithm near the bound and, further away, a straight line::

        g(y) = w log (e^(y / w) - 1),   g^-1(z) = w log (1 + e^(z / w))

    w is the distance from the bound within which the line bends.
    """

    width: float

    def up(self, y: Tensor) -> tuple[Tensor, Tensor]:
        log_fraction = (-torch.expm1(-y / self.width)).log()
        return y + self.width * log_fraction, -log_fraction

    def down(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.width * softplus(z / self.width), logsigmoid(z / self.width)


@dataclass(frozen=True)
class FromPeak:
    """A map whose bound is the end of the cell of a peak (``Around`` explains t, e and E)::

    g(y) = logit((1 - e) y / c)               if y <= c
           E + 2 (sqrt(1 + t(y - c)) - 1)     otherwise
    """

    peak: Peak
    cell: float

    def up(self, y: Tensor) -> tuple[Tensor, Tensor]:
        inside = y.clamp(max=self.cell)
        z, log_slope = _logit(inside / self.cell, 0.0, 1 - EDGE)
        t, log_rise = _beside(self.peak, y - inside)
        root = (1 + t).sqrt()
        own = log_slope - math.log(self.cell)
        return z + 2 * (root - 1), torch.where(y == inside, own, log_rise - root.log())

    def down(self, z: Tensor) -> tuple[Tensor, Tensor]:
        inside = z.clamp(max=END)
        share, log_slope = _from_logit(inside, 0.0, 1 - EDGE)
        root = 1 + (z - inside) / 2
        distance, log_rise = _from_beside(self.peak, root**2 - 1)
        own = log_slope + math.log(self.cell)
        y = self.cell * share + distance
        return y, torch.where(z == inside, own, log_rise + root.log())


@dataclass(frozen=True)
class HalfLine:
    """The map of a column with one bound, at the distance y from the bound::

        z = s g(y)                                 if y <= top
            s (g(top) + g'(top) top h(y / top))    otherwise
        h(r) = (r^5 - 1) / 5  for 1 < r <= 2,      h(2) + 16 (r - 2)  for r > 2

    s is 1 for a lower bound, y = x - bound, and -1 for an upper bound, y = bound - x. ``top`` is
    the distance of the farthest value of the fitted table. Behind g, the tails of Student's t that
    columns have on the line would have no moments. Therefore the map rises faster beyond ``top``
    and is straight at last; few samples are twice as far as the farthest value. Without a
    ``top`` (infinity), the map is g everywhere.
    """

    rise: Rise
    bound: float
    is_upper: bool = False
    top: float = math.inf

    def forward(self, x: Tensor) -> Mapped:
        if self.is_upper:
            z, log_slope = self._bent(self.bound - x)
            return -z, [log_slope]
        z, log_slope = self._bent(x - self.bound)
        return z, [log_slope]

    def inverse(self, z: Tensor) -> Mapped:
        y, log_slope = self._unbent(-z if self.is_upper else z)
        y = y.clamp(torch.finfo(z.dtype).tiny)
        if self.is_upper:
            return _inside(self.bound - y, -math.inf, self.bound), [log_slope]
        return _inside(self.bound + y, self.bound, math.inf), [log_slope]

    def _bent(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return |z| at distances ``y``, and the logarithms of its slopes."""
        if self.top == math.inf:
            return self.rise.up(y)
        z, log_slope = self.rise.up(y.clamp(max=self.top))
        ratio = (y / self.top).clamp(1.0)
        bend = ratio.clamp(max=BEND)
        beyond = (bend**POWER - 1) / POWER + BEND ** (POWER - 1) * (ratio - bend)
        log_bend = (POWER - 1) * bend.log()
        # Only beyond the top: the slope beside a bound may be infinite
        slope = torch.where(ratio > 1, log_slope, 0.0).exp()
        return z + slope * self.top * beyond, log_slope + log_bend

    def _unbent(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inverse of ``_bent`` at ``z``, and the logarithms of its slopes."""
        if self.top == math.inf:
            return self.rise.down(z)
        end, log_end_slope = (each.item() for each in self.rise.up(z.new_tensor(self.top)))
        # The gradient of a clamp at its limit differs between versions of PyTorch, and the
        # farthest value of a table is at this limit
        is_beyond = z > end
        beyond = torch.where(is_beyond, z - end, 0.0) / (math.exp(log_end_slope) * self.top)
        y, log_slope = self.rise.down(torch.where(is_beyond, end, z))
        bent = beyond.clamp(max=(BEND**POWER - 1) / POWER)
        log_bend = torch.log1p(POWER * bent) / POWER
        ratio = log_bend.exp() + (beyond - bent) / BEND ** (POWER - 1)
        return y * ratio, log_slope - (POWER - 1) * log_bend


@dataclass(frozen=True)
class BetweenFromPeak:
    """The map of a column with two bounds, of which many rows hold the end at one of them.

    The map first bends near the other bound (``SoftRise``), and then maps the half line from the
    bound of the peak (``FromPeak``).

    Args:
        low: the lower bound.
        high: the upper bound.
        peak: the peak, whose cell ends at a bound.
        cell: the width of a cell.
        width: the distance from the other bound within which the line bends.
    """

    low: float
    high: float
    peak: Peak
    cell: float
    width: float

    def forward(self, x: Tensor) -> Mapped:
        y, terms = self._first.forward(x)
        z, more = self._then.forward(y)
        return z, [*terms, *more]

    def inverse(self, z: Tensor) -> Mapped:
        y, terms = self._then.inverse(z)
        x, more = self._first.inverse(y)
        return _inside(x, self.low, self.high), [*terms, *more]

    @property
    def _is_upper(self) -> bool:
        """Whether the peak is at the upper bound."""
        return self.peak.value > (self.low + self.high) / 2

    @property
    def _first(self) -> HalfLine:
        far = self.low if self._is_upper else self.high
        return HalfLine(SoftRise(self.width), far, is_upper=not self._is_upper)

    @cached_property
    def _then(self) -> HalfLine:
        half = self.cell / 2
        ends = torch.tensor([self.peak.value - half, self.peak.value + half], dtype=torch.float64)
        start, end = self._first.forward(ends)[0].tolist()
        ratio = (end - start) / self.cell
        peak = Peak(self.peak.value, self.peak.gap * ratio, self.peak.spread * ratio)
        bound = end if self._is_upper else start
        return HalfLine(FromPeak(peak, end - start), bound, is_upper=self._is_upper)


@dataclass(frozen=True)
class Around:
    """The map of a column that has a peak at v away from its ends, of cells of width c::

        y = line(x),   the image of the cell has the middle m and the width w
        z = logit(1/2 + (1 - 2 e) (y - m) / w)    if |y - m| <= w / 2
            +-(E + t(|y - m| - w / 2))            otherwise
        t(r) = 1.5 r / gap                        if r <= gap
               1.5 + (r - gap) / spread           otherwise
        e = 0.002,   E = logit(1 - e),   logit(p) = log p - log (1 - p)

    ``gap`` is the distance from the cell to the nearest other values, and ``spread`` half the range
    of most of them, both times w / c. The cell of the peak gets a part of the line of its own, and
    hardly any row lies near the ends of this part. A smooth density then needs no jump at the ends
    of the cell, and samples have the value as often as rows.

    Args:
        line: the map of the column without the peak.
        peak: the peak.
        cell: the width of a cell.
    """

    line: Line
    peak: Peak
    cell: float

    def forward(self, x: Tensor) -> Mapped:
        (y, terms), peak, width = self.line.forward(x), self._image, self._width
        away = y - peak.value
        inside = away.clamp(-width / 2, width / 2)
        z, log_slope = _logit(inside / width, 0.5, 1 - 2 * EDGE)
        t, log_rise = _beside(peak, away - inside)
        own = torch.where(away == inside, log_slope - math.log(width), log_rise)
        return z + t, [*terms, own]

    def inverse(self, z: Tensor) -> Mapped:
        peak, width = self._image, self._width
        inside = z.clamp(-END, END)
        share, log_slope = _from_logit(inside, 0.5, 1 - 2 * EDGE)
        distance, log_rise = _from_beside(peak, z - inside)
        own = torch.where(z == inside, log_slope + math.log(width), log_rise)
        x, terms = self.line.inverse(peak.value + width * share + distance)
        return x, [own, *terms]

    @property
    def breaks(self) -> tuple[float, ...]:
        """The ends of the cell and of the gaps beside it, sorted."""
        peak, half = self._image, self._width / 2
        away = torch.tensor([-half - peak.gap, -half, half, half + peak.gap], dtype=torch.float64)
        return tuple(self.line.inverse(peak.value + away)[0].tolist())

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """The image of the cell."""
        half = self.cell / 2
        ends = torch.tensor([self.peak.value - half, self.peak.value + half], dtype=torch.float64)
        low, high = self.line.forward(ends)[0].tolist()
        return low, high

    @property
    def _width(self) -> float:
        return self._ends[1] - self._ends[0]

    @cached_property
    def _image(self) -> Peak:
        """The image of the peak."""
        ratio = self._width / self.cell
        return Peak(sum(self._ends) / 2, self.peak.gap * ratio, self.peak.spread * ratio)


def _inside(x: Tensor, low: float, high: float) -> Tensor:
    """Return ``x``, moved strictly between the bounds."""
    ends = torch.tensor([low, high], dtype=x.dtype)
    return x.clamp(*torch.nextafter(ends, ends.flip(0)))


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
