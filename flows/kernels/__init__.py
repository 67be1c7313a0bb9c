"""The chain of a flow, and the conditioner alone, as compiled operations that torch can differentiate (``chain.c``).

The plain torch code of ``flows/bijections`` is the definition of each, and takes its place where there is no compiler, or for another
type than single precision. A bijection that the chain knows says so by ``compiled()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from flows.kernels import build
from flows.kernels.build import plain

__all__ = ["Layer", "Program", "conditioner", "plain", "usable"]


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels take these tensors: single precision, on the CPU, and a compiler was found."""
    return all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors) and build.library() is not None


def conditioner(x: Tensor, theta: Tensor, hidden: int, outputs: int) -> Tensor:
    """The perceptrons with the parameters ``theta`` ``(M, size)`` at ``x`` ``(M, inputs, N)``: ``(M, outputs, N)``."""
    result: Tensor = _Conditioner.apply(x, theta, hidden, outputs)
    return result


@dataclass(frozen=True)
class Layer:
    """A bijection as the chain sees it: which, with its ``parameters`` and ``buffers``, all ``(M, ...)``. The rest is for couplings."""

    kind: str
    parameters: tuple[Tensor, ...]
    buffers: tuple[Tensor, ...] = ()
    hidden: int = 0
    kept: range = range(0)
    changed: range = range(0)
    bound: float = 0.0


class Program:
    """Layers from data to noise, ready to run.

    With ``flat``, a tensor ``(M, P)`` of which the layers' parameters are views, one after another, gradients go to it as a whole.
    """

    def __init__(self, layers: Sequence[Layer], flat: Tensor | None) -> None:
        self.layers = layers
        self.parameters = [parameter for layer in layers for parameter in layer.parameters]
        self.differentiated = self.parameters if flat is None else [flat]
        self.tensors = [tensor for layer in layers for tensor in (*layer.parameters, *layer.buffers)]
        self.size = sum(parameter[0].numel() for parameter in self.parameters)
        self._pointers: list[int] = []
        self._table: Any = None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From data to noise: ``x`` ``(M, D, N)`` to ``z``, and the sum of the log-determinants ``(M, N)``."""
        if torch.is_grad_enabled():
            result: tuple[Tensor, Tensor] = _Chain.apply(self, x, *self.differentiated)
            return result
        return self.run(x.contiguous(), inverse=False)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """From noise to data. Has no gradient."""
        return self.run(z.detach().contiguous(), inverse=True)

    def run(self, x: Tensor, *, inverse: bool, states: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, log_det = torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2])
        kept = None if states is None else states.data_ptr()
        _library().chain_apply(byref(self.chain(x)), inverse, x.data_ptr(), out.data_ptr(), log_det.data_ptr(), kept)
        return out, log_det

    def chain(self, x: Tensor) -> build.Chain:
        members, dim, points = x.shape
        pointers = [tensor.data_ptr() for tensor in self.tensors]
        if pointers != self._pointers:  # the first call, or tensors have moved
            self._pointers, self._table = pointers, self._layers()
        return build.Chain(self._table, len(self.layers), members, dim, torch.get_num_threads(), points, self.size)

    def _layers(self) -> Any:
        table = (build.Layer * len(self.layers))()
        start = 0
        for entry, layer in zip(table, self.layers, strict=True):
            tensors = (*layer.parameters, *layer.buffers)
            for tensor in tensors:
                # Without gaps within a member. Between members there may be some.
                assert tensor.dtype == torch.float32
                assert tensor[0].is_contiguous()
            entry.kind = build.KINDS.index(layer.kind)
            entry.kept, entry.outputs, entry.hidden = len(layer.kept), 2 * len(layer.changed), layer.hidden
            entry.kept_at, entry.changed_at, entry.bound = layer.kept.start, layer.changed.start, layer.bound
            entry.gradient = start
            entry.tensors[: len(tensors)] = [tensor.data_ptr() for tensor in tensors]
            entry.strides[: len(tensors)] = [tensor.stride(0) for tensor in tensors]
            start += sum(parameter[0].numel() for parameter in layer.parameters)
        return table


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, program: Program, x: Tensor, *differentiated: Tensor) -> tuple[Tensor, Tensor]:
        x = x.contiguous()
        ctx.program = program
        states = x.new_empty(len(program.layers), *x.shape)  # what every layer receives
        ctx.save_for_backward(states, *differentiated)
        return program.run(x, inverse=False, states=states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor, dlog_det: Tensor) -> tuple[Tensor | None, ...]:
        states, *differentiated = ctx.saved_tensors
        program, dz, dlog_det = ctx.program, dz.contiguous(), dlog_det.contiguous()
        members, points = dlog_det.shape
        dx, gradient = torch.empty_like(dz), dz.new_empty(members, program.size)
        partial = dz.new_empty(members, _library().parts_of(points), program.size)
        pointers = [tensor.data_ptr() for tensor in (states, dz, dlog_det, dx, gradient, partial)]
        _library().chain_backward(byref(program.chain(dz)), *pointers)
        if len(differentiated) == 1:
            return None, dx, gradient.view(differentiated[0].shape)
        parts = gradient.split([parameter[0].numel() for parameter in differentiated], dim=1)
        return None, dx, *(part.reshape(parameter.shape) for part, parameter in zip(parts, differentiated, strict=True))


class _Conditioner(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor, hidden: int, outputs: int) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, theta)
        ctx.sizes = x.shape[0], x.shape[1], outputs, hidden, x.shape[2]
        y = x.new_empty(x.shape[0], outputs, x.shape[2])
        _library().conditioner(*ctx.sizes, theta.data_ptr(), theta.stride(0), x.data_ptr(), y.data_ptr(), torch.get_num_threads())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, theta = ctx.saved_tensors
        dy, dx, (members, size) = dy.contiguous(), torch.empty_like(x), theta.shape
        gradient = theta.new_empty(members, size)
        partial = theta.new_empty(members, _library().parts_of(x.shape[2]), size)
        pointers = [tensor.data_ptr() for tensor in (x, dy, dx, gradient, partial)]
        _library().conditioner_backward(*ctx.sizes, theta.data_ptr(), theta.stride(0), *pointers, size, torch.get_num_threads())
        return dx, gradient, None, None


def _library() -> Any:
    found = build.library()
    assert found is not None, "usable() is asked first"
    return found
