"""The network inside couplings and baselines: one multilayer perceptron per member, all evaluated by batched matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Perceptron(nn.Module):
    """M independent perceptrons, inputs -> hidden -> hidden -> outputs, with ReLU between::

        h_0 = x     h_l = relu(W_l h_(l-1) + b_l), l = 1, 2     y = W_3 h_2 + b_3

    Shapes: ``(M, inputs, N)`` to ``(M, outputs, N)``; 2 M N (inputs H + H^2 + H outputs) operations. Backwards, from ``d_3``
    ``(M, outputs, N)``, the derivative by y::

        d_l = (W_(l+1)^T d_(l+1)) [h_l > 0]    derivative by x = W_1^T d_1     by W_l = sum_n d_l h_(l-1)^T     by b_l = sum_n d_l

    ``chain`` gives the d and the derivative by x, ``gradient`` the sums over points. They are written out because the GAN's
    penalty (``models/gan``) uses them as they are, and because torch's own bookkeeping costs as much again in networks so narrow.

    ``reach`` says where the layers' weights and biases start: uniform on +- the two numbers; a layer whose numbers are 0 draws none.
    A member's parameters are one row of ``theta`` ``(M, size)``: W_1, b_1, W_2, b_2, W_3, b_3, each row by row.
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: int, generators: Sequence[torch.Generator], reach: Sequence[tuple[float, float]] | None = None
    ) -> None:
        super().__init__()
        self.sizes = [inputs, hidden, hidden, outputs]
        parts: list[Tensor] = []
        for (fan_in, fan_out), (weight, bias) in zip(pairwise(self.sizes), reach or identity_reach(inputs, hidden), strict=True):
            if weight == bias == 0:
                parts.append(torch.zeros(len(generators), fan_out * (fan_in + 1)))
                continue
            rows = torch.stack([torch.rand(fan_out, fan_in + 1, generator=g) * 2 - 1 for g in generators])
            parts += [weight * rows[:, :, :-1].flatten(1), bias * rows[:, :, -1]]
        self.theta = nn.Parameter(torch.cat(parts, dim=1).to(torch.get_default_dtype()))

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """The weight ``(M, fan_out, fan_in)`` and the bias ``(M, fan_out, 1)`` of every layer, as views of ``theta``."""
        shapes = [shape for fan_in, fan_out in pairwise(self.sizes) for shape in ((fan_out, fan_in), (fan_out, 1))]
        parts = self.theta.split([a * b for a, b in shapes], dim=1)
        views = [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
        return list(zip(views[::2], views[1::2], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x)[-1]

    def states(self, x: Tensor) -> list[Tensor]:
        """h_0, h_1, h_2 and y."""
        states = [x]
        for weight, bias in self.layers():
            x = torch.baddbmm(bias, weight, x)
            if len(states) < 3:
                x = x.relu_()  # in place: the product is not needed again, and memory is what costs here
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


def identity_reach(inputs: int, hidden: int) -> list[tuple[float, float]]:
    """Where a coupling's network starts: +-1/sqrt(fan_in), as ``torch.nn.Linear`` does, and its last layer at 0, so that it gives 0."""
    return [(1 / math.sqrt(inputs),) * 2, (1 / math.sqrt(hidden),) * 2, (0.0, 0.0)]


def he_reach(inputs: int, hidden: int) -> list[tuple[float, float]]:
    """Where a baseline's network starts: weights on +-sqrt(6/fan_in) (He et al. 2015), the last layer's on +-1/sqrt(fan_in); biases at 0.

    But the first layer's biases, on +-1: its kinks then lie apart.
    """
    return [(math.sqrt(6 / inputs), 1.0), (math.sqrt(6 / hidden), 0.0), (1 / math.sqrt(hidden), 0.0)]


def masked(d: Tensor, h: Tensor) -> Tensor:
    """``d [h > 0]``, by the operation that torch differentiates a ReLU with: four times faster than a product with a mask."""
    return torch.ops.aten.threshold_backward(d, h, 0)
