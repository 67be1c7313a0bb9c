"""A linear map in the place of a network: the shift of a coupling that is linear in its inputs."""

import torch
from torch import Tensor, nn

from flows.core.seeds import Generators


class Linear(nn.Module):
    """M independent linear maps without a bias, ``y = W x``, which start at 0.

    Shapes: ``(M, inputs, N)`` to ``(M, outputs, N)``. The weights W are ``theta``
    ``(M, outputs, inputs)``. The arguments are those of ``Perceptron``; ``hidden`` is not used.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, generators: Generators) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(len(generators), outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.theta @ x
