"""What a library has to do to be measured: one small interface, and where each library's answer to it lives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from flows.core.arrays import Array

# name -> module and class here, and what the library is imported and installed as; None for what is in this repository
HOMES: dict[str, tuple[str, str, str | None]] = {
    "ours": ("ours", "Ours", None),
    "ours-plain": ("ours", "Plain", None),  # ours without its compiled kernels
    "zuko": ("eager", "Zuko", "zuko"),
    "normflows": ("eager", "NormFlows", "normflows"),
    "nflows": ("eager", "NFlows", "nflows"),
    "freia": ("eager", "FrEIA", "FrEIA"),
    "flowjax": ("compiled", "FlowJAX", "flowjax"),
    "floor": ("floor", "Floor", None),
}
LIBRARIES = tuple(name for name in HOMES if name != "floor")  # what answers everything; the floor can only be timed
OURS = ("ours", "ours-plain")
EAGER = tuple(name for name, (module, _, _) in HOMES.items() if module == "eager")


class MissingLibraryError(Exception):
    """A library that is wanted and not installed; the message is for the user as it stands."""


@dataclass(frozen=True)
class Recipe:
    """How to train, the same words for every library; the optimiser is always Adam.

    Args:
        batch_size: at most so many points a step; an epoch is cut into equal steps.
        learning_rate: the rate, or its highest value where ``one_cycle``.
        one_cycle: whether the rate follows ``flows.training.optimizer.one_cycle``.
        noise: standard deviation of the Gaussian noise added afresh at every epoch, in standardised units; 0 for none.
        sharpen: how far, from 0 to 1, points first move to their local means (``flows.training.smoothing.sharpen``).
        clip: the longest gradient of a network, as a norm; None for no limit.
    """

    batch_size: int
    learning_rate: float
    one_cycle: bool = False
    noise: float = 0.0
    sharpen: float = 0.0
    clip: float | None = None

    def steps(self, rows: int) -> int:
        """Steps an epoch."""
        return -(-rows // self.batch_size)


class Peer(ABC):
    """Independently initialised networks of one library: RealNVP with affine couplings, as alike as the library allows.

    Each network has ``couplings`` affine couplings that take turns with the two features. A coupling's shift and log-scale come
    from a perceptron 1 -> hidden -> hidden -> 2 with ReLU; the base is a standard normal. Where a library differs, its class
    says how.
    """

    parameters: int  # trainable numbers of one network
    compile_seconds: float = 0.0  # spent on compiling so far; never part of a timing

    def __init__(self, networks: int, hidden: int, couplings: int, seed: int) -> None:
        self.networks = networks
        self.hidden = hidden
        self.couplings = couplings
        self.seed = seed

    @abstractmethod
    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        """Get ready to train the initial networks on standardised ``points`` ``(n, D)``, for ``epochs`` passes in all."""

    @abstractmethod
    def advance(self, epochs: int) -> None:
        """Train on; returns when all networks are so many epochs further."""

    @abstractmethod
    def log_prob(self, points: Array) -> Array:
        """Log-density in nats, ``(n, networks)``, of ``points`` ``(n, D)``."""

    @abstractmethod
    def sample(self, n: int, seed: int) -> Array:
        """``(n, networks, D)``: n draws of every network."""


def installed(name: str) -> bool:
    """Whether library ``name`` is there to be imported; imports nothing."""
    distribution = HOMES[name][2]
    return distribution is None or find_spec(distribution) is not None


def peer_class(name: str) -> type[Peer]:
    """The class that measures library ``name``. Raises ``MissingLibraryError`` where the library is not installed."""
    if not installed(name):
        raise MissingLibraryError(missing(name))
    module, attribute, _ = HOMES[name]
    found: type[Peer] = getattr(import_module(f"benchmarks.{module}"), attribute)
    return found


def missing(name: str) -> str:
    return f"{name} is not installed: pip install -r benchmarks/requirements.txt"
