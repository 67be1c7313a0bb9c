"""What a library has to do to be measured.

One small interface, and where each library's answer to it lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from flows.core.arrays import Array

# Our flows, and how their kernels are built: by the environment of their process.
MODELS = {
    "ours": "realnvp",
    "ours-glow": "glow",
    "ours-nsf": "nsf",
    "ours-matching": "flow_matching",
}
BUILDS: dict[str, dict[str, str]] = {
    "": {},
    "-avx2": {"FLOWS_MARCH": "x86-64-v3"},
    "-plain": {"FLOWS_KERNELS": "off"},
}
OURS = {model + build: (MODELS[model], BUILDS[build]) for model in MODELS for build in BUILDS}
EAGER = ("zuko", "normflows", "nflows", "freia")  # trained one network after another
LIBRARIES = (*OURS, *EAGER, "flowjax")
CLIP = 1.0  # the longest gradient of a network in our recipe


@dataclass(frozen=True)
class Recipe:
    """How to train; the optimiser is always Adam.

    With noise it is our recipe: noise added afresh at every epoch, the rate on
    ``flows.training.optimizer.one_cycle``, gradients clipped. Without, none of these.

    Args:
        batch_size: at most so many points a step; an epoch is cut into equal steps.
        learning_rate: the rate, or its highest value where it changes.
        noise: standard deviation in standardised units.
    """

    batch_size: int
    learning_rate: float = 0.001
    noise: float = 0.0

    def steps(self, rows: int) -> int:
        """Steps an epoch."""
        return -(-rows // self.batch_size)


class Peer(Protocol):
    """Independently initialised networks of one library.

    RealNVP with affine couplings, as alike as the library allows. It is made of ``networks``,
    ``hidden`` and ``couplings``. Each network has affine couplings that take turns with the two
    features. A coupling's shift and log-scale come from a perceptron 1 -> hidden -> hidden -> 2
    with ReLU; the base is a standard normal. Where a library differs, its class or function says
    how.
    """

    parameters: int  # trainable numbers of one network

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        """Get ready to train the initial networks on ``points``, for ``epochs`` passes in all.

        The points ``(n, D)`` are standardised. Compiles what has to be.
        """

    def advance(self, epochs: int) -> None:
        """Train on; returns when all networks are so many epochs further."""

    def log_prob(self, points: Array) -> Array:
        """Log-density in nats, ``(n, networks)``, of ``points`` ``(n, D)``."""


def installed(library: str) -> bool:
    """Whether it is there to be imported; imports nothing."""
    return library in OURS or find_spec("FrEIA" if library == "freia" else library) is not None


def maker(library: str) -> Callable[..., Peer]:
    """Makes the library's ``Peer``. Raises ``ImportError`` where the library is not installed."""
    if library in OURS:
        return partial(import_module("benchmarks.ours").Ours, model=OURS[library][0])
    if library in EAGER:
        eager = import_module("benchmarks.eager")
        return partial(eager.Eager, make=getattr(eager, library))
    return import_module("benchmarks.compiled").FlowJAX
