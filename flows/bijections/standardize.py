"""Standardisation as a bijection, so that densities are always in the units of the user's data."""

from __future__ import annotations

import torch
from torch import Tensor

from flows.bijections.base import Bijection, feature_moments


class Standardize(Bijection):
    """A fixed affine map per feature, with the mean ``m`` and the standard deviation ``s`` of the training data::

        forward:  z = (x - m) / s       log_det = -sum_d log s_d
        inverse:  x = m + s z           log_det = +sum_d log s_d

    ``m`` and ``s`` are buffers ``(M, D, 1)``: saved with the model, never trained. The identity until ``initialize``.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int, members: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(members, dim, 1))
        self.register_buffer("deviation", torch.ones(members, dim, 1))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        mean, deviation = feature_moments(x, "Standardize")
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.mean) / self.deviation, -self.deviation.log().sum(1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean + self.deviation * z, self.deviation.log().sum(1)

    def extra_repr(self) -> str:
        return f"dim={self.mean.shape[1]}"
