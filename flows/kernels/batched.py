"""Compiled perceptrons, which give the same results on every machine.

Autograd can differentiate them once. With ``twice=True``, they are computed as batched products,
and autograd can differentiate them twice.
"""

from ctypes import addressof
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from flows.conditioners.perceptron import Perceptron
from flows.kernels.build import call
from flows.kernels.interface import Layer, Network, Product, filled


class Multiply(torch.autograd.Function):
    """The batched matrix product ``Multiply.apply(a, b, over_points)``, one product per member.

    The product is ``a b`` or, with ``over_points``, ``a b^T``. The gradients are products of the
    same two forms::

        y = a b      da = d b^T    db = a^T d
        y = a b^T    da = d b      db = d^T a
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, over_points: bool) -> Tensor:
        ctx.over_points = over_points
        ctx.save_for_backward(a, b)
        a, b = a.detach().contiguous(), b.detach().contiguous()
        (members, inner, points), rows = b.shape, a.shape[1]
        out = b.new_empty(members, rows, inner if over_points else points)
        sizes = {"members": members, "rows": rows, "inner": inner, "points": points}
        sizes |= {"over_points": over_points, "threads": torch.get_num_threads()}
        call("batched_product", filled(Product, **sizes, a=a, b=b, out=out))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (a, b), (d,) = ctx.saved_tensors, gradients
        by_a, by_b, _ = ctx.needs_input_grad
        left, right = (d, a) if ctx.over_points else (a, d)
        da = Multiply.apply(d, b, not ctx.over_points) if by_a else None
        db = Multiply.apply(left.mT, right, False) if by_b else None
        return da, db, None


class Compiled(torch.autograd.Function):
    """A whole perceptron in one operation, ``Compiled.apply(theta, x, sizes)``.

    A second operation computes its gradients, which cannot be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, theta: Tensor, x: Tensor, sizes: list[int]) -> Tensor:
        theta, x, ctx.sizes = theta.detach(), x.detach().contiguous(), sizes
        ctx.save_for_backward(theta, x)
        y = x.new_empty(x.shape[0], sizes[-1], x.shape[2])
        _run(theta, x, sizes, y=y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        theta, x = ctx.saved_tensors
        gradient, dx = x.new_empty(theta.shape), torch.empty_like(x)
        _run(theta, x, ctx.sizes, dy=dy.contiguous(), gradient=gradient, dx=dx)
        return gradient, dx, None


def _run(theta: Tensor, x: Tensor, sizes: list[int], **others: Tensor) -> None:
    (members, _, points), (kept, hidden, _, outputs) = x.shape, sizes
    layer = filled(Layer, theta=theta, kept=kept, hidden=hidden, outputs=outputs)
    numbers = {"members": members, "points": points, "size": theta.shape[1]}
    threads = torch.get_num_threads()
    network = filled(Network, layer=addressof(layer), threads=threads, **numbers, x=x, **others)
    call("perceptron", network)


def perceptron(conditioner: Perceptron, x: Tensor, *, twice: bool = False) -> Tensor:
    """Return ``conditioner(x)``, ``(M, outputs, N)``, for ``x`` ``(M, inputs, N)``.

    With ``twice``, autograd can differentiate the gradients. Each layer is then one product: the
    bias is one more column of the weights, and x has one more feature, which is 1.
    """
    if not twice:
        return Compiled.apply(conditioner.theta, x, conditioner.sizes)
    one = x.new_ones(x.shape[0], 1, x.shape[2])
    for k, (weight, bias) in enumerate(conditioner.layers()):
        x = x.relu() if k else x
        x = Multiply.apply(torch.cat([weight, bias], dim=2), torch.cat([x, one], dim=1), False)
    return x
