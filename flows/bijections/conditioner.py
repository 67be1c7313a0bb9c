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
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        sizes = [inputs, hidden, hidden, outputs]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes[:-1]):
            bound = 1 / math.sqrt(fan_in)
            rows = [(torch.rand(fan_out, fan_in + 1, generator=g) * 2 - 1) * bound for g in generators]
            weight_and_bias = torch.stack(rows).to(torch.get_default_dtype())
            self.weights.append(nn.Parameter(weight_and_bias[:, :, :-1].contiguous()))
            self.biases.append(nn.Parameter(weight_and_bias[:, :, -1:].contiguous()))
        self.weights.append(nn.Parameter(torch.zeros(len(generators), outputs, hidden)))
        self.biases.append(nn.Parameter(torch.zeros(len(generators), outputs, 1)))

    def forward(self, x: Tensor) -> Tensor:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = torch.baddbmm(bias, weight, x).relu_()  # in place: the product is not needed again, and memory is what costs here
        return torch.baddbmm(self.biases[-1], self.weights[-1], x)

    def extra_repr(self) -> str:
        return " -> ".join(str(w.shape[2]) for w in self.weights) + f" -> {self.weights[-1].shape[1]}"
