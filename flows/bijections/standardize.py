"""Standardisation as a bijection, so that densities are always in the units of the user's data."""

import numpy as np
import torch
from torch import Tensor

from flows.bijections.bijection import Bijection
from flows.core.arrays import Shape
from flows.core.scaler import Scaler


class Standardize(Bijection):
    """A fixed affine map per feature, with the mean ``m`` and the deviation ``s`` of a ``Scaler``::

        forward:  z = (x - m) / s       log_det = -sum_d log s_d
        inverse:  x = m + s z           log_det = +sum_d log s_d

    ``m`` and ``s`` are buffers ``(M, *event, 1)``, which are saved with the model and not trained.
    They are in double precision; in single precision, a column far from 0 would lose its digits.
    The map is the identity until ``set`` is called.

    Args:
        event_shape: the shape of a point.
        members: the number of members M.
        context: the number of first features whose scales do not count in the log-determinant.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, event_shape: Shape, members: int, context: int = 0) -> None:
        super().__init__()
        self.context = context
        self.register_buffer("mean", torch.zeros(members, *event_shape, 1, dtype=torch.float64))
        self.register_buffer("deviation", torch.ones(members, *event_shape, 1, dtype=torch.float64))

    @torch.no_grad()
    def set(self, scaler: Scaler) -> None:
        """Use the moments of ``scaler``, ``(*event)`` or ``(M or 1, *event)``."""
        for buffer, values in ((self.mean, scaler.mean), (self.deviation, scaler.deviation)):
            rows = torch.from_numpy(np.asarray(values)).reshape(-1, *buffer.shape[1:])
            buffer.copy_(rows.expand_as(buffer))

    @property
    def scaler(self) -> Scaler:
        """The moments as a ``Scaler``: ``(M, *event)``, or ``(1, *event)`` if all are equal."""
        mean, deviation = (x[..., 0].cpu().numpy() for x in (self.mean, self.deviation))
        if (mean == mean[:1]).all() and (deviation == deviation[:1]).all():
            return Scaler(mean[:1], deviation[:1])
        return Scaler(mean, deviation)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.mean) / self.deviation, -self._log_scale()

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean + self.deviation * z, self._log_scale()

    def _log_scale(self) -> Tensor:
        return self.deviation[:, self.context :].log().flatten(1).sum(1, keepdim=True)
