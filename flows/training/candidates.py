"""The ways to regularise that the found recipe chooses from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flows.core.arrays import Array
from flows.training import components, neighbours, smoothing

NOISES: dict[str, Callable[[Array], smoothing.Noise]] = {
    "neighbours": neighbours.noise,  # of the shape of a row's neighbourhood
    "components": components.noise,  # of the shape of its component of a mixture
    "sharpened": smoothing.noise,  # round, a multiple of the best bandwidth
}


@dataclass(frozen=True)
class Candidate:
    """A way to regularise: what is taken out first, which noise, and how much of it."""

    door: str  # "margins" or "whiten", or "raw" for neither
    noise: str  # of NOISES
    level: float

    def __str__(self) -> str:
        return f"{self.door}, {self.noise} noise {self.level:g}"


CANDIDATES = (
    *(Candidate("margins", "neighbours", level) for level in (1.2, 0.8, 0.5, 0.35, 0.2, 0.12)),
    *(Candidate("whiten", "neighbours", level) for level in (1.0, 0.7, 0.35)),
    Candidate("raw", "neighbours", 0.5),
    *(Candidate("raw", "components", level) for level in (1.0, 0.9)),
    Candidate("raw", "sharpened", 1.5),
)
