"""What a library has to do to be measured: one small interface, and where each library's answer to it lives."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from flows.core.arrays import Array
from flows.training import smoothing

# name -> module and class here, and what the library is imported as; "flows" is this repository
HOMES = {
    "ours": ("ours", "Ours", "flows"),
    "ours-plain": ("ours", "Plain", "flows"),  # ours without its compiled kernels
    "zuko": ("eager", "Zuko", "zuko"),
    "normflows": ("eager", "NormFlows", "normflows"),
    "nflows": ("eager", "NFlows", "nflows"),
    "freia": ("eager", "FrEIA", "FrEIA"),
    "flowjax": ("compiled", "FlowJAX", "flowjax"),
    "floor": ("ours", "Floor", "flows"),
}
LIBRARIES = tuple(name for name in HOMES if name != "floor")  # what answers everything; the floor can only be timed
OURS = ("ours", "ours-plain")
EAGER = tuple(name for name, (module, _, _) in HOMES.items() if module == "eager")
CLIP = 1.0  # the longest gradient of a network in our recipe


@dataclass(frozen=True)
class Recipe:
    """How to train; the optimiser is always Adam. With noise it is our recipe: points sharpened in advance, noise added afresh at
    every epoch, the rate on ``flows.training.optimizer.one_cycle``, gradients clipped. Without, none of these.

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

    def sharpened(self, points: Array) -> Array:
        """What training visits instead of ``points``, before the noise."""
        return smoothing.sharpen(points, self.noise, 1.0) if self.noise else points


class Peer:
    """Independently initialised networks of one library: RealNVP with affine couplings, as alike as the library allows.

    Each network has ``couplings`` affine couplings that take turns with the two features. A coupling's shift and log-scale come
    from a perceptron 1 -> hidden -> hidden -> 2 with ReLU; the base is a standard normal. Where a library differs, its class
    says how.
    """

    parameters: int  # trainable numbers of one network
    compile_seconds: float = 0.0  # spent on compiling so far; never part of a timing

    def __init__(self, networks: int, hidden: int, couplings: int) -> None:
        self.networks = networks
        self.hidden = hidden
        self.couplings = couplings

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        """Get ready to train the initial networks on standardised ``points`` ``(n, D)``, for ``epochs`` passes in all."""
        raise NotImplementedError

    def advance(self, epochs: int) -> None:
        """Train on; returns when all networks are so many epochs further."""
        raise NotImplementedError

    def log_prob(self, points: Array) -> Array:
        """Log-density in nats, ``(n, networks)``, of ``points`` ``(n, D)``."""
        raise NotImplementedError

    def sample(self, n: int, seed: int) -> Array:
        """``(n, networks, D)``: n draws of every network."""
        raise NotImplementedError


def installed(name: str) -> bool:
    """Whether library ``name`` is there to be imported; imports nothing."""
    return find_spec(HOMES[name][2]) is not None


def peer_class(name: str) -> type[Peer]:
    """The class that measures library ``name``. Raises ``ImportError`` where the library is not installed."""
    module, attribute, _ = HOMES[name]
    return getattr(import_module(f"benchmarks.{module}"), attribute)
