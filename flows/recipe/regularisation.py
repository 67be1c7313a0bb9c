"""Ways to regularise a network, from which the automatic recipe chooses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Regularisation:
    """A way to regularise: the preprocessing, the noise, and the lasso.

    The noise of a population with a context moves only the points y, not the context x.
    """

    preprocessing: str  # "margins", "whiten" or "process", or "raw" for none
    noise: float  # its level (``noise.py``)
    lasso: float = 0.0  # the strength of the group lasso (``lasso.py``)
    is_separate: bool = False  # whether the noise of a column does not depend on other columns
    sees_labels: bool = True  # whether the network is given the labels, if they are its context

    @property
    def settings(self) -> dict[str, Any]:
        """The preprocessing, the noise and a lasso above 0, and whether labels are not seen."""
        numbers = {key: value for key, value in asdict(self).items() if value and value is not True}
        return numbers if self.sees_labels else {**numbers, "labels": "unseen"}


REGULARISATIONS = (
    *(Regularisation("margins", noise) for noise in (1.2, 0.8, 0.5)),
    Regularisation("margins", 0.35, lasso=1.0),
    *(Regularisation("margins", noise) for noise in (0.2, 0.12)),
    *(Regularisation("whiten", noise) for noise in (1.0, 0.7, 0.35)),
    Regularisation("raw", 0.5),
)

# For numbers given labels: with few rows, a network that does not see the labels may be better
LABEL_REGULARISATIONS = (
    *REGULARISATIONS,
    *(replace(REGULARISATIONS[k], sees_labels=False) for k in (1, 3, 4, 7)),
)

# For p(y | x): the whitening leaves the residuals of y's regression on x, and the processes leave
# standardised residuals
TARGET_REGULARISATIONS = tuple(
    Regularisation(preprocessing, noise, lasso, is_separate=True)
    for preprocessing in ("process", "whiten", "margins", "raw")
    for noise in (0.05, 0.1, 0.2)
    for lasso in (1.0, 2.0, 4.0, 8.0)
)

# The ways in which a conditional flow learns numbers given labels
COLUMN_REGULARISATIONS = tuple(
    each
    for each in TARGET_REGULARISATIONS
    if each.preprocessing != "process" and each.noise > 0.05 and each.lasso in (2.0, 8.0)
)
