"""The probability that the draws of a member meet constraints, which normalises the member::

    q(x | A) = q(x) / P(A)    for a row x in A, the rows that meet all constraints

P(A) is the share of draws that meet them; without such a draw, half a draw.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flows.core.arrays import Array, Mask
from flows.core.errors import UserError
from flows.core.seeds import numpy_generator
from flows.networks.densities import Densities

DRAWS = 20_000  # of each member
LEAST = 0.01  # the smallest share of draws that meet the constraints, in at least one member

# From rows (n, D) in the user's units to which rows are possible, (n,)
Possible = Callable[[Array], Mask]


class MassError(UserError):
    """Nearly no draw of any member meets the constraints."""


def log_mass(
    population: Densities, possible: Possible, seed: int, part: int = 0
) -> tuple[Array, Array]:
    """Return log P(A) of each member, ``(M,)``, and the standard errors ``(M,)``.

    Args:
        population: the members.
        possible: tells which rows meet the constraints.
        seed: the seed of the draws.
        part: the number of the population among those of an ensemble, whose draws are independent.
    """
    rng = numpy_generator(seed, "constraint", part)
    counts = np.zeros(population.members)
    for start in range(0, DRAWS, population.chunk):
        size = min(population.chunk, DRAWS - start)
        drawn = population.draw(size, rng)
        inside = possible(drawn.reshape(-1, drawn.shape[-1]))
        counts += inside.reshape(drawn.shape[:2]).sum(axis=0)
    share = np.maximum(counts, 0.5) / DRAWS
    return np.log(share), np.sqrt((1 - share) / (share * DRAWS))


def check_mass(log_mass: Array) -> None:
    """Raise ``MassError`` if nearly no draw of any member meets the constraints.

    Args:
        log_mass: log P(A) of all members, ``(M,)``.
    """
    share = float(np.exp(log_mass.max()))
    if share < LEAST:
        raise MassError(
            f"require: at most {share:.2%} of the draws of a member meet the constraints, so they "
            "cannot be learned; an equation between columns, for example, leaves no density: leave "
            "out the column that the others determine"
        )


def share_possible(population: Densities, log_mass: Array) -> float:
    """Return the share of the draws of an ensemble that meet the constraints.

    Args:
        population: the ensemble.
        log_mass: log P(A) of its members, ``(M,)``.
    """
    return float(population.member_weights.numpy() @ np.exp(log_mass))
