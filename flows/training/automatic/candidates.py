"""The candidates of the automatic recipe: ways to regularise by noise adapted to a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A way to regularise: the preprocessing, and the level of the noise (``noise.py``)."""

    preprocessing: str  # "margins" or "whiten", or "raw" for neither
    level: float

    def __str__(self) -> str:
        return f"{self.preprocessing}, noise {self.level:g}"


CANDIDATES = (
    *(Candidate("margins", level) for level in (1.2, 0.8, 0.5, 0.35, 0.2, 0.12)),
    *(Candidate("whiten", level) for level in (1.0, 0.7, 0.35)),
    Candidate("raw", 0.5),
)
