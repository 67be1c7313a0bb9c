"""When the drawing of unknown values ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ENOUGH = 100  # effective draws
MOST = 8_192  # draws of a row, at most
# Standard error of the log-probability of conditions at which draws end; for a ratio of two, 2%
ERROR = 0.014


def log_evidence_error(effective: float, draws: int) -> float:
    """Return the standard error of the ensemble's log-evidence in nats, by the delta method::

        error^2 = 1 / effective - 1 / draws

    Args:
        effective: the effective number of the draws; with 0, the error is infinite.
        draws: the number of draws.
    """
    if not effective:
        return np.inf
    return float(np.sqrt(max(0.0, 1 / effective - 1 / draws)))


@dataclass(frozen=True)
class Goal:
    """When drawing ends.

    Args:
        effective: the effective number of draws, at least.
        error: the standard error of the log-evidence, at most.
        most: the number of draws after which drawing ends in any case.
    """

    effective: float = ENOUGH
    error: float = np.inf
    most: int = MOST

    def is_met(self, effective: float, draws: int) -> bool:
        """Return whether draws reach the goal before their number does.

        Args:
            effective: their effective number.
            draws: their number.
        """
        if not effective or effective < self.effective:
            return False
        return log_evidence_error(effective, draws) <= self.error
