"""The candidates of the automatic recipe: ways to regularise a fit to a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A way to regularise: the preprocessing, the noise, and the lasso.

    The noise of a population with a context moves only the points y, not the context x.
    """

    preprocessing: str  # "margins" or "whiten", or "raw" for neither
    level: float  # of the noise (``noise.py``)
    lasso: float = 0.0  # the strength of the group lasso (``lasso.py``)

    def __str__(self) -> str:
        lasso = f", lasso {self.lasso:g}" if self.lasso else ""
        return f"{self.preprocessing}, noise {self.level:g}{lasso}"


CANDIDATES = (
    *(Candidate("margins", level) for level in (1.2, 0.8, 0.5)),
    Candidate("margins", 0.35, lasso=1.0),
    *(Candidate("margins", level) for level in (0.2, 0.12)),
    *(Candidate("whiten", level) for level in (1.0, 0.7, 0.35)),
    Candidate("raw", 0.5),
)

# For p(y | x): the whitening leaves the residuals of y's regression on x
TARGET_CANDIDATES = tuple(
    Candidate(preprocessing, level, lasso)
    for preprocessing in ("whiten", "margins", "raw")
    for level in (0.05, 0.1, 0.2)
    for lasso in (1.0, 2.0, 4.0, 8.0)
)
