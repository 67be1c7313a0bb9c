"""The encoding of given columns: the features that networks get in place of the codes of labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flows.bijections.bijection import Bijection
from flows.networks.to_real import ToReal

CODES = (
    "holds labels as release 0.4 learned them: networks were given their codes, and now have "
    "indicators; fit the table again: flows fit TABLE -o FILE"
)

NONE = 1e-9  # the first label has no training row if the other shares sum to 1 within this number


class Encoding(Bijection):
    """Indicators in place of the codes of labels; numbers stay.

    A column of L labels becomes L - 1 features. For the code c of a label and l = 1, ..., L - 1::

        labels           i_l = 1 if c = l,  else 0
        ordered labels   i_l = 1 if c >= l, else 0
        feature          (i_l - p_l) / sqrt(p_l (1 - p_l))

    p_l is the share of training rows with i_l = 1, so each feature has the mean 0 and the deviation
    1 in the training rows. A feature of an indicator without variation is 0. All features of a
    label without a training row are 0, their mean.

    Rows ``(M, D, N)`` hold C columns of codes first, and rows ``(M, W, N)`` of features hold the
    indicators of all columns first. The volume of the numbers does not change, so the
    log-determinant is 0. The inverse returns the label with the largest indicator; that of the
    first label is 1 minus the sum of the others.

    Args:
        sizes: the number of labels of each of the C columns.
        ordered: whether the order of the labels of each column has a meaning.
        members: the number of members M.
    """

    shares: Tensor

    def __init__(self, sizes: Sequence[int], ordered: Sequence[bool], members: int) -> None:
        super().__init__()
        self.sizes, self.ordered = tuple(sizes), tuple(ordered)
        shares = torch.full((members, sum(sizes) - len(sizes), 1), 0.5, dtype=torch.float64)
        self.register_buffer("shares", shares)

    @classmethod
    def of(cls, to_real: ToReal, given: int, members: int) -> Encoding:
        """Return the encoding of the first ``given`` columns of a map, which is not fitted.

        Raises ``ValueError`` if a column of labels follows a column of numbers.
        """
        sizes = list(to_real.label_counts[:given])
        count = sum(size > 0 for size in sizes)
        if not all(sizes[:count]):
            labels = ", ".join(to_real.names[d] for d in range(given) if sizes[d])
            raise ValueError(f"the context must hold its columns of labels first: {labels}")
        # A map may know the numbers of labels and no order
        ordered = to_real.ordered[:count] or [False] * count
        return cls(sizes[:count], ordered, members)

    @property
    def columns(self) -> int:
        """The number of columns of labels C."""
        return len(self.sizes)

    @property
    def indicators(self) -> int:
        """The number of features of labels."""
        return self.shares.shape[1]

    @property
    def added(self) -> int:
        """How many features a row has more than columns, W - D."""
        return self.indicators - self.columns

    @property
    def groups(self) -> list[int]:
        """The column of each indicator."""
        return [d for d, size in enumerate(self.sizes) for _ in range(size - 1)]

    @torch.no_grad()
    def fit(self, codes: Tensor) -> None:
        """Set the shares from the codes ``(M or 1, C, N)`` of training rows."""
        self.shares.copy_(self._raw(codes).nanmean(-1, keepdim=True))

    def _raw(self, codes: Tensor) -> Tensor:
        """Return the indicators i of codes ``(M, C, N)``, ``(M, I, N)``; ``NaN`` for gaps."""
        found = [codes.new_empty(len(codes), 0, codes.shape[-1])]
        for column, size, ordered in zip(codes.unbind(1), self.sizes, self.ordered, strict=True):
            code, labels = column.round()[:, None], torch.arange(1, size)[:, None]
            indicators = (code >= labels if ordered else code == labels).to(codes.dtype)
            found.append(torch.where(code.isnan(), torch.nan, indicators))
        return torch.cat(found, dim=1)

    def _is_seen(self, codes: Tensor) -> Tensor:
        """Return whether each code ``(M, C, N)`` has a training row, ``(M, I, N)``.

        An ordered label always counts as seen: each of its indicators tells.
        """
        found = []
        shares = self.shares[..., 0].split([size - 1 for size in self.sizes], dim=1)
        for column, own, ordered in zip(codes.unbind(1), shares, self.ordered, strict=True):
            is_seen = torch.cat([own.sum(1, keepdim=True) < 1 - NONE, own > 0], dim=1) | ordered
            code = column.nan_to_num().round().long().clamp(0, own.shape[1])
            each = is_seen.expand(len(code), -1).gather(1, code)
            found.append(each[:, None].expand(-1, own.shape[1], -1))
        return torch.cat(found, dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        codes, numbers = x.split([self.columns, x.shape[1] - self.columns], dim=1)
        variance = self.shares * (1 - self.shares)
        scale = torch.where(variance > 0, variance, torch.inf).sqrt()
        features = (self._raw(codes) - self.shares) / scale * self._is_seen(codes)
        return torch.cat([features, numbers], dim=1), x.new_zeros(len(x), 1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        features, numbers = z.split([self.indicators, z.shape[1] - self.indicators], dim=1)
        raw = features * (self.shares * (1 - self.shares)).sqrt() + self.shares
        codes = []
        parts = raw.split([size - 1 for size in self.sizes], dim=1)
        for own, ordered in zip(parts, self.ordered, strict=True):
            first = 1 - own.sum(1, keepdim=True)
            nearest = torch.cat([first, own], dim=1).argmax(1)
            codes.append(((own > 0.5).sum(1) if ordered else nearest).to(z.dtype))
        return torch.cat([torch.stack(codes, dim=1), numbers], dim=1), z.new_zeros(len(z), 1)
