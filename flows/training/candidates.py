"""The ways to regularise that the found recipe chooses from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flows.core.arrays import Array
from flows.training.smoothing import likelihood_bandwidth, sharpen


@dataclass(frozen=True)
class Candidate:
    """A way to regularise: what is taken out first, which noise, and how much of it."""

    door: str  # "margins" or "whiten", or "raw" for neither
    noise: str  # "neighbours": a multiple of the neighbourhood (neighbours.py); "sharpened": of the best bandwidth (smoothing.py)
    level: float

    def __str__(self) -> str:
        return f"{self.door}, {self.noise} noise {self.level:g}"

    def visits(self, points: Array, mean: Array, factor: Array) -> tuple[Tensor, Tensor]:
        """What training visits for ``points`` ``(n, D)``: centres ``(n, D)``, and factors of the noise, ``(n, D, D)`` or ``(1, D, D)``.

        ``mean`` and ``factor`` are of their ``neighbourhoods``.
        """
        if self.noise == "neighbours":
            return torch.from_numpy(points + self.level**2 / 2 * mean).float(), torch.from_numpy(self.level * factor).float()
        level = self.level * likelihood_bandwidth(points)
        return torch.from_numpy(sharpen(points, level, 1.0)).float(), level * torch.eye(points.shape[1])[None]


CANDIDATES = (
    *(Candidate("margins", "neighbours", level) for level in (1.2, 0.8, 0.5, 0.35, 0.2, 0.12)),
    *(Candidate("whiten", "neighbours", level) for level in (1.0, 0.7, 0.35)),
    Candidate("raw", "neighbours", 0.5),
    Candidate("raw", "sharpened", 1.5),
)
