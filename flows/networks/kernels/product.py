"""Perceptrons that are the same on every machine; autograd differentiates them, and twice where they are made of products."""

from __future__ import annotations

from ctypes import addressof
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from flows.bijections.perceptron import Perceptron
from flows.networks.kernels import build
from flows.networks.kernels.interface import SUMS, Layer, Network, Product, Values


class Multiply(torch.autograd.Function):
    """``Multiply.apply(a, b, sum)``, ``sum`` a word of ``chain.h``, a member each::

        OVER_ROWS    a b          da = d b^T    db = a^T d
        FROM_ROWS    a^T b        da = b d^T    db = a d
        OVER_POINTS  a b^T        da = d b      db = d^T a

    So the gradients are such products, too.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, kind: str) -> Tensor:
        ctx.kind = kind
        ctx.save_for_backward(a, b)
        return compiled(a.detach().contiguous(), b.detach().contiguous(), kind)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (a, b), (d,) = ctx.saved_tensors, gradients
        by_a, by_b = {
            "OVER_ROWS": ((d, b, "OVER_POINTS"), (a, d, "FROM_ROWS")),
            "FROM_ROWS": ((b, d, "OVER_POINTS"), (a, d, "OVER_ROWS")),
            "OVER_POINTS": ((d, b, "OVER_ROWS"), (d, a, "FROM_ROWS")),
        }[ctx.kind]
        needed = ctx.needs_input_grad
        return Multiply.apply(*by_a) if needed[0] else None, Multiply.apply(*by_b) if needed[1] else None, None


def compiled(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """The product itself. Raises ``MemoryError`` where the system has no memory for a thread to work in."""
    members, inner, points = b.shape
    rows = a.shape[2] if kind == "FROM_ROWS" else a.shape[1]
    out = b.new_empty(members, rows, inner if kind == "OVER_POINTS" else points)
    pointers = {name: tensor.data_ptr() for name, tensor in {"a": a, "b": b, "out": out}.items()}
    product = Product(SUMS.index(kind), members, rows, inner, torch.get_num_threads(), points, **pointers)
    build.check(build.in_use().batched_product(addressof(product)))
    return out


class Compiled(torch.autograd.Function):
    """``Compiled.apply(theta, x, sizes)``: a whole perceptron at once, whose gradients are computed at once, too, and can't be differentiated."""

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
    layer = Layer(theta=Values(theta.data_ptr(), theta.stride(0)), kept=sizes[0], hidden=sizes[1], outputs=sizes[-1])
    pointers = {name: tensor.data_ptr() for name, tensor in {"x": x, **others}.items()}
    network = Network(addressof(layer), x.shape[0], torch.get_num_threads(), x.shape[2], theta.shape[1], **pointers)
    build.check(build.in_use().perceptron(addressof(network)))


def perceptron(network: Perceptron, x: Tensor, *, twice: bool = False) -> Tensor:
    """``network(x)``; ``twice``: in products, for gradients that are differentiated. A bias is then one more column, beside a feature that is 1."""
    if not build.usable(x, network.theta):
        return network(x)
    if not twice:
        return Compiled.apply(network.theta, x, network.sizes)
    one = x.new_ones(x.shape[0], 1, x.shape[2])
    for k, (weight, bias) in enumerate(network.layers()):
        x = x.relu() if k else x
        x = Multiply.apply(torch.cat([weight, bias], dim=2), torch.cat([x, one], dim=1), "OVER_ROWS")
    return x
