"""The network of a velocity field: a smooth perceptron per member, with its divergence."""

import torch
from torch import Tensor
from torch.nn.functional import silu

from flows.conditioners.perceptron import Perceptron


class SmoothPerceptron(Perceptron):
    """A ``Perceptron`` with a smooth activation and any number of hidden layers::

        h_l = silu(W_l h_(l-1) + b_l),  h_0 = x       y = W h_L + b
        silu(a) = a s(a),  silu'(a) = s(a) (1 + a (1 - s(a))),  s(a) = 1 / (1 + e^-a)

    Source of the activation: Elfwing et al. 2018.
    """

    def forward(self, x: Tensor) -> Tensor:
        *hidden_layers, (last_weight, last_bias) = self.layers()
        for weight, bias in hidden_layers:
            x = silu(torch.baddbmm(bias, weight, x))
        return torch.baddbmm(last_bias, last_weight, x)

    def with_divergence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output ``(M, outputs, N)`` of ``forward``, and its divergence ``(M, N)``.

        The divergence is ``sum_d dy_d / dx_d`` over the outputs d; further inputs, such as features
        of the time, do not enter. It is exact: each term is a Jacobian-vector product, which costs
        as much as ``forward``::

            u_1 = W_1[:, d] silu'(a_1),  u_l = (W_l u_(l-1)) silu'(a_l),  dy_d / dx_d = W[d] u_L
        """
        *hidden_layers, (last_weight, last_bias) = self.layers()
        outputs, tangents = last_weight.shape[1], list[Tensor]()
        for number, (weight, bias) in enumerate(hidden_layers):
            a = torch.baddbmm(bias, weight, x)
            share = a.sigmoid()
            x, slope = a * share, share * (1 + a * (1 - share))
            tangents = [
                slope * (weight @ tangents[d] if number else weight[:, :, d : d + 1])
                for d in range(outputs)
            ]
        ends = [last_weight[:, d : d + 1] @ tangents[d] for d in range(outputs)]
        return torch.baddbmm(last_bias, last_weight, x), torch.cat(ends, dim=1).sum(1)
