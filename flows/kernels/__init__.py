"""The compiled kernels: the chain of a flow, its loss and gradient, and the optimiser's step.

They are in ``chain.c``. The plain torch code of ``flows/bijections`` is the definition of each, and
takes its place where there is no compiler, for another type than single precision, or for a
bijection that the chain does not know (``layers.py``).
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
    """Compiled layers from data to noise.

    Torch does not differentiate through them: ``loss`` returns the gradient that it computes. Both
    methods raise ``MemoryError`` where the system has no memory for a thread to work in.
    """

    def __init__(self, layers: Sequence[Fields]) -> None:
        self.layers = layers
        tensors = [[x for x in fields.values() if isinstance(x, Tensor)] for fields in layers]
        self.tensors = [tensor for own in tensors for tensor in own]
        self.sizes = [
            sum(x[0].numel() for x in own if isinstance(x, nn.Parameter)) for own in tensors
        ]
        self._pointers: list[int] | None = None
        self._table: Any = None
        self._gradients: tuple[Tensor, Tensor] | None = None  # of the members, and of their parts

    def apply(self, x: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Map ``x`` ``(M, D, N)`` from data to noise or, with ``inverse``, back.

        Return the mapped points, and the sum of the log-determinants ``(M, N)``.
        """
        x = x.detach().contiguous()
        out, log_det = torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2])
        call("chain_apply", self._chain(x), inverse, x, out, log_det)
        return out, log_det

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean negative log-likelihood of ``x`` ``(M, D, N)``, and its gradient.

        The base is standard normal. The loss is ``(M,)`` in double precision; the gradient
        ``(M, P)`` is by the parameters of all layers, one after another. It is valid until the next
        call, which writes over it.
        """
        x = x.detach().contiguous()
        members, _, points = x.shape
        parts = library().parts_of(points)
        # New memory at every step costs as much as the optimiser
        if self._gradients is None or self._gradients[1].shape[:2] != (members, parts):
            partial = x.new_empty(members, parts, sum(self.sizes))
            gradient = partial[:, 0] if parts == 1 else x.new_empty(members, sum(self.sizes))
            self._gradients = gradient, partial
        gradient, partial = self._gradients
        loss = x.new_empty(members, dtype=torch.float64)
        partial_loss = loss.new_empty(members, parts)
        call("chain_loss", self._chain(x), x, loss, gradient, partial_loss, partial)
        return loss, gradient

    def _chain(self, x: Tensor) -> Any:
        members, dim, points = x.shape
        pointers = [tensor.data_ptr() for tensor in self.tensors]
        if pointers != self._pointers:  # the first call, or tensors have moved
            # There are no gaps within a member. There may be some between members, as parameters
            # may be views of one tensor.
            assert all(x.dtype == torch.float32 and x[0].is_contiguous() for x in self.tensors)
            places = [sum(self.sizes[:k]) for k in range(len(self.sizes))]
            own = zip(places, self.layers, strict=True)
            layers = [filled(Layer, gradient=place, **fields) for place, fields in own]
            self._pointers, self._table = pointers, (Layer * len(layers))(*layers)
        numbers = {"count": len(self.layers), "size": sum(self.sizes)}
        numbers |= {"members": members, "dim": dim, "points": points}
        return Chain(layers=addressof(self._table), threads=torch.get_num_threads(), **numbers)


def program(bijections: Sequence[Bijection]) -> Program | None:
    """Return the bijections, from data to noise, as one compiled operation.

    The result is ``None`` where one of them is not known.
    """
    layers = [layer for bijection in bijections if (layer := describe(bijection)) is not None]
    return Program(layers) if len(layers) == len(bijections) else None


def clipped_adam(**fields: Any) -> None:
    """Take one step of ``ClippedAdam`` (``flows/training/optimizer.py``).

    ``fields`` are those of ``Adam`` in ``chain.h``; its tensors are ``(M, P)`` without gaps.
    """
    members, size = fields["parameters"].shape
    threads = torch.get_num_threads()
    call("clipped_adam", filled(Adam, members=members, size=size, threads=threads, **fields))
