"""The candidates of the automatic recipe: ways to regularise by noise adapted to a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A way to regularise: the preprocessing, the kind of noise (``noise.py``), and its level."""

    preprocessing: str  # "margins" or "whiten", or "raw" for neither
    noise: str  # a key of NOISES
    level: float

    def __str__(self) -> str:
        return f"{self.preprocessing}, {self.noise} noise {self.level:g}"


CANDIDATES = (
    *(Candidate("margins", "neighbours", level) for level in (1.2, 0.8, 0.5, 0.35, 0.2, 0.12)),
    *(Candidate("whiten", "neighbours", level) for level in (1.0, 0.7, 0.35)),
    Candidate("raw", "neighbours", 0.5),
    *(Candidate("raw", "components", level) for level in (1.0, 0.9)),
)
