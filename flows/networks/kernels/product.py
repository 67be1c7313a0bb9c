"""Perceptrons that are the same on every machine, made of products, which autograd differentiates, and twice."""

from typing import Any

import torch
from torch import Tensor

from flows.bijections.perceptron import Perceptron
from flows.networks.kernels.build import call, usable
from flows.networks.kernels.interface import Product, filled

POINTS = 10_000  # at a time, where no gradient is asked for: bounds the memory


class Multiply(torch.autograd.Function):
    """``Multiply.apply(a, b, bias, over_points)``, a member each; ``bias`` may be ``None``. The gradients are such products, too::

    y = a b + bias                       da = d b^T    db = a^T d    dbias = d 1
    y = a b^T, where ``over_points``     da = d b      db = d^T a
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, bias: Tensor | None, over_points: bool) -> Tensor:
        ctx.over_points = over_points
        ctx.save_for_backward(a, b)
        a, b, bias = a.detach().contiguous(), b.detach().contiguous(), None if bias is None else bias.detach().contiguous()
        (members, inner, points), rows = b.shape, a.shape[1]
        out = b.new_empty(members, rows, inner if over_points else points)
        numbers = {"members": members, "rows": rows, "inner": inner, "points": points, "threads": torch.get_num_threads()}
        call("batched_product", filled(Product, over_points=over_points, **numbers, a=a, b=b, bias=bias, out=out))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (a, b), (d,), needed = ctx.saved_tensors, gradients, ctx.needs_input_grad
        left, right = (d, a) if ctx.over_points else (a, d)
        by_a = Multiply.apply(d, b, None, not ctx.over_points) if needed[0] else None
        by_b = Multiply.apply(left.mT, right, None, False) if needed[1] else None
        by_bias = Multiply.apply(d, d.new_ones(d.shape[0], 1, d.shape[2]), None, True) if needed[2] else None
        return by_a, by_b, by_bias, None


def perceptron(network: Perceptron, x: Tensor, *, twice: bool = False) -> Tensor:
    """``network(x)``; ``twice``: for gradients that are differentiated, a bias is one more column, beside a feature that is 1."""
    if not usable(x, network.theta):
        return network(x)
    if not torch.is_grad_enabled() and x.shape[2] > POINTS:
        return torch.cat([perceptron(network, part) for part in x.split(POINTS, dim=2)], dim=2)
    one = x.new_ones(x.shape[0], 1, x.shape[2])
    for k, (weight, bias) in enumerate(network.layers()):
        x = x.relu() if k else x
        if twice:
            x = Multiply.apply(torch.cat([weight, bias], dim=2), torch.cat([x, one], dim=1), None, False)
        else:
            x = Multiply.apply(weight, x, bias, False)
    return x
