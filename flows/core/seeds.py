"""Independent random streams, one per purpose and member (network of a population).

A stream is a child of ``numpy.random.SeedSequence(seed)`` with the spawn key ``(purpose, member)``
or, with one stream per epoch, ``(purpose, member, epoch)``. NumPy promises that children with
different keys are independent. The noise of rounded columns uses the sequence itself. Member 3 has
the same stream in a population of 4 and in a population of 400. NumPy draws all numbers, because
its numbers are the same on every machine; torch's normals depend on the processor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

Generators = Sequence[np.random.Generator]  # one per member

# The position in this list is part of every spawn key. Only append: another order would change
# every number of the project.
PURPOSES = (
    "generate",
    "entropy",
    "split",
    "initialize",
    "train",
    "fresh",
    "sample",
    "metric",
    "plot",
    "reference",
    "curves",
    "mixtures",
    "folds",
    "base",
    "unknown",
    "completion",
    "constraint",
)


def sequence(seed: int, purpose: str, *key: int) -> np.random.SeedSequence:
    """Return the seed sequence of one purpose, one member and, if given, one epoch.

    ``purpose`` is one of ``PURPOSES``, and ``key`` is the member and the epoch. The default is
    member 0. Raises ``ValueError`` for another purpose, and for a seed that is no whole number of
    at least 0.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed = {seed!r}: must be a whole number of 0 or more")
    if purpose not in PURPOSES:
        raise ValueError(f"purpose = {purpose!r}: must be one of {', '.join(PURPOSES)}")
    return np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose), *(key or (0,))))


def numpy_generator(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """Return a generator on the stream of ``(seed, purpose, *key)``."""
    return np.random.default_rng(sequence(seed, purpose, *key))


def numpy_generators(
    seed: int, purpose: str, members: Iterable[int], *epoch: int
) -> list[np.random.Generator]:
    """Return one generator per member; the stream of a member does not depend on the others."""
    return [numpy_generator(seed, purpose, member, *epoch) for member in members]


def integer(seed: int, purpose: str, *key: int) -> int:
    """Return a 32-bit integer seed, for libraries that accept only integers."""
    return int(sequence(seed, purpose, *key).generate_state(1)[0])


def generator_of(given: Any) -> np.random.Generator:
    """Return ``given`` as a NumPy generator.

    ``given`` is a generator of NumPy; a generator of torch, which seeds a new one; or ``None``, for
    numbers that differ in every run.
    """
    import torch

    if isinstance(given, torch.Generator):
        return np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=given)))
    return np.random.default_rng(given)


def normal(generator: np.random.Generator, *shape: int) -> torch.Tensor:
    """Draw standard normal numbers of this ``shape``, in double precision.

    In single precision, NumPy's tails depend on the machine.
    """
    import torch

    return torch.from_numpy(generator.standard_normal(shape))


def normals(generators: Iterable[np.random.Generator], *shape: int) -> torch.Tensor:
    """Draw standard normal numbers ``(M, *shape)``, one generator per member."""
    import torch

    return torch.stack([normal(generator, *shape) for generator in generators])
