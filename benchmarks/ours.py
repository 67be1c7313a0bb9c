"""``flows`` with the interface of its peers."""

from __future__ import annotations

from functools import partial

import numpy as np

import flows
from benchmarks.peers import CLIP, Recipe
from flows.core.arrays import Array
from flows.core.settings import TrainingSettings
from flows.networks import registry
from flows.training.trainer import Trainer


class Ours:
    """A population of ``flows``.

    It always clips and always follows its schedule; its timings include this work. NSF has a
    quarter of the couplings, at least 2: a spline is as flexible as several affine couplings. Flow
    matching has no couplings; its width gives it about as many parameters as RealNVP.
    """

    def __init__(self, networks: int, hidden: int, couplings: int, model: str = "realnvp") -> None:
        couplings = max(2, couplings // 4) if model == "nsf" else couplings
        sizes = {"couplings": couplings, "hidden": hidden}
        if model == "flow_matching":
            sizes = {"hidden": width_of_equal_size(couplings, hidden)}
        architecture = registry.architecture(model, sizes)
        self.build = partial(flows.build, architecture, (2,), members=networks, seed=0)
        self.flow = self.build()
        self.parameters = self.flow.parameters_per_member()

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        self.flow = self.build()  # the same initial weights, from the seed
        settings = TrainingSettings(**vars(recipe), epochs=epochs, sharpen=0.0, clip=CLIP, seed=0)
        self.trainer = Trainer(self.flow, points, settings)

    def advance(self, epochs: int) -> None:
        for _ in range(epochs):
            self.trainer.epoch()

    def log_prob(self, points: Array) -> Array:
        return self.flow.log_prob(points).double().numpy()

    def sample(self, count: int) -> Array:
        return self.flow.sample((count,), generator=np.random.default_rng(0)).double().numpy()


def width_of_equal_size(couplings: int, hidden: int) -> int:
    """Return the width of flow matching with about as many parameters as RealNVP of these sizes."""
    realnvp = flows.build(flows.RealNVP(couplings=couplings, hidden=hidden), (2,))
    wanted = realnvp.parameters_per_member()

    def off(width: int) -> int:
        matching = flows.build(flows.FlowMatching(hidden=width), (2,))
        return abs(matching.parameters_per_member() - wanted)

    return min(range(1, 257), key=off)
