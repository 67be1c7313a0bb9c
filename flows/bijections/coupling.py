"""The coupling: some of the features transform others."""

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
    """A map that keeps some of the features, ``a``, and transforms others, ``b``.

    The element-wise map g has parameters c computed from ``a``, so both directions and the
    determinant are cheap::

        forward:  z_a = x_a,  z_b = g(x_b; c(x_a))           log_det = +sum_d log g'(x_b)
        inverse:  x_a = z_a,  x_b = g^-1(z_b; c(z_a))        log_det = -sum_d log g'(x_b)

    By default, ``a`` is the first half of the features and ``b`` the second half; with an odd D,
    the first half has one feature more. With ``kept``, ``a`` are the first ``kept`` features and
    ``b`` the next ``changed`` features; the other features stay as they are. A feature that no
    coupling of a flow changes is a context: the flow learns the density of the changed features
    given the context. A subclass defines ``g``. Source: Dinh et al. 2017 (RealNVP), section 3.2.

    For images ``(M, C, H, W, N)``, the channels are split, and the ``conditioner`` must build a
    ``Convolution``. This is a channel-wise mask; inside a ``Squeeze`` it is a checkerboard mask.
    All pixels are mapped with ``g``, each with its own parameters.

    Args:
        dim: the number of features D, or of channels C.
        per_feature: the number of parameters of ``g`` per transformed feature.
        hidden: the number of units per hidden layer of the conditioner.
        generators: one generator per member, for the initial parameters.
        swap: whether ``a`` is the second half instead of the first; not with ``kept``.
        kept: the number of features in ``a``; ``None`` for the default halves.
        changed: the number of features in ``b``, only with ``kept``; ``None`` for all others.
        conditioner: builds the network that computes c.

    Raises ``ValueError`` for ``swap`` with ``kept``, and for ``changed`` without ``kept``.
    """

    def __init__(
        self,
        dim: int,
        per_feature: int,
        hidden: int,
        generators: Generators,
        *,
        swap: bool = False,
        kept: int | None = None,
        changed: int | None = None,
        conditioner: Conditioner = Perceptron,
    ) -> None:
        super().__init__()
        if (swap and kept is not None) or (changed is not None and kept is None):
            raise ValueError(
                f"swap = {swap}, kept = {kept}, changed = {changed}: swap is for the default "
                "halves, without kept, and changed needs kept"
            )
        self.per_feature = per_feature
        first = (dim + 1) // 2 if kept is None else kept
        end = dim if changed is None else first + changed
        self.kept, self.changed = (0, first), (first, end)  # first features and ends
        if swap:
            self.kept, self.changed = self.changed, self.kept
        sizes = [end - start for start, end in (self.kept, self.changed)]
        self.conditioner = conditioner(sizes[0], sizes[1] * per_feature, hidden, generators)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._transform(self.element_forward, x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._transform(self.element_inverse, z)

    def _transform(
        self, element: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor
    ) -> tuple[Tensor, Tensor]:
        kept, changed = (x[:, start:end] for start, end in (self.kept, self.changed))
        # g treats the pixels of an image as points
        out, log_derivative = element(changed.flatten(2), self.conditioner(kept).flatten(2))
        log_det = log_derivative.view_as(changed).flatten(1, -2).sum(1)
        start, end = self.changed
        return torch.cat([x[:, :start], out.view_as(changed), x[:, end:]], dim=1), log_det

    @abstractmethod
    def element_forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``g(x)`` and ``log g'(x)``, each ``(M, d, N)``, for d changed features.

        ``parameters`` ``(M, d * per_feature, N)`` is the output of the conditioner.
        """

    @abstractmethod
    def element_inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``g^-1(z)`` and its log-derivative, each ``(M, d, N)``."""
