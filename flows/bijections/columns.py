"""The kinds of a table's columns as a bijection: what is bounded becomes real before anything is learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from flows.bijections.base import Bijection
from flows.core.columns import Column


class Columns(Bijection):
    """A fixed map per column, the same for all members, by the column's kind; and the logarithm of its slope, which ``log_det`` sums::

        forward:  real, integer          z = x                             0
                  positive               z = log x                         -log x
                  interval low to high   z = log (x - low) / (high - x)    log (high - low) - log (x - low) - log (high - x)

        inverse:  positive               x = e^z                           z
                  interval low to high   x = low + (high - low) s(z)       log (high - low) + log s(z) + log s(-z),   s(z) = 1 / (1 + e^-z)

    No parameters and no buffers: the columns stand in the checkpoint's description. Samples stay strictly between the bounds, where rounding
    would put them on one.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = list(columns)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._each(_to_real, x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._each(_from_real, z)

    def whole(self, x: Tensor) -> Tensor:
        """``x`` ``(M, D, N)`` with the columns of whole numbers rounded to multiples of their steps."""
        return torch.stack([_rounded(column, part) for column, part in zip(self.columns, x.unbind(1), strict=True)], dim=1)

    def _each(self, step: Callable[[Column, Tensor], tuple[Tensor, Tensor]], value: Tensor) -> tuple[Tensor, Tensor]:
        if all(column.kind in ("real", "integer") for column in self.columns):
            return value, value.new_zeros(len(value), 1)
        parts, slopes = zip(*(step(column, part) for column, part in zip(self.columns, value.unbind(1), strict=True)), strict=True)
        return torch.stack(parts, dim=1), torch.stack(slopes).sum(0)


def _to_real(column: Column, x: Tensor) -> tuple[Tensor, Tensor]:
    """Forward of one column, ``(M, N)``."""
    low, high = column.bounds
    if column.kind == "positive":
        return x.log(), -x.log()
    if column.kind == "interval":
        below, above = (x - low).log(), (high - x).log()
        return below - above, torch.tensor(high - low, dtype=x.dtype).log() - below - above
    return x, torch.zeros_like(x)


def _from_real(column: Column, z: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of one column, ``(M, N)``."""
    low, high = column.bounds
    if column.kind == "positive":
        return z.exp().clamp(torch.finfo(z.dtype).tiny, torch.finfo(z.dtype).max), z
    if column.kind == "interval":
        near = (high - low) * z.abs().neg().sigmoid()  # the way to the nearer bound: a small number keeps its digits
        ends = torch.tensor([low, high], dtype=z.dtype)
        x = torch.where(z < 0, low + near, high - near).clamp(*torch.nextafter(ends, ends.flip(0)))
        return x, torch.tensor(high - low, dtype=z.dtype).log() + logsigmoid(z) + logsigmoid(-z)
    return z, torch.zeros_like(z)


def _rounded(column: Column, x: Tensor) -> Tensor:
    if column.kind != "integer" or column.step is None:
        return x
    count, inverse = (x / column.step).round() + 0.0, round(1 / column.step)  # + 0.0: zero without a sign
    return count / inverse if inverse * column.step == 1 else count * column.step  # 3 tenths are 0.3, not 0.30000000000000004
