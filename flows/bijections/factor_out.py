"""Factor-out: half of the channels are done, and only the rest goes on.

What makes a flow multi-scale.
"""

import torch
from torch import Tensor

from flows.bijections.chain import Chain


class FactorOut(Chain):
    """The second half ``b`` of the channels leaves.

    The bijections ``f`` go on with the first, ``a``; with an odd C, ``a`` has one more::

        forward:  z_a = f(x_a),       z_b = x_b       log_det = that of f
        inverse:  x_a = f^-1(z_a),    x_b = z_b       log_det = that of f^-1

    What left is noise already, and all of it is kept, so the whole map inverts. A coupling before,
    which keeps ``a`` and changes ``b``, is the learned prior of what leaves: ``p(x_b | x_a) =
    p_0(g(x_b; c(x_a))) g'``. With an affine one that is Glow's normal distribution with a mean and
    a deviation computed from what stays. Sources: Dinh et al. 2017 (RealNVP), section 3.6; Kingma
    and Dhariwal 2018 (Glow), figure 2b.
    """

    def enter(self, x: Tensor) -> Tensor:
        return x[:, : (x.shape[1] + 1) // 2]

    def leave(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.cat([z, x[:, z.shape[1] :]], dim=1)
