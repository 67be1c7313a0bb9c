"""A bijection that maps the columns of a table to the real line."""

from collections.abc import Sequence

from torch import Tensor

from flows.bijections.bijection import Bijection
from flows.tables.field import Field


class ToReal(Bijection):
    """A fixed map for each column, which its field chooses; all members of a population share it::

        forward:  z_d = f_d(x_d)        log_det = sum_d log f_d'(x_d)
        inverse:  x_d = f_d^-1(z_d)     log_det = -sum_d log f_d'(x_d)

    ``flows/tables/lines.py`` has the maps f_d. The bijection has no parameters and no buffers,
    because the description in the checkpoint holds the columns.

    Args:
        fields: the columns.
        context: the number of first columns whose slopes do not count in ``log_det``.
    """

    def __init__(self, fields: Sequence[Field], context: int = 0) -> None:
        super().__init__()
        self.fields, self.context = list(fields), context

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
        """Return ``x`` ``(M, D, N)`` with each column rounded to the values of samples."""
        x = x.clone()
        for d, field in enumerate(self.fields):
            x[:, d] = field.round(x[:, d])
        return x
