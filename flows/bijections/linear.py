"""The invertible linear map of features, or of an image's channels (Glow's 1x1 convolution)."""

import torch
from torch import Tensor, nn

from flows.bijections.bijection import Bijection, pixels
from flows.core.seeds import Generators, normals


class PLULinear(Bijection):
    """A square matrix per member, stored as PLU factors, so that its determinant costs nothing::

        W = P L (U + diag(sign * exp(s)))       L unit lower, U strictly upper triangular

        forward:  z = W x                       log_det = +sum_d s_d
        inverse:  x = W^-1 z                    log_det = -sum_d s_d    (two triangular solves)

    The permutation ``P`` and the signs are buffers, so W can never become singular and never
    changes orientation. Each member starts at a random rotation, because a random permutation of
    two features would be the identity half the time. For images ``(M, C, H, W, N)``, W mixes the C
    channels of every pixel, and ``log_det`` is H W times the sum above. Source: Kingma and Dhariwal
    2018 (Glow), section 3.2, equation 10.

    Args:
        dim: the number of features D, or of channels C.
        generators: one generator per member, for the initial rotations.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, dim: int, generators: Generators) -> None:
        super().__init__()
        gaussian = normals(generators, dim, dim)
        q, r = torch.linalg.qr(gaussian)
        # Haar measure: undo the sign choice of the QR
        q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)
        # Determinant +1: a rotation, no reflection
        q[:, :, 0] *= torch.linalg.det(q).sign().unsqueeze(-1)
        permutation, lower, upper = torch.linalg.lu(q)
        diagonal = torch.diagonal(upper, dim1=-2, dim2=-1)
        dtype = torch.get_default_dtype()
        self.register_buffer("permutation", permutation.to(dtype))
        self.register_buffer("sign", diagonal.sign().to(dtype))
        self.lower = nn.Parameter(lower.tril(-1).to(dtype))
        self.upper = nn.Parameter(upper.triu(1).to(dtype))
        self.log_diagonal = nn.Parameter(diagonal.abs().log().to(dtype))

    def _factors(self) -> tuple[Tensor, Tensor]:
        identity = torch.eye(self.lower.shape[-1], dtype=self.lower.dtype, device=self.lower.device)
        lower = self.lower.tril(-1) + identity
        upper = self.upper.triu(1) + torch.diag_embed(self.sign * self.log_diagonal.exp())
        return lower, upper

    def weight(self) -> Tensor:
        """Return the matrices W, ``(M, D, D)``."""
        lower, upper = self._factors()
        return self.permutation @ lower @ upper

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (self.weight() @ x.flatten(2)).view_as(x), self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        y = torch.linalg.solve_triangular(
            lower, self.permutation.mT @ z.flatten(2), upper=False, unitriangular=True
        )
        return torch.linalg.solve_triangular(upper, y, upper=True).view_as(z), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        return self.log_diagonal.sum(1, keepdim=True) * pixels(x)
