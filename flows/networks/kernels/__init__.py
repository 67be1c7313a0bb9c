"""The chain of a flow, its loss and gradient, and the optimiser's step, compiled (``chain.c``).

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

from flows.networks.kernels import build
from flows.networks.kernels.build import plain

__all__ = ["Layer", "Program", "clipped_adam", "plain", "program", "usable"]


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels take these tensors: single precision, on the CPU, and a compiler was found."""
    return all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors) and build.library() is not None


@dataclass(frozen=True)
class Layer:
    """A bijection as the chain sees it: which, with its ``parameters`` and ``buffers``, all ``(M, ...)``. The rest is for couplings."""

    kind: str
    parameters: tuple[Tensor, ...]
    buffers: tuple[Tensor, ...] = ()
    hidden: int = 0
    outputs: int = 0
    kept: range = range(0)
    changed: range = range(0)
    bins: int = 0
    bound: float = 0.0
    least_bin: float = 0.0
    least_slope: float = 0.0
    slope_shift: float = 0.0


class Program:
    """Layers from data to noise, ready to run. Torch does not differentiate through them: ``loss`` gives the gradient it computes."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.tensors = [tensor for layer in layers for tensor in (*layer.parameters, *layer.buffers)]
        self.size = sum(parameter[0].numel() for layer in layers for parameter in layer.parameters)
        self._pointers: list[int] = []
        self._table: Any = None

    def apply(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """From data to noise or back: ``x`` ``(M, D, N)`` to its like, and the sum of the log-determinants ``(M, N)``."""
        x = x.detach().contiguous()
        out, log_det = torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2])
        _library().chain_apply(byref(self._chain(x)), inverse, x.data_ptr(), out.data_ptr(), log_det.data_ptr())
        return out, log_det

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean negative log-likelihood of ``x`` ``(M, D, N)`` under a standard normal base, ``(M,)`` in double precision, and its
        gradient ``(M, P)``: by the parameters of all layers, one after another.
        """
        x = x.detach().contiguous()
        members, _, points = x.shape
        parts = _library().parts_of(points)
        loss, gradient = x.new_empty(members, dtype=torch.float64), x.new_empty(members, self.size)
        partial_loss, partial = x.new_empty(members, parts, dtype=torch.float64), x.new_empty(members, parts, self.size)
        pointers = [tensor.data_ptr() for tensor in (x, loss, gradient, partial_loss, partial)]
        _library().chain_loss(byref(self._chain(x)), *pointers)
        return loss, gradient

    def _chain(self, x: Tensor) -> build.Chain:
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
            # Without gaps within a member. Between members there may be some: parameters may be views of one tensor.
            assert all(tensor.dtype == torch.float32 and tensor[0].is_contiguous() for tensor in tensors)
            entry.kind = build.KINDS.index(layer.kind)
            entry.kept, entry.kept_at, entry.changed_at = len(layer.kept), layer.kept.start, layer.changed.start
            for name in ("outputs", "hidden", "bins", "bound", "least_bin", "least_slope", "slope_shift"):
                setattr(entry, name, getattr(layer, name))
            entry.gradient = start
            entry.tensors[: len(tensors)] = [tensor.data_ptr() for tensor in tensors]
            entry.strides[: len(tensors)] = [tensor.stride(0) for tensor in tensors]
            start += sum(parameter[0].numel() for parameter in layer.parameters)
        return table


def clipped_adam(
    parameters: Tensor,
    gradient: Tensor,
    averages: tuple[Tensor, Tensor],
    *,
    rate: float,
    clip: float,
    betas: tuple[float, float],
    epsilon: float,
    step: int,
) -> None:
    """``ClippedAdam.plain_step`` of ``flows/training.py``; all tensors ``(M, P)`` without gaps."""
    pointers = [tensor.data_ptr() for tensor in (parameters, gradient, *averages)]
    corrections = [1 - beta**step for beta in betas]
    _library().clipped_adam(*parameters.shape, *pointers, rate, clip, *betas, epsilon, *corrections, torch.get_num_threads())


def _library() -> Any:
    found = build.library()
    assert found is not None, "usable() is asked first"
    return found


def program(chain):
    layers = [layer for bijection in chain if (layer := bijection.compiled()) is not None]
    return Program(layers) if len(layers) == len(chain) else None
