"""Factor-out, which makes a flow multi-scale: half of the channels leave, and the rest goes on."""

import torch
from torch import Tensor

from flows.bijections.chain import Chain


class FactorOut(Chain):
    """Bijections ``f`` of the first half ``a`` of the channels; the second, ``b``, leaves the flow.

    With an odd C, ``a`` has one more::

        forward:  z_a = f(x_a),       z_b = x_b       log_det = that of f
        inverse:  x_a = f^-1(z_a),    x_b = z_b       log_det = that of f^-1

    What leaves is kept as noise, so the whole map inverts. A coupling before, which keeps ``a`` and
    changes ``b``, is the learned prior of what leaves: ``p(x_b | x_a) = p_0(g(x_b; c(x_a))) g'``.
    With an affine one that is Glow's normal distribution with a mean and a deviation computed from
    what stays. Sources: Dinh et al. 2017 (RealNVP), section 3.6; Kingma and Dhariwal 2018 (Glow),
    figure 2b.
    """

    def enter(self, x: Tensor) -> Tensor:
        return x[:, : (x.shape[1] + 1) // 2]

    def leave(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.cat([z, x[:, z.shape[1] :]], dim=1)
