"""Ways to regularise a network, from which the automatic recipe chooses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Regularisation:
    """A way to regularise: the preprocessing, the noise, and the lasso.

    The noise of a population with a context moves only the points y, not the context x.
    """

    preprocessing: str  # "margins" or "whiten", or "raw" for neither
    noise: float  # its level (``noise.py``)
    lasso: float = 0.0  # the strength of the group lasso (``lasso.py``)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, without a lasso of 0."""
        return {key: value for key, value in asdict(self).items() if value}


REGULARISATIONS = (
    *(Regularisation("margins", noise) for noise in (1.2, 0.8, 0.5)),
    Regularisation("margins", 0.35, lasso=1.0),
    *(Regularisation("margins", noise) for noise in (0.2, 0.12)),
    *(Regularisation("whiten", noise) for noise in (1.0, 0.7, 0.35)),
    Regularisation("raw", 0.5),
)

# For p(y | x): the whitening leaves the residuals of y's regression on x
TARGET_REGULARISATIONS = tuple(
    Regularisation(preprocessing, noise, lasso)
    for preprocessing in ("whiten", "margins", "raw")
    for noise in (0.05, 0.1, 0.2)
    for lasso in (1.0, 2.0, 4.0, 8.0)
)
