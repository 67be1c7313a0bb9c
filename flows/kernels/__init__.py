"""The compiled kernels: the chain of a flow, its loss and gradient, and the optimiser's step.

They are in ``chain.c``. The PyTorch code defines their results, and
``flows/networks/backend.py`` selects between C and PyTorch.
"""

from collections.abc import Sequence
from ctypes import addressof
from typing import Any

import torch
from torch import Tensor, nn

from flows.bijections import Bijection
from flows.kernels.batched import perceptron
from flows.kernels.build import call
from flows.kernels.interface import Adam, Chain, Layer, filled
from flows.kernels.layers import Fields, describe
from flows.kernels.smooth import regression, velocity, velocity_and_divergence

__all__ = [
    "Program",
    "clipped_adam",
    "perceptron",
    "program",
    "regression",
    "velocity",
    "velocity_and_divergence",
]


class Program:
    """Compiled layers, from data to noise.

    PyTorch does not differentiate through them: ``loss`` computes and returns the gradient itself.
    Both methods raise ``MemoryError`` if the system refuses a thread its working memory.

    Args:
        layers: the fields of each layer (``describe`` of ``layers.py``).
    """

    def __init__(self, layers: Sequence[Fields]) -> None:
        self.layers = layers
        self.tensors = [x for fields in layers for x in fields.values() if isinstance(x, Tensor)]
        self._pointers: list[int] | None = None
        self._table: Any = None
        self._size = 0  # parameters per member
        self._gradient: Tensor | None = None

    def apply(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Map ``x`` ``(M, D, N)`` from data to noise or, with ``inverse``, back.

        Return the mapped points ``(M, D, N)`` and the sum of the log-determinants ``(M, N)``.
        """
        x = x.detach().contiguous()
        out, log_det = torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2])
        call("chain_apply", self._chain(x), inverse, x, out, log_det)
        return out, log_det

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean negative log-likelihood of ``x`` ``(M, D, N)``, and its gradient.

        The base is standard normal. The loss is ``(M,)`` in double precision. The gradient
        ``(M, P)`` is with respect to the parameters of all layers, one layer after another. The
        next call overwrites it.
        """
        x = x.detach().contiguous()
        chain, loss = self._chain(x), x.new_empty(len(x), dtype=torch.float64)
        # New memory at every step would cost as much as the optimiser
        if self._gradient is None or len(self._gradient) != len(x):
            self._gradient = x.new_empty(len(x), self._size)
        call("chain_loss", chain, x, loss, self._gradient)
        return loss, self._gradient

    def _chain(self, x: Tensor) -> Any:
        members, dim, points = x.shape
        pointers = [tensor.data_ptr() for tensor in self.tensors]
        if pointers != self._pointers:  # the first call, or tensors have moved
            # There are no gaps within a member. There may be gaps between members, because
            # parameters may be views of one tensor.
            assert all(x.dtype == torch.float32 and x[0].is_contiguous() for x in self.tensors)
            layers, self._size = [], 0
            for fields in self.layers:
                layers.append(filled(Layer, gradient=self._size, **fields))
                parameters = (x for x in fields.values() if isinstance(x, nn.Parameter))
                self._size += sum(x[0].numel() for x in parameters)
            self._pointers, self._table = pointers, (Layer * len(layers))(*layers)
        numbers = {"count": len(self.layers), "size": self._size}
        numbers |= {"members": members, "dim": dim, "points": points}
        return Chain(layers=addressof(self._table), threads=torch.get_num_threads(), **numbers)


def program(bijections: Sequence[Bijection]) -> Program | None:
    """Return the bijections, from data to noise, as one compiled operation.

    Return ``None`` if one of them has no compiled version.
    """
    layers = [layer for bijection in bijections if (layer := describe(bijection)) is not None]
    return Program(layers) if len(layers) == len(bijections) else None


def clipped_adam(**fields: Any) -> None:
    """Take one step of ``ClippedAdam`` (``flows/training/optimizer.py``).

    ``fields`` are the fields of ``Adam`` in ``chain.h``. Tensors are ``(M, P)`` without gaps.
    """
    members, size = fields["parameters"].shape
    threads = torch.get_num_threads()
    call("clipped_adam", filled(Adam, members=members, size=size, threads=threads, **fields))
