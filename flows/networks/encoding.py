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
    log-determinant is 0. The inverse returns the label whose indicators are the nearest ones.

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
            names = [to_real.names[d] for d in range(given) if sizes[d]]
            raise ValueError(
                f"the context must hold its columns of labels first ({', '.join(names)})"
            )
        return cls(sizes[:count], to_real.ordered[:count], members)

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
        """Return the indicators i of codes ``(M, C, N)``, in double precision."""
        found = [codes.new_empty(len(codes), 0, codes.shape[-1], dtype=torch.float64)]
        for column, size, ordered in zip(codes.unbind(1), self.sizes, self.ordered, strict=True):
            labels = torch.arange(1, size, dtype=codes.dtype)[:, None]
            own = column.round()[:, None]
            raw = (own >= labels if ordered else own == labels).double()
            found.append(torch.where(own.isnan(), torch.nan, raw))
        return torch.cat(found, dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        codes, numbers = x.split([self.columns, x.shape[1] - self.columns], dim=1)
        variance = self.shares * (1 - self.shares)
        scale = torch.where(variance > 0, variance, torch.inf).sqrt()
        parts, first = [], 0
        raw = self._raw(codes)
        for j, (size, ordered) in enumerate(zip(self.sizes, self.ordered, strict=True)):
            own = slice(first, first + size - 1)
            first += size - 1
            feature = (raw[:, own] - self.shares[:, own]) / scale[:, own]
            if not ordered:
                shares = self.shares[:, own, 0]
                is_known = torch.cat([shares.sum(1, keepdim=True) < 1, shares > 0], dim=1)
                code = codes[:, j].nan_to_num().round().long().clamp(0, size - 1)
                known = is_known.expand(len(code), -1).gather(1, code)
                feature = feature * known[:, None]
            parts.append(feature)
        return torch.cat([*parts, numbers], dim=1), x.new_zeros(len(x), 1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        features, numbers = z.split([self.indicators, z.shape[1] - self.indicators], dim=1)
        raw = features * (self.shares * (1 - self.shares)).sqrt() + self.shares
        codes = []
        for own, ordered in zip(raw.split([n - 1 for n in self.sizes], dim=1), self.ordered, strict=True):
            if ordered:
                code = (own > 0.5).sum(1)
            else:
                first = 1 - own.sum(1, keepdim=True)
                code = torch.cat([first, own], dim=1).argmax(1)
            codes.append(code.to(z.dtype))
        parts = [torch.stack(codes, dim=1), numbers] if codes else [numbers]
        return torch.cat(parts, dim=1), z.new_zeros(len(z), 1)
