"""The network inside couplings and baselines: a multilayer perceptron per member."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from flows.core.seeds import Generators

# Maps the numbers of inputs and hidden units to the initial ranges of each layer's weights, biases
Reach = Callable[[int, int], list[tuple[float, float]]]


def identity_reach(inputs: int, hidden: int) -> list[tuple[float, float]]:
    """Return the initial ranges of a coupling's network, the ``reach`` of a ``Perceptron``.

    Weights and biases are within +-1/sqrt(fan_in), as in ``torch.nn.Linear``, and the last layer
    starts at 0, so that the output is 0.
    """
    return [(1 / math.sqrt(max(inputs, 1)),) * 2, (1 / math.sqrt(hidden),) * 2, (0.0, 0.0)]


def he_reach(inputs: int, hidden: int, depth: int = 2) -> list[tuple[float, float]]:
    """Return the initial ranges of a baseline's network, the ``reach`` of a ``Perceptron``.

    Weights are within +-sqrt(6/fan_in) (He et al. 2015), in the last layer within +-1/sqrt(fan_in).
    Biases are 0 except in the first layer, where they are within +-1, so that the kinks of its
    units lie apart.
    """
    return [
        (math.sqrt(6 / inputs), 1.0),
        *[(math.sqrt(6 / hidden), 0.0)] * (depth - 1),
        (1 / math.sqrt(hidden), 0.0),
    ]


class Perceptron(nn.Module):
    """M independent perceptrons, inputs -> hidden -> hidden -> outputs, with ReLU between::

        h_1 = relu(W_1 x + b_1)     h_2 = relu(W_2 h_1 + b_2)     y = W_3 h_2 + b_3

    Shapes: ``(M, inputs, N)`` to ``(M, outputs, N)``; 2 M N (inputs H + H^2 + H outputs)
    operations, in batched matrix products.

    ``reach(inputs, hidden)`` returns two numbers r per layer, for the weights and for the biases:
    they start uniform on [-r, r]. A layer whose numbers are both 0 draws nothing. The parameters of
    a member are one row of ``theta`` ``(M, size)``: W_1, b_1, W_2, b_2, W_3, b_3, each row by row.
    A subclass may have another ``depth``, the number of hidden layers.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int,
        generators: Generators,
        reach: Reach = identity_reach,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.sizes, parts = [inputs, *[hidden] * depth, outputs], list[Tensor]()
        pairs = zip(pairwise(self.sizes), reach(inputs, hidden), strict=True)
        for (fan_in, fan_out), (weight, bias) in pairs:
            if weight == bias == 0:
                parts.append(torch.zeros(len(generators), fan_out * (fan_in + 1)))
                continue
            drawn = np.stack([g.uniform(-1, 1, (fan_out, fan_in + 1)) for g in generators])
            rows = torch.from_numpy(drawn)
            parts += [weight * rows[:, :, :-1].flatten(1), bias * rows[:, :, -1]]
        self.theta = nn.Parameter(torch.cat(parts, dim=1).to(torch.get_default_dtype()))

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return the weight and the bias of every layer, as views of ``theta``.

        They are ``(M, fan_out, fan_in)`` and ``(M, fan_out, 1)``.
        """
        pairs = pairwise(self.sizes)
        shapes = [each for fan_in, out in pairs for each in ((out, fan_in), (out, 1))]
        parts = self.theta.split([a * b for a, b in shapes], dim=1)
        views = [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
        return list(zip(views[::2], views[1::2], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return y, ``(M, outputs, N)``, for ``x`` ``(M, inputs, N)``."""
        *hidden_layers, (last_weight, last_bias) = self.layers()
        for weight, bias in hidden_layers:
            # In place, to save memory: the product is not needed again
            x = torch.baddbmm(bias, weight, x).relu_()
        return torch.baddbmm(last_bias, last_weight, x)
