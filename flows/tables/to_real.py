"""A bijection that maps the columns of a table to the real line."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from flows.bijections.bijection import Bijection
from flows.tables.columns import HALF_LINE, LARGEST_WHOLE, WHOLE, Column

POWER = 5  # of the map from the largest value to BEND times this value
BEND = 2.0
BOUNDED = ("interval", "integer")  # the kinds that may have two bounds


class ToReal(Bijection):
    """A fixed map for each column, chosen by its kind and shared by all members of a population.

    ``log_det`` sums the logarithms of the slopes, which stand beside or below the maps::

        forward:  real, integer,         z = x                             0
                  category, date
                  positive, count        z = g(y),  y = x - low            log g'(y)
                    if y > top           z = g(top) + g'(top) top h(r),  r = y / top
                                         log g'(top) + log h'(r)
                  between low and high   z = log (x - low) / (high - x)
                                         log (high - low) - log (x - low) - log (high - x)

        inverse:  positive, count        x = low + g^-1(z)                 -log g'(x - low)
                    if z > g(top)        x = low + top r                   -log g'(top) - log h'(r)
                                         r = h^-1((z - g(top)) / (g'(top) top))
                  between low and high   x = low + (high - low) s(z)
                                         log (high - low) + log s(z) + log s(-z)
                                         s(z) = 1 / (1 + e^-z)

        positive  g(y) = log y                                 g^-1(z) = e^z
        count     g(y) = log (e^(2 sqrt(y / step)) - 1)        g^-1(z) = step (log(1 + e^z) / 2)^2
        h(r) = (r^5 - 1) / 5  for 1 < r <= 2,   h(2) + 16 (r - 2)  for r > 2

    ``low`` is 0 for a positive column and -step / 2 for a count. The g of a count is a logarithm
    near ``low`` and, further up, the square root that stabilises the variance of counts. ``top`` is
    the largest value of the fitted table less ``low``. Behind a logarithm, the tails of Student's t
    that columns have after the map would have no moments. Therefore the map rises faster beyond
    ``top`` and is straight at last; few samples exceed twice the largest value. Intervals and
    bounded integers have two bounds. If a count has no ``largest`` value, as in files of version
    0.2, its g is that of a positive column.

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
            low, high = column.bounds
            if column.kind in HALF_LINE:
                z[:, d], log_slope = _bent(column, x[:, d] - low)
                if d >= self.context:
                    log_det = log_det + log_slope
            elif column.kind in BOUNDED and high < math.inf:
                below, above = (x[:, d] - low).log(), (high - x[:, d]).log()
                z[:, d] = below - above
                if d >= self.context:
                    log_det = log_det + math.log(high - low) - below - above
        return z, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = z.clone(), z.new_zeros(len(z), z.shape[-1])
        for d, column in enumerate(self.columns):
            (low, high), part = column.bounds, z[:, d]
            ends = torch.tensor([low, high], dtype=z.dtype)
            inside = torch.nextafter(ends, ends.flip(0))
            if column.kind in HALF_LINE:
                above, log_slope = _unbent(column, part)
                x[:, d] = (low + above.clamp(torch.finfo(z.dtype).tiny)).clamp(*inside)
                if d >= self.context:
                    log_det = log_det + log_slope
            elif column.kind in BOUNDED and high < math.inf:
                # The distance to the nearer bound, so that a small one keeps its digits
                near = (high - low) * part.abs().neg().sigmoid()
                x[:, d] = torch.where(part < 0, low + near, high - near).clamp(*inside)
                if d >= self.context:
                    log_det = log_det + math.log(high - low) + logsigmoid(part) + logsigmoid(-part)
        return x, log_det

    def round_whole(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(M, D, N)`` with whole columns rounded to multiples of their steps.

        The whole columns are integers, counts and categories. Categories become codes.
        """
        x = x.clone()
        for d, column in enumerate(self.columns):
            if column.kind in WHOLE and column.step:
                # + 0.0 turns -0.0 into 0.0
                count, inverse = ((x[:, d] / column.step).round() + 0.0, round(1 / column.step))
                # 3 / 10 is 0.3; 3 * 0.1 is 0.30000000000000004
                x[:, d] = count / inverse if inverse * column.step == 1 else count * column.step
            if column.kind == "category":
                x[:, d] = x[:, d].clamp(0, len(column.labels) - 1)
            elif column.kind == "count":
                x[:, d] = x[:, d].clamp(max=LARGEST_WHOLE)
        return x


def _top(column: Column) -> float:
    """Return the distance from the lower bound to where the map of a column bends."""
    return math.inf if column.largest is None else column.largest - column.bounds[0]


def _rise(column: Column, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return g at distances ``y`` from the lower bound, and the logarithms of its slopes."""
    if column.kind == "count" and column.largest is not None:
        step = column.step or 1.0
        root = (y / step).sqrt()
        log_fraction = (-torch.expm1(-2 * root)).log()
        return 2 * root + log_fraction, -root.log() - log_fraction - math.log(step)
    return y.log(), -y.log()


def _fall(column: Column, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse of g at ``z``, and the logarithms of its slopes."""
    if column.kind == "count" and column.largest is not None:
        step = column.step or 1.0
        log_root = softplus(z).log() - math.log(2)
        return step * (2 * log_root).exp(), log_root + logsigmoid(z) + math.log(step)
    return z.exp(), z


def _bent(column: Column, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the map of distances ``y`` from the lower bound, and the logarithms of its slopes."""
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
