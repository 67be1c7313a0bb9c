"""The coupling: one part of the features transforms the other."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flows.bijections.bijection import Bijection
from flows.conditioners.perceptron import Perceptron
from flows.core.seeds import Generators

# Builds a network from the numbers of inputs, outputs and hidden units, and a generator per member
Conditioner = Callable[[int, int, int, Generators], nn.Module]


class Coupling(Bijection):
    """A map that keeps one half ``a`` of the features and transforms the other half ``b``.

    The element-wise map g has parameters c computed from ``a``, so both directions and the
    determinant are cheap::

        forward:  z_a = x_a,  z_b = g(x_b; c(x_a))           log_det = +sum_d log g'(x_b)
        inverse:  x_a = z_a,  x_b = g^-1(z_b; c(z_a))        log_det = -sum_d log g'(x_b)

    With an odd D, the first half has one feature more. A subclass defines ``g``. Source: Dinh et
    al. 2017 (RealNVP), section 3.2.

    For images ``(M, C, H, W, N)``, the channels are split, and the ``conditioner`` must build a
    ``Convolution``. This is a channel-wise mask; inside a ``Squeeze`` it is a checkerboard mask.
    All pixels are mapped with ``g``, each with its own parameters.

    Args:
        dim: the number of features D, or of channels C.
        per_feature: the number of parameters of ``g`` per transformed feature.
        hidden: the number of units per hidden layer of the conditioner.
        generators: one generator per member, for the initial parameters.
        swap: whether ``a`` is the second half instead of the first.
        conditioner: builds the network that computes c.
    """

    def __init__(
        self,
        dim: int,
        per_feature: int,
        hidden: int,
        generators: Generators,
        *,
        swap: bool = False,
        conditioner: Conditioner = Perceptron,
    ) -> None:
        super().__init__()
        first = (dim + 1) // 2
        self.swap, self.per_feature = swap, per_feature
        self.sizes = [first, dim - first]
        kept, changed = self.sizes[::-1] if swap else self.sizes
        self.conditioner = conditioner(kept, changed * per_feature, hidden, generators)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.split(self.sizes, dim=1)
        return (second, first) if self.swap else (first, second)

    def _merge(self, kept: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([changed, kept] if self.swap else [kept, changed], dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._transform(self.element_forward, x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._transform(self.element_inverse, z)

    def _transform(
        self, element: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        kept, changed = self._split(x)
        # g treats the pixels of an image as points
        out, log_derivative = element(changed.flatten(2), self.conditioner(kept).flatten(2))
        log_det = log_derivative.view_as(changed).flatten(1, -2).sum(1)
        return self._merge(kept, out.view_as(changed)), log_det

    @abstractmethod
    def element_forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``g(x)`` and ``log g'(x)``, each ``(M, d, N)``, for d changed features.

        ``parameters`` ``(M, d * per_feature, N)`` is the output of the conditioner.
        """

    @abstractmethod
    def element_inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``g^-1(z)`` and its log-derivative, each ``(M, d, N)``."""
