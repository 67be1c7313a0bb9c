"""The solver of ordinary differential equations."""

from __future__ import annotations

import math

import torch

from flows.core import ode


def test_the_solver_has_order_4():
    def error(steps: int) -> float:
        times = [k / steps for k in range(steps + 1)]
        start = torch.ones(1, dtype=torch.float64)
        *_, end = ode.runge_kutta(lambda y, t: -2 * t * y, start, times)
        return abs(float(end) - math.exp(-1))

    assert 14 < error(10) / error(20) < 18
