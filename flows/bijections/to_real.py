"""The kinds of a table's columns as a bijection, which maps bounded columns to the real line."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from flows.bijections.bijection import Bijection
from flows.core.columns import Column


class ToReal(Bijection):
    """A fixed map per column, the same for all members, by the column's kind.

    ``log_det`` sums the logarithms of the slopes, which stand beside or below the maps::

        forward:  real, integer          z = x                             0
                  positive               z = log x                         -log x
                  interval low to high   z = log (x - low) / (high - x)
                                         log (high - low) - log (x - low) - log (high - x)

        inverse:  positive               x = e^z                           z
                  interval low to high   x = low + (high - low) s(z)
                                         log (high - low) + log s(z) + log s(-z)
                                         s(z) = 1 / (1 + e^-z)

    It has no parameters and no buffers, as the columns are in the checkpoint's description. Samples
    stay strictly between the bounds, where rounding would put them on one.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = list(columns)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = x.clone(), x.new_zeros(len(x), x.shape[-1])
        for d, column in enumerate(self.columns):
            low, high = column.bounds
            if column.kind == "positive":
                z[:, d] = x[:, d].log()
                log_det = log_det - x[:, d].log()
            elif column.kind == "interval":
                below, above = (x[:, d] - low).log(), (high - x[:, d]).log()
                z[:, d] = below - above
                log_det = log_det + math.log(high - low) - below - above
        return z, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = z.clone(), z.new_zeros(len(z), z.shape[-1])
        for d, column in enumerate(self.columns):
            (low, high), part = column.bounds, z[:, d]
            if column.kind == "positive":
                x[:, d] = part.exp().clamp(torch.finfo(z.dtype).tiny, torch.finfo(z.dtype).max)
                log_det = log_det + part
            elif column.kind == "interval":
                # The distance to the nearer bound, so that a small one keeps its digits
                near = (high - low) * part.abs().neg().sigmoid()
                ends = torch.tensor([low, high], dtype=z.dtype)
                x[:, d] = torch.where(part < 0, low + near, high - near).clamp(
                    *torch.nextafter(ends, ends.flip(0))
                )
                log_det = log_det + math.log(high - low) + logsigmoid(part) + logsigmoid(-part)
        return x, log_det

    def rounded(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(M, D, N)`` with integer columns rounded to multiples of their steps."""
        x = x.clone()
        for d, column in enumerate(self.columns):
            if column.kind == "integer" and column.step:
                # + 0.0 takes the sign of a zero away
                count, inverse = ((x[:, d] / column.step).round() + 0.0, round(1 / column.step))
                # 3 tenths are 0.3, not 0.30000000000000004
                x[:, d] = count / inverse if inverse * column.step == 1 else count * column.step
        return x
