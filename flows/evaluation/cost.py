"""What a model costs, counted rather than timed.

So the numbers are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flows import kernels
from flows.core.arrays import Array
from flows.core.seeds import numpy_generators
from flows.networks.network import Network

SETTLED = 0.05  # nat
BATCHES = 4  # not every step of a GAN does the same
# And where the left factor stands
PRODUCTS = {
    torch.ops.aten.mm: 0,
    torch.ops.aten.bmm: 0,
    torch.ops.aten.addmm: 1,
    torch.ops.aten.baddbmm: 1,
}


class Products(TorchDispatchMode):
    """Inside, ``flops`` counts the matrix products: 2 I J K of ``(I, J)`` by ``(J, K)``.

    What torch has for it imports its compiler, a second.
    """

    flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:  # or the mode imports that compiler too
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in PRODUCTS:
            self.flops += 2 * result.numel() * args[PRODUCTS[func.overloadpacket]].shape[-1]
        return result


def flops_per_epoch(model: Network, rows: int) -> float:
    """Floating-point operations of one member's pass over ``rows`` points, forward and backward.

    Its matrix products.
    """
    points = torch.zeros(model.members, *model.event_shape, rows, dtype=model.dtype)
    generators = numpy_generators(0, "train", model.member_range)  # their numbers don't count
    with Products() as products, kernels.reference_code():  # compiled, they can't be seen
        objective = model.objective(points, generators)
        for batch in points.tensor_split(BATCHES, dim=-1):
            objective(batch)
    return products.flops / model.members


def epochs_to_converge(epochs: Array, test_nll: Array) -> Array:
    """Per member, the first logged epoch from which the test NLL stays near its final value.

    Within 0.05 nat of it; ``NaN`` if that isn't finite.

    ``epochs`` ``(L,)``, ``test_nll`` ``(L, M)``; gives ``(M,)``.
    """
    with np.errstate(invalid="ignore"):  # infinities of a member that diverged
        away = ~(np.abs(test_nll - test_nll[-1]) <= SETTLED)  # also true where a value is NaN
    away[-1] = False
    first = len(epochs) - np.argmax(away[::-1], axis=0)  # one past the last epoch that is away
    first = np.where(away.any(axis=0), first, 0)
    return np.where(np.isfinite(test_nll[-1]), np.asarray(epochs, dtype=np.float64)[first], np.nan)
