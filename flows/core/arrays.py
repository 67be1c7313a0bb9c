"""What NumPy and torch exchange: the type of an array, and users' points as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Shape = Sequence[int]  # of an event, or of a sample
Array = NDArray[np.float64]
Whole = NDArray[np.int64]


def rounded(values: Any) -> Array:
    """``values`` to nine digits.

    What is computed in double precision comes out the same on every machine to more than these.
    """
    values = np.asarray(values, dtype=np.float64)
    return np.array([float(f"{value:.9g}") for value in values.ravel().tolist()]).reshape(
        values.shape
    )


def as_tensor(points: Any, what: str = "points") -> Tensor:
    """``points`` (a tensor, an array of any numbers, a nested list) as a floating tensor.

    Raises ``TypeError`` where they are not numbers. Integers become double precision.
    """
    import torch

    try:
        if not isinstance(points, torch.Tensor):
            # Torch has no word for what can't be written to, as a table's values
            points = np.require(points, requirements=["C", "W"])
        tensor = torch.as_tensor(points)
    except (TypeError, ValueError):
        kind = getattr(points, "dtype", type(points).__name__)
        raise TypeError(f"{what} must be an array of numbers; got {kind}") from None
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{what} must be real numbers; got {tensor.dtype}")
    return tensor if tensor.is_floating_point() else tensor.double()
