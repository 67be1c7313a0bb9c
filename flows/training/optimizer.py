"""The optimiser: Adam on clipped gradients, and the schedule of its learning rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flows.networks.backend import AdamStep, backend

WARM_UP_SHARE = 0.3  # share of the steps over which the learning rate rises


def one_cycle(progress: float) -> float:
    """Return the share of the highest learning rate at ``progress`` from 0 to 1.

    The share rises from 1/25 to 1 along a cosine, and then falls to 0 along another cosine. Source:
    Smith and Topin 2019 (Super-convergence), with cosines instead of straight lines.
    """
    if progress < WARM_UP_SHARE:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / WARM_UP_SHARE)) / 2
    return (1 + math.cos(math.pi * (progress - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))) / 2


class ClippedAdam:
    """Adam (Kingma and Ba 2015) on gradients that are clipped separately for each member.

    A gradient g with a norm above ``clip`` is scaled down to this norm (Pascanu et al. 2013)::

        g <- g min(1, clip / |g|)
        m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
        parameters <- parameters - rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + e)

    ``parameters`` ``(M, P)`` is changed in place. Each row belongs to one member, and |g| is the
    norm of a row. A non-finite gradient changes only its own member.
    """

    EPSILON = 1e-8

    def __init__(
        self, parameters: Tensor, clip: float, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.parameters = parameters
        self.clip = clip
        self.betas = betas
        self.first, self.second = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.steps = 0

    def step(self, gradient: Tensor, rate: float) -> None:
        """Take one step against ``gradient`` ``(M, P)``."""
        self.steps += 1
        b1, b2 = self.betas
        backend.adam(
            AdamStep(
                parameters=self.parameters,
                gradient=gradient,
                first=self.first,
                second=self.second,
                rate=rate,
                clip=self.clip,
                beta_1=b1,
                beta_2=b2,
                correction_1=1 - b1**self.steps,
                correction_2=1 - b2**self.steps,
                epsilon=self.EPSILON,
            )
        )
