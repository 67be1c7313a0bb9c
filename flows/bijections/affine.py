"""The affine coupling: one half of the features shifts and scales the other."""

from typing import Any

import torch
from torch import Tensor

from flows.bijections.coupling import Coupling
from flows.core.seeds import Generators


class AffineCoupling(Coupling):
    """A coupling whose element-wise map is a shift and a scale, both functions of the kept half::

        forward:  z_b = x_b exp(s) + t        log_det = +sum_d s_d
        inverse:  x_b = (z_b - t) exp(-s)     log_det = -sum_d s_d

        s = A tanh(s_raw / A),  A = 2

    The bound on the log-scale is symmetric. With a scale below 1, such as a sigmoid, no coupling
    could raise the density, and the modes of small data sets are narrow. The arguments are the
    arguments of ``Coupling``, without ``per_feature``.

    Examples:
        >>> import torch
        >>> from flows.bijections import AffineCoupling
        >>> from flows.core.seeds import numpy_generators
        >>> generators = numpy_generators(0, "initialize", range(2))  # one per member
        >>> coupling = AffineCoupling(dim=3, hidden=8, generators=generators)  # the identity
        >>> x = torch.arange(30.0).view(2, 3, 5)
        >>> z, log_det = coupling(x)
        >>> log_det.shape, torch.allclose(coupling.inverse(z)[0], x)
        (torch.Size([2, 5]), True)
    """

    LOG_SCALE_BOUND = 2.0

    def __init__(self, dim: int, hidden: int, generators: Generators, **others: Any) -> None:
        super().__init__(dim, 2, hidden, generators, **others)

    def _shift_and_log_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw_log_scale, shift = parameters.chunk(2, dim=1)
        return shift, self.LOG_SCALE_BOUND * torch.tanh(raw_log_scale / self.LOG_SCALE_BOUND)

    def element_forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(parameters)
        return x * log_scale.exp() + shift, log_scale

    def element_inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(parameters)
        return (z - shift) * torch.exp(-log_scale), -log_scale
