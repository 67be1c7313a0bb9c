"""A bijection that maps the columns of a table to the real line."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from flows.bijections.bijection import Bijection
from flows.tables.columns import WHOLE, Column

HALF_LINE = ("positive", "count")  # the kinds with a low bound alone
LARGEST = 2.0**53  # larger whole numbers are not all floating-point numbers


class ToReal(Bijection):
    """A fixed map for each column, chosen by its kind and shared by all members of a population.

    ``log_det`` sums the logarithms of the slopes, which stand beside or below the maps::

        forward:  real, integer,         z = x                             0
                  category
                  positive, count        z = log (x - low)                 -log (x - low)
                  interval low to high   z = log (x - low) / (high - x)
                                         log (high - low) - log (x - low) - log (high - x)

        inverse:  positive, count        x = low + e^z                     z
                  interval low to high   x = low + (high - low) s(z)
                                         log (high - low) + log s(z) + log s(-z)
                                         s(z) = 1 / (1 + e^-z)

    ``low`` is 0 for a positive column and -1/2 for a count. The map has no parameters and no
    buffers, because the description in the checkpoint holds the columns. Samples stay strictly
    between the bounds, even if floating-point rounding would put them on a bound.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = list(columns)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = x.clone(), x.new_zeros(len(x), x.shape[-1])
        for d, column in enumerate(self.columns):
            low, high = column.bounds
            if column.kind in HALF_LINE:
                z[:, d] = (x[:, d] - low).log()
                log_det = log_det - z[:, d]
            elif column.kind == "interval":
                below, above = (x[:, d] - low).log(), (high - x[:, d]).log()
                z[:, d] = below - above
                log_det = log_det + math.log(high - low) - below - above
        return z, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = z.clone(), z.new_zeros(len(z), z.shape[-1])
        for d, column in enumerate(self.columns):
            (low, high), part = column.bounds, z[:, d]
            ends = torch.tensor([low, high], dtype=z.dtype)
            inside = torch.nextafter(ends, ends.flip(0))
            if column.kind in HALF_LINE:
                x[:, d] = (low + part.exp().clamp(torch.finfo(z.dtype).tiny)).clamp(*inside)
                log_det = log_det + part
            elif column.kind == "interval":
                # The distance to the nearer bound, so that a small one keeps its digits
                near = (high - low) * part.abs().neg().sigmoid()
                x[:, d] = torch.where(part < 0, low + near, high - near).clamp(*inside)
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
                x[:, d] = x[:, d].clamp(max=LARGEST)
        return x
