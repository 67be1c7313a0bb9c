"""Whitening: a fixed linear map that removes all correlation."""

import torch
from torch import Tensor

from flows.bijections.bijection import Bijection
from flows.core.arrays import rounded


class Whiten(Bijection):
    """A fixed linear map, from the mean ``m`` and the covariance ``C`` of the training rows::

        forward:  z = L^-1 (x - m)      log_det = -sum_d log L_dd
        inverse:  x = m + L z           log_det = +sum_d log L_dd       L L^T = C + r I,  r = 1e-6

    If a column is nearly a linear function of others, such as shares that sum to 1, rows lie near a
    plane. After this map, they spread equally in all directions. ``initialize`` fits the map to
    each member's own rows, in double precision; until then the map is the identity. The mean and
    the factor are rounded to ``DIGITS``, so a little correlation remains.

    Args:
        dim: the number of columns D.
        members: the number of members M.
        context: the number of first columns whose L_dd do not count in the log-determinant. L is
            triangular, so the z of the other columns are residuals of their regression on the
            columns before them.
    """

    RIDGE = 1e-6  # in standardised units; keeps the covariance regular if rows lie on a plane
    DIGITS = 7  # of the mean and the factor, so that they are the same on every machine

    mean: Tensor
    factor: Tensor

    def __init__(self, dim: int, members: int, context: int = 0) -> None:
        super().__init__()
        self.context = context
        self.register_buffer("mean", torch.zeros(members, dim, 1, dtype=torch.float64))
        self.register_buffer("factor", torch.eye(dim, dtype=torch.float64).repeat(members, 1, 1))

    @torch.no_grad()
    def initialize(self, x: Tensor, kept: int = 0) -> None:
        """Set the map from points ``x`` ``(M, D, N)``; the first ``kept`` columns do not change."""
        x = x.double().contiguous()
        mean = x.mean(-1, keepdim=True)
        covariance = (x - mean) @ (x - mean).mT / x.shape[-1]
        covariance = covariance + self.RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
        self.mean.copy_(mean)
        factor = torch.linalg.cholesky(covariance)
        if kept:
            # The other columns remain residuals of their regression on the kept ones
            factor[:, kept:, :kept] @= torch.linalg.inv(factor[:, :kept, :kept])
            factor[:, :kept, :kept] = torch.eye(kept, dtype=torch.float64)
            mean = mean.clone()
            self.mean[:, kept:] -= factor[:, kept:, :kept] @ mean[:, :kept]
            self.mean[:, :kept] = 0
        self.factor.copy_(factor)
        for buffer in (self.mean, self.factor):
            # The last digits of a number near 0 are errors
            own = rounded(buffer.numpy().round(self.DIGITS + 1), self.DIGITS)
            buffer.copy_(torch.from_numpy(own))

    def _log_det(self) -> Tensor:
        diagonal = torch.diagonal(self.factor, dim1=1, dim2=2)
        return diagonal[:, self.context :].log().sum(1, keepdim=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.linalg.solve_triangular(self.factor, x - self.mean, upper=False)
        return z, -self._log_det()

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean + self.factor @ z, self._log_det()
