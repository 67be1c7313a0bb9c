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

    The first ``kept`` columns x_a may stay as they are. The others, x_b, then become residuals of
    their regression on x_a::

        forward:  z_b = L^-1 (x_b - m - B x_a)      B the coefficients, L L^T = C_b|a

    Args:
        dim: the number of columns D.
        members: the number of members M.
        context: the number of first columns whose L_dd do not count in the log-determinant. L is
            triangular, so the z of the other columns are residuals of their regression on the
            columns before them.
        kept: the number of columns that stay as they are, at most ``context``.
    """

    RIDGE = 1e-6  # in standardised units; keeps the covariance regular if rows lie on a plane
    DIGITS = 7  # of the mean and the factor, so that they are the same on every machine

    mean: Tensor
    factor: Tensor
    slope: Tensor

    def __init__(self, dim: int, members: int, context: int = 0, kept: int = 0) -> None:
        super().__init__()
        self.context, self.kept, dim = context, kept, dim - kept
        self.register_buffer("mean", torch.zeros(members, dim, 1, dtype=torch.float64))
        self.register_buffer("factor", torch.eye(dim, dtype=torch.float64).repeat(members, 1, 1))
        if kept:
            self.register_buffer("slope", torch.zeros(members, dim, kept, dtype=torch.float64))

    @torch.no_grad()
    def initialize(self, x: Tensor, more: int = 0) -> None:
        """Set the map from points ``x`` ``(M, D, N)``.

        Args:
            x: the points.
            more: the number of columns after ``kept`` that stay as they are, too.
        """
        x, kept = x.double().contiguous(), self.kept + more
        mean = x.mean(-1, keepdim=True)
        covariance = (x - mean) @ (x - mean).mT / x.shape[-1]
        covariance = covariance + self.RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
        factor, own_mean = torch.linalg.cholesky(covariance), mean.clone()
        if kept:
            # The other columns remain residuals of their regression on the kept ones
            factor[:, kept:, :kept] @= torch.linalg.inv(factor[:, :kept, :kept])
            factor[:, :kept, :kept] = torch.eye(kept, dtype=torch.float64)
            own_mean[:, kept:] -= factor[:, kept:, :kept] @ mean[:, :kept]
            own_mean[:, :kept] = 0
        buffers = [(self.mean, own_mean[:, self.kept :])]
        buffers.append((self.factor, factor[:, self.kept :, self.kept :]))
        if self.kept:
            buffers.append((self.slope, factor[:, self.kept :, : self.kept]))
        for buffer, values in buffers:
            # The last digits of a number near 0 are errors
            own = rounded(values.numpy().round(self.DIGITS + 1), self.DIGITS)
            buffer.copy_(torch.from_numpy(own))

    def _log_det(self) -> Tensor:
        diagonal = torch.diagonal(self.factor, dim1=1, dim2=2)
        return diagonal[:, self.context - self.kept :].log().sum(1, keepdim=True)

    def _shift(self, kept: Tensor) -> Tensor:
        """Return m + B x_a, ``(M, D - kept, N or 1)``, for the kept columns."""
        return self.mean + self.slope @ kept if self.kept else self.mean

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, own = x[:, : self.kept], x[:, self.kept :] - self._shift(x[:, : self.kept])
        z = torch.linalg.solve_triangular(self.factor, own, upper=False)
        return torch.cat([kept, z], dim=1), -self._log_det()

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        kept = z[:, : self.kept]
        x = self._shift(kept) + self.factor @ z[:, self.kept :]
        return torch.cat([kept, x], dim=1), self._log_det()
