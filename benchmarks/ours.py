"""``flows`` with the interface of its peers."""

from __future__ import annotations

from functools import partial

import flows
from benchmarks.peers import CLIP, Recipe
from flows.core.arrays import Array
from flows.core.settings import TrainingSettings
from flows.networks import registry
from flows.training.trainer import Trainer


class Ours:
    """A population of ``flows``.

    It always clips and always follows its schedule; its timings include this work. NSF has a
    quarter of the couplings, at least 2: a spline is as flexible as several affine couplings.
    """

    def __init__(self, networks: int, hidden: int, couplings: int, model: str = "realnvp") -> None:
        couplings = max(2, couplings // 4) if model == "nsf" else couplings
        architecture = registry.architecture(model, {"couplings": couplings, "hidden": hidden})
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
