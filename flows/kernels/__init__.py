"""The chain of a flow, its loss and gradient, and the optimiser's step, compiled (``chain.c``).

The plain torch code of ``flows/bijections`` is the definition of each, and takes its place where
there is no compiler, for another type than single precision, or where a bijection is not known here
(``layers.py``).
"""

from collections.abc import Sequence
from ctypes import addressof
from typing import Any

import torch
from torch import Tensor, nn

from flows.bijections import Bijection
from flows.kernels.build import call, library, reference_code, usable
from flows.kernels.interface import Adam, Chain, Layer, filled
from flows.kernels.layers import Fields, describe
from flows.kernels.product import perceptron

__all__ = ["Program", "clipped_adam", "perceptron", "program", "reference_code", "usable"]


class Program:
    """Layers from data to noise, ready to run.

    Torch does not differentiate through them: ``loss`` gives the gradient it computes.

    Where the system has no memory for a thread to work in, both raise ``MemoryError``.
    """

    def __init__(self, layers: Sequence[Fields]) -> None:
        self.layers = layers
        self.tensors = [
            value for fields in layers for value in fields.values() if isinstance(value, Tensor)
        ]
        self.sizes = [
            sum(value[0].numel() for value in fields.values() if isinstance(value, nn.Parameter))
            for fields in layers
        ]
        self._pointers: list[int] | None = None
        self._table: Any = None
        self._gradients: tuple[Tensor, Tensor] | None = None  # of the members, and of their parts

    def apply(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """From data to noise or back.

        ``x`` ``(M, D, N)`` to its like, and the sum of the log-determinants ``(M, N)``.
        """
        x = x.detach().contiguous()
        out, log_det = torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2])
        call("chain_apply", self._chain(x), inverse, x, out, log_det)
        return out, log_det

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean negative log-likelihood under a standard normal base, and its gradient.

        Of ``x`` ``(M, D, N)``; the one is ``(M,)`` in double precision, the other ``(M, P)``: by
        the parameters of all layers, one after another. The gradient is good until the next call,
        which writes over it.
        """
        x = x.detach().contiguous()
        members, _, points = x.shape
        parts = library().parts_of(points)
        # New memory at every step costs as much as the optimiser
        if self._gradients is None or self._gradients[1].shape[:2] != (members, parts):
            gradient = x.new_empty(members, sum(self.sizes))
            self._gradients = (
                gradient,
                gradient[:, None] if parts == 1 else x.new_empty(members, parts, sum(self.sizes)),
            )
        gradient, partial = self._gradients
        loss, partial_loss = (
            x.new_empty(members, dtype=torch.float64),
            x.new_empty(members, parts, dtype=torch.float64),
        )
        call("chain_loss", self._chain(x), x, loss, gradient, partial_loss, partial)
        return loss, gradient

    def _chain(self, x: Tensor) -> Any:
        members, dim, points = x.shape
        pointers = [tensor.data_ptr() for tensor in self.tensors]
        if pointers != self._pointers:  # the first call, or tensors have moved
            # Without gaps within a member. Between members there may be some: parameters may be
            # views of one tensor.
            assert all(
                tensor.dtype == torch.float32 and tensor[0].is_contiguous()
                for tensor in self.tensors
            )
            layers = [
                filled(Layer, gradient=sum(self.sizes[:k]), **fields)
                for k, fields in enumerate(self.layers)
            ]
            self._pointers, self._table = pointers, (Layer * len(layers))(*layers)
        numbers = {
            "count": len(self.layers),
            "members": members,
            "dim": dim,
            "points": points,
            "size": sum(self.sizes),
        }
        return Chain(layers=addressof(self._table), threads=torch.get_num_threads(), **numbers)


def program(bijections: Sequence[Bijection]) -> Program | None:
    """The bijections, from data to noise, as one compiled operation.

    ``None`` where one of them is not known.
    """
    layers = [layer for bijection in bijections if (layer := describe(bijection)) is not None]
    return Program(layers) if len(layers) == len(bijections) else None


def clipped_adam(
    parameters: Tensor,
    gradient: Tensor,
    averages: Sequence[Tensor],
    *,
    rate: float,
    clip: float,
    betas: Sequence[float],
    epsilon: float,
    step: int,
) -> None:
    """``ClippedAdam.step`` of ``flows/training/optimizer.py``.

    All tensors are ``(M, P)`` without gaps.
    """
    members, size = parameters.shape
    tensors = {
        "parameters": parameters,
        "gradient": gradient,
        "first": averages[0],
        "second": averages[1],
    }
    numbers = {
        "rate": rate,
        "clip": clip,
        "beta_1": betas[0],
        "beta_2": betas[1],
        "epsilon": epsilon,
    }
    numbers |= {f"correction_{k}": 1 - beta**step for k, beta in enumerate(betas, 1)}
    call(
        "clipped_adam",
        filled(
            Adam, members=members, size=size, threads=torch.get_num_threads(), **tensors, **numbers
        ),
    )
