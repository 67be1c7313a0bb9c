"""The interface of a library that is measured, and the place of its implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from flows.core.arrays import Array

# Our flows, and the environment of their process, which determines how the kernels are built
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
CLIP = 1.0  # maximum norm of a network's gradient in our recipe


@dataclass(frozen=True)
class Recipe:
    """How to train; the optimiser is always Adam.

    With noise it is our recipe: new noise in every epoch, the learning rate on
    ``flows.training.optimizer.one_cycle``, gradients clipped. Without noise none of these apply.

    Args:
        batch_size: largest number of points per step; an epoch is divided into equal steps.
        learning_rate: the learning rate, or its highest value if it changes.
        noise: standard deviation of the noise, in standardised units.
    """

    batch_size: int
    learning_rate: float = 0.001
    noise: float = 0.0

    def steps(self, rows: int) -> int:
        """Return the number of steps per epoch."""
        return -(-rows // self.batch_size)


class Peer(Protocol):
    """Independently initialised networks of one library.

    They are RealNVPs, as similar as the library allows. The arguments are ``networks``, ``hidden``
    and ``couplings``. Each network has affine couplings that alternate between the two features. A
    perceptron 1 -> hidden -> hidden -> 2 with ReLU computes a coupling's shift and log-scale; the
    base is a standard normal. If a library differs, its class or function states the difference.
    """

    parameters: int  # trainable numbers of one network

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        """Prepare to train the initial networks on ``points`` for ``epochs`` epochs in total.

        The points ``(n, D)`` are standardised. Compiling is part of this call.
        """

    def advance(self, epochs: int) -> None:
        """Train all networks for ``epochs`` more epochs."""

    def log_prob(self, points: Array) -> Array:
        """Return the log-density in nats, ``(n, networks)``, of ``points`` ``(n, D)``."""


def installed(library: str) -> bool:
    """Return whether the library is installed, without importing it."""
    return library in OURS or find_spec("FrEIA" if library == "freia" else library) is not None


def maker(library: str) -> Callable[..., Peer]:
    """Return the constructor of the library's ``Peer``.

    Raises ``ImportError`` if the library is not installed.
    """
    if library in OURS:
        return partial(import_module("benchmarks.ours").Ours, model=OURS[library][0])
    if library in EAGER:
        eager = import_module("benchmarks.eager")
        return partial(eager.Eager, make=getattr(eager, library))
    return import_module("benchmarks.compiled").FlowJAX
