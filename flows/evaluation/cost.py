"""What a model costs, counted rather than timed, so that the numbers are the same on every machine."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from flows.core.arrays import Array
from flows.core.seeds import numpy_generators
from flows.networks import kernels
from flows.networks.network import Network

SETTLED = 0.05  # nat


def flops_per_epoch(model: Network, rows: int) -> float:
    """Floating-point operations of one member's pass over ``rows`` points, forward and backward: its matrix products."""
    points = torch.zeros(model.members, *model.event_shape, rows, dtype=model.dtype)
    generators = numpy_generators(0, "train", model.member_range)  # their numbers don't count
    with FlopCounterMode(display=False) as counter, kernels.reference_code():  # compiled, the products can't be seen
        model.objective(points, generators)(points)
    return counter.get_total_flops() / model.members


def epochs_to_converge(epochs: Array, test_nll: Array) -> Array:
    """Per member, the first logged epoch from which the test NLL stays within 0.05 nat of its final value; ``NaN`` if that isn't finite.

    ``epochs`` ``(L,)``, ``test_nll`` ``(L, M)``; gives ``(M,)``.
    """
    with np.errstate(invalid="ignore"):  # infinities of a member that diverged
        away = ~(np.abs(test_nll - test_nll[-1]) <= SETTLED)  # also true where a value is NaN
    away[-1] = False
    first = len(epochs) - np.argmax(away[::-1], axis=0)  # one past the last epoch that is away
    first = np.where(away.any(axis=0), first, 0)
    return np.where(np.isfinite(test_nll[-1]), np.asarray(epochs, dtype=np.float64)[first], np.nan)
