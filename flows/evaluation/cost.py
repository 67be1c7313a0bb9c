"""The cost of a model, counted rather than timed: the same numbers on every machine."""

from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flows.core.arrays import Array
from flows.core.seeds import numpy_generators
from flows.networks.backend import backend
from flows.networks.network_population import NetworkPopulation

SETTLED = 0.05  # distance in nats at which a test NLL counts as converged
BATCHES = 4  # several, because the steps of a GAN differ
aten = torch.ops.aten
# Matrix products, and the index of the argument that is the left factor
PRODUCTS = {aten.mm: 0, aten.bmm: 0, aten.addmm: 1, aten.baddbmm: 1}


class Products(TorchDispatchMode):
    """A counter of the operations of matrix products: 2 I J K for ``(I, J)`` by ``(J, K)``.

    ``flops`` counts inside a ``with`` block. Torch's own counter imports its compiler, which takes
    a second.
    """

    flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:  # otherwise, the mode imports that compiler too
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in PRODUCTS:
            self.flops += 2 * result.numel() * args[PRODUCTS[func.overloadpacket]].shape[-1]
        return result


def flops_per_epoch(population: NetworkPopulation, rows: int) -> float:
    """Return the number of floating-point operations of one member in an epoch of ``rows`` points.

    Only operations of matrix products are counted, in the forward and backward passes.
    """
    points = torch.zeros(population.members, *population.event_shape, rows, dtype=population.dtype)
    # Their numbers do not matter
    generators = numpy_generators(0, "train", population.member_range)
    with Products() as products, backend.reference_code():  # operations in C are not counted
        objective = population.objective(points, generators)
        for batch in points.tensor_split(BATCHES, dim=-1):
            objective(batch)
    return products.flops / population.members


def flops_per_sample(population: NetworkPopulation, count: int = 100) -> float:
    """Return the floating-point operations of the matrix products of one sample of one member."""
    with Products() as products, backend.reference_code(), torch.no_grad():
        population.generate(count, numpy_generators(0, "sample", [0])[0])
    return products.flops / (population.members * count)


def epochs_to_converge(epochs: Array, test_nll: Array) -> Array:
    """Return the first logged epoch from which a test NLL stays near its final value, ``(M,)``.

    Args:
        epochs: the logged epochs, ``(L,)``.
        test_nll: the test NLL of each member at these epochs, ``(L, M)``, in nats.

    A value is near the final value if the difference is at most 0.05 nat. The result is ``NaN`` if
    the final value is not finite.
    """
    with np.errstate(invalid="ignore"):  # infinities of a member that diverged
        away = ~(np.abs(test_nll - test_nll[-1]) <= SETTLED)  # also true where a value is NaN
    away[-1] = False
    first = len(epochs) - np.argmax(away[::-1], axis=0)  # one past the last epoch that is away
    first = np.where(away.any(axis=0), first, 0)
    return np.where(np.isfinite(test_nll[-1]), np.asarray(epochs, dtype=np.float64)[first], np.nan)
