"""The network inside a coupling: one multilayer perceptron per member, all evaluated by batched matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Conditioner(nn.Module):
    """M independent perceptrons, inputs -> hidden -> hidden -> outputs, with ReLU between::

        h_1 = relu(W_1 x + b_1)     h_2 = relu(W_2 h_1 + b_2)     y = W_3 h_2 + b_3

    Shapes: ``(M, inputs, N)`` to ``(M, outputs, N)``; 2 M N (inputs H + H^2 + H outputs) operations. ``W_3`` and ``b_3`` start
    at zero, so a coupling starts as the identity; the others start uniform on +-1/sqrt(fan_in), as ``torch.nn.Linear`` does.

    A member's parameters are one row of ``theta`` ``(M, size)``: W_1, b_1, W_2, b_2, W_3, b_3, each row by row.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.sizes = [inputs, hidden, hidden, outputs]
        parts: list[Tensor] = []
        for fan_in, fan_out in pairwise(self.sizes[:-1]):
            bound = 1 / math.sqrt(fan_in)
            rows = torch.stack([(torch.rand(fan_out, fan_in + 1, generator=g) * 2 - 1) * bound for g in generators])
            parts += [rows[:, :, :-1].flatten(1), rows[:, :, -1]]
        parts.append(torch.zeros(len(generators), outputs * (hidden + 1)))
        self.theta = nn.Parameter(torch.cat(parts, dim=1).to(torch.get_default_dtype()))

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """The weight ``(M, fan_out, fan_in)`` and the bias ``(M, fan_out, 1)`` of every layer, as views of ``theta``."""
        return layer_views(self.theta, self.sizes)

    def forward(self, x: Tensor) -> Tensor:
        *hidden_layers, (last_weight, last_bias) = self.layers()
        for weight, bias in hidden_layers:
            x = torch.baddbmm(bias, weight, x).relu_()  # in place: the product is not needed again, and memory is what costs here
        return torch.baddbmm(last_bias, last_weight, x)

    def extra_repr(self) -> str:
        return " -> ".join(map(str, self.sizes))


def layer_views(theta: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """The weight ``(M, fan_out, fan_in)`` and the bias ``(M, fan_out, 1)`` of every layer of M perceptrons, as views of ``theta`` ``(M, size)``.

    ``sizes`` are the widths from the inputs to the outputs. Raises ``RuntimeError`` where ``size`` is not what they add up to.
    """
    shapes = [shape for fan_in, fan_out in pairwise(sizes) for shape in ((fan_out, fan_in), (fan_out, 1))]
    views = [part.unflatten(1, shape) for part, shape in zip(theta.split([a * b for a, b in shapes], dim=1), shapes, strict=True)]
    return list(zip(views[::2], views[1::2], strict=True))
