"""The maps of the columns of a table to the real line, as one bijection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor

from flows.core.arrays import Array
from flows.networks.to_real import ToReal
from flows.tables.columns.field import Field
from flows.tables.columns.spreading import spread


class ColumnMaps(ToReal):
    """A fixed map for each column, which its field chooses::

        forward:  z_d = f_d(x_d)        log_det = sum_d log f_d'(x_d)
        inverse:  x_d = f_d^-1(z_d)     log_det = -sum_d log f_d'(x_d)

    ``flows/tables/columns/lines.py`` has the maps f_d. The bijection has no parameters and no
    buffers, because the description in the checkpoint holds the columns.

    Args:
        fields: the columns.
        context: the number of first columns whose slopes do not count in ``log_det``.
    """

    name = "columns"

    def __init__(self, fields: Sequence[Field], context: int = 0) -> None:
        super().__init__()
        self.fields, self.context = list(fields), context
        self.names = [field.name for field in fields]
        self.label_counts = [len(field.labels) for field in fields]
        self.ordered = [field.ordered for field in fields]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = x.clone(), x.new_zeros(len(x), x.shape[-1])
        for d, field in enumerate(self.fields):
            z[:, d], terms = field.line.forward(x[:, d])
            for term in terms if d >= self.context else ():
                log_det = log_det + term
        return z, log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = z.clone(), z.new_zeros(len(z), z.shape[-1])
        for d, field in enumerate(self.fields):
            x[:, d], terms = field.line.inverse(z[:, d])
            for term in terms if d >= self.context else ():
                log_det = log_det + term
        return x, log_det

    def round(self, x: Tensor) -> Tensor:
        x = x.clone()
        for d, field in enumerate(self.fields):
            x[:, d] = field.round(x[:, d])
        return x

    def spread(self, rows: Array, u: Array) -> Array:
        return spread(self.fields, rows, u)

    def with_context(self, context: int) -> ColumnMaps:
        return ColumnMaps(self.fields, context)

    def part(self, places: Sequence[int]) -> ColumnMaps:
        return ColumnMaps([self.fields[d] for d in places])

    def allowed(self, d: int) -> str:
        return f"finite numbers of the kind {self.fields[d].word}"

    def to_json(self) -> dict[str, Any]:
        return {"columns": [field.to_json() for field in self.fields]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls([Field.from_json(column) for column in content["columns"]])
