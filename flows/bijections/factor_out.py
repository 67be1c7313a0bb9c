"""Factor-out, for multi-scale flows: half of the channels leave the flow early."""

import torch
from torch import Tensor

from flows.bijections.chain import Chain


class FactorOut(Chain):
    """A chain ``f`` on the first half ``a`` of the channels; the second half ``b`` is unchanged.

    With an odd C, ``a`` has one channel more::

        forward:  z_a = f(x_a),       z_b = x_b       log_det = log |det df|
        inverse:  x_a = f^-1(z_a),    x_b = z_b       log_det = log |det df^-1|

    A coupling before this layer that keeps ``a`` and changes ``b`` is a learned prior of ``b``:
    ``p(x_b | x_a) = p_0(g(x_b; c(x_a))) g'``. With an affine coupling, the prior is a normal
    distribution whose mean and standard deviation are computed from ``a``, as in Glow. Sources:
    Dinh et al. 2017 (RealNVP), section 3.6; Kingma and Dhariwal 2018 (Glow), figure 2b.
    """

    def enter(self, x: Tensor) -> Tensor:
        return x[:, : (x.shape[1] + 1) // 2]

    def leave(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.cat([z, x[:, z.shape[1] :]], dim=1)
