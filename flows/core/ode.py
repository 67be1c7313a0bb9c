"""Ordinary differential equations: the classical Runge-Kutta method with fixed steps."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from torch import Tensor

# Returns the derivative of a state at a time
Slope = Callable[[Tensor, float], Tensor]


def runge_kutta(slope: Slope, state: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
    """Solve ``dy/dt = slope(y, t)`` from ``state`` at the first time; yield y at the others::

        k_1 = f(y, t)    k_2 = f(y + h/2 k_1, t + h/2)    k_3 = f(y + h/2 k_2, t + h/2)
        k_4 = f(y + h k_3, t + h)        y <- y + h/6 (k_1 + 2 k_2 + 2 k_3 + k_4)

    For a smooth ``slope`` f, the error is proportional to the fourth power of the step h. Steps are
    fixed, so the result for a point does not depend on the other points. Source: Kutta 1901.
    """
    for start, end in pairwise(times):
        step, middle = end - start, (start + end) / 2
        # No fused operations (``addcmul``): not every processor has them
        k_1 = slope(state, start)
        k_2 = slope(state + step / 2 * k_1, middle)
        k_3 = slope(state + step / 2 * k_2, middle)
        k_4 = slope(state + step * k_3, end)
        state = state + step / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
        yield state
