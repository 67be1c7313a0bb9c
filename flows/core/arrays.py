"""Array types, and the conversion of users' points to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Shape = Sequence[int]  # the shape of an event or of a sample
Array = NDArray[np.float64]
Whole = NDArray[np.int64]
Mask = NDArray[np.bool_]
ArrayOrTensor = TypeVar("ArrayOrTensor", bound="NDArray[Any] | Tensor")

IN_CACHE = 400_000  # numbers of an array that stays in the cache of a core between operations


def rounded(values: Any, digits: int = 9) -> Array:
    """Return ``values`` rounded to ``digits`` significant digits, in double precision.

    Results computed in double precision agree across machines to more than nine digits.
    """
    values = np.asarray(values, dtype=np.float64)
    numbers = [float(f"{value:.{digits}g}") for value in values.ravel().tolist()]
    return np.array(numbers).reshape(values.shape)


def subsample(rows: ArrayOrTensor, most: int) -> ArrayOrTensor:
    """Return at most ``most`` rows, evenly spaced from the first to the last.

    ``rows`` ``(n, ...)`` is an array or a tensor. It is returned unchanged if n is at most
    ``most``.
    """
    if len(rows) <= most:
        return rows
    few: Any = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    return few


def as_points(rows: Array) -> Tensor:
    """Return rows ``(n, D)`` as the points ``(1, D, n)`` of one member."""
    import torch

    return torch.from_numpy(rows.T.copy())[None]


def as_rows(points: Tensor) -> Array:
    """Return the points ``(1, D, n)`` of one member as rows ``(n, D)``."""
    return points[0].T.numpy()


def choose(weights: Array, level: Array) -> Whole:
    """Return an index for each row of ``weights`` ``(n, K)``, with these probabilities, ``(n,)``.

    Args:
        weights: weights of at least 0; a row need not sum to 1.
        level: a uniform number from 0 to 1 for each row, ``(n,)``.
    """
    total = weights.cumsum(axis=1)
    return np.asarray((total[:, :-1] < level[:, None] * total[:, -1:]).sum(axis=1))


def as_tensor(points: Any, what: str = "points") -> Tensor:
    """Return ``points`` as a floating-point tensor.

    ``points`` may be a tensor, an array of any numbers or a nested list; integers become double
    precision. ``what`` names them in messages. Raises ``TypeError`` if they are not real numbers,
    and for a data frame, because its column names would be ignored.
    """
    import torch

    if hasattr(points, "columns"):
        raise TypeError(
            f"{what}: a data frame would be read by position; give an array, frame.to_numpy(), or "
            "use flows.fit and flows.Density, which find columns by name"
        )
    try:
        if not isinstance(points, torch.Tensor):
            # Torch does not support read-only arrays, and the values of a table may be read-only
            points = np.require(points, requirements=["C", "W"])
        tensor = torch.as_tensor(points)
    except (TypeError, ValueError):
        kind = getattr(points, "dtype", type(points).__name__)
        raise TypeError(f"{what} must be an array of numbers; got {kind}") from None
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{what} must be real numbers; got {tensor.dtype}")
    return tensor if tensor.is_floating_point() else tensor.double()


def plain(value: Any) -> Any:
    """Return a NumPy number, for example from a grid of parameters, as a Python number."""
    return value.item() if isinstance(value, np.generic) else value
