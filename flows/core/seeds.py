"""Random streams: one per purpose and per member, so that no two of them ever share numbers.

Every stream is a child of ``numpy.random.SeedSequence(seed)`` with the spawn key ``(purpose, member)``. NumPy promises that
children with different keys are independent, so member 3 gets the same stream in a population of 4 and in one of 400.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# The position in this list is part of every spawn key: append only, never reorder, or every number of the project moves.
PURPOSES = ("generate", "entropy", "split", "initialize", "train", "fresh", "sample", "metric", "plot", "reference", "curves", "tuning", "folds")


def sequence(seed: int, purpose: str, member: int = 0) -> np.random.SeedSequence:
    """The seed sequence of one purpose (a word of ``PURPOSES``) and one member."""
    return np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose), member))


def numpy_generator(seed: int, purpose: str, member: int = 0) -> np.random.Generator:
    """A NumPy generator on the stream of ``(seed, purpose, member)``."""
    return np.random.default_rng(sequence(seed, purpose, member))


def integer(seed: int, purpose: str, member: int = 0) -> int:
    """A 32-bit integer seed, for the libraries that take nothing better."""
    return int(sequence(seed, purpose, member).generate_state(1)[0])


def torch_generator(seed: int, purpose: str, member: int = 0) -> torch.Generator:
    """A torch CPU generator on the stream of ``(seed, purpose, member)``."""
    import torch

    state = sequence(seed, purpose, member).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def torch_generators(seed: int, purpose: str, members: range) -> list[torch.Generator]:
    """One torch generator per member. A range that starts later gives the streams that these members have in the whole population."""
    return [torch_generator(seed, purpose, member) for member in members]
