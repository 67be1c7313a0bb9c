"""The network of the baselines: one multilayer perceptron per member, with its derivatives written out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from flows.bijections.conditioner import layer_views


class Perceptron(nn.Module):
    """M independent perceptrons, inputs -> hidden -> hidden -> outputs, with ReLU between::

        h_0 = x     h_l = relu(W_l h_(l-1) + b_l), l = 1, 2     y = W_3 h_2 + b_3

    Shapes: ``(M, inputs, N)`` to ``(M, outputs, N)``. Backwards, from ``d_3`` ``(M, outputs, N)``, the derivative by y::

        d_l = (W_(l+1)^T d_(l+1)) [h_l > 0]    derivative by x = W_1^T d_1     by W_l = sum_n d_l h_(l-1)^T     by b_l = sum_n d_l

    ``chain`` gives the d and the derivative by x, ``gradient`` the sums over points. They are written out because the GAN's
    penalty (``gan.py``) uses them as they are, and because torch's own bookkeeping costs as much again in networks so narrow.

    Weights start uniform on +-sqrt(6/fan_in) (He et al. 2015), the last layer's on +-1/sqrt(fan_in); biases at zero, but for the
    first layer's, uniform on +-1: its kinks then lie apart. A member's parameters are one row of ``theta`` ``(M, size)``:
    W_1, b_1, W_2, b_2, W_3, b_3, each row by row.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.sizes = [inputs, hidden, hidden, outputs]
        parts: list[Tensor] = []
        reaches = [(math.sqrt(6 / inputs), 1.0), (math.sqrt(6 / hidden), 0.0), (1 / math.sqrt(hidden), 0.0)]  # of weights and biases
        for (fan_in, fan_out), (weight, bias) in zip(pairwise(self.sizes), reaches, strict=True):
            rows = torch.stack([torch.rand(fan_out, fan_in + 1, generator=g) * 2 - 1 for g in generators])
            parts += [weight * rows[:, :, :-1].flatten(1), bias * rows[:, :, -1]]
        self.theta = nn.Parameter(torch.cat(parts, dim=1).to(torch.get_default_dtype()))

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """The weight ``(M, fan_out, fan_in)`` and the bias ``(M, fan_out, 1)`` of every layer, as views of ``theta``."""
        return layer_views(self.theta, self.sizes)

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x)[-1]

    def states(self, x: Tensor) -> list[Tensor]:
        """h_0, h_1, h_2 and y."""
        states = [x]
        for weight, bias in self.layers():
            x = torch.baddbmm(bias, weight, x)
            if len(states) < 3:
                x = x.relu_()  # in place: the product is not needed again
            states.append(x)
        return states

    def chain(self, states: Sequence[Tensor], d: Tensor) -> tuple[list[Tensor], Tensor]:
        """d_1, d_2, d_3, and the derivative by x, from the forward pass's ``states`` and the derivative by y."""
        derivatives = [d]
        weights = [weight for weight, _ in self.layers()]
        for weight, h in zip(weights[:0:-1], states[2:0:-1], strict=True):
            d = masked(weight.mT @ d, h)
            derivatives.append(d)
        return derivatives[::-1], weights[0].mT @ d

    @staticmethod
    def gradient(inputs: Sequence[Tensor], derivatives: Sequence[Tensor], weights: Tensor | None = None) -> Tensor:
        """The gradient ``(M, size)`` by ``theta``: of every layer the ``derivatives`` d times the ``inputs`` h, summed over points.

        ``weights`` ``(M, 1, N)`` multiply the points' share of the biases, where ``inputs`` hold them already.
        """
        parts: list[Tensor] = []
        for h, d in zip(inputs, derivatives, strict=True):
            parts += [(d @ h.mT).flatten(1), d.sum(2) if weights is None else (d @ weights.mT).squeeze(2)]
        return torch.cat(parts, dim=1)

    def extra_repr(self) -> str:
        return " -> ".join(map(str, self.sizes))


def masked(d: Tensor, h: Tensor) -> Tensor:
    """``d [h > 0]``, by the operation that torch differentiates a ReLU with: four times faster than a product with a mask."""
    return torch.ops.aten.threshold_backward(d, h, 0)
