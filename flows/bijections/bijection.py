"""The interface of all bijections: two directions, each with its log-determinant."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Bijection(nn.Module, ABC):
    """An invertible, differentiable map between data ``x`` and noise ``z``.

    Every member of a population, one of M independent networks, has its own map.

    The direction is the same everywhere in this project::

        forward:  x -> z,  log_det = log |det dz/dx|        (from data to noise)
        inverse:  z -> x,  log_det = log |det dx/dz|        (from noise to data)

    Shapes: ``x`` and ``z`` are ``(M, D, N)``, or ``(M, *event, N)``: members, features, points.
    Features come before points because the batched matrix products of narrow networks are then
    about a fifth faster. ``log_det`` is ``(M, N)``, or ``(M, 1)`` if it is the same for all points.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data ``x`` ``(M, *event, N)`` to noise; return the noise and log |det dz/dx|."""

    @abstractmethod
    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map noise ``z`` ``(M, *event, N)`` to data; return the data and log |det dx/dz|."""

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set data-dependent parameters from ``x`` ``(M, *event, N)``, the input of this layer.

        This method is called once, before training. By default it does nothing.
        """


def pixels(x: Tensor) -> int:
    """Return H W for images ``(M, C, H, W, N)``, and 1 for vectors ``(M, D, N)``."""
    return math.prod(x.shape[2:-1])
