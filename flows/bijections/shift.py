"""The linear shift: a coupling that adds a linear function of the kept features."""

from typing import Any

import torch
from torch import Tensor

from flows.bijections.coupling import Coupling
from flows.conditioners.linear import Linear
from flows.core.seeds import Generators


class LinearShift(Coupling):
    """A coupling that shifts the changed features by a linear function of the kept ones::

        forward:  z_b = x_b + W x_a        log_det = 0
        inverse:  x_b = z_b - W x_a

    W starts at 0. A small network with a lasso learns a linear trend of many features slowly; this
    map has no lasso. The arguments are those of ``Coupling``, without ``per_feature`` and
    ``hidden``; the generators give the number of members.

    Examples:
        >>> import torch
        >>> from flows.bijections import LinearShift
        >>> from flows.core.seeds import numpy_generators
        >>> generators = numpy_generators(0, "initialize", range(2))  # one per member
        >>> shift = LinearShift(3, generators, kept=2)  # the identity
        >>> x = torch.arange(30.0).view(2, 3, 5)
        >>> torch.equal(shift(x)[0], x)
        True
    """

    def __init__(self, dim: int, generators: Generators, **others: Any) -> None:
        super().__init__(dim, 1, 0, generators, conditioner=Linear, **others)

    def element_forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return x + parameters, torch.zeros_like(x)

    def element_inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return z - parameters, torch.zeros_like(z)
