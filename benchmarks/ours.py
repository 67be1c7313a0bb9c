"""``flows`` itself, behind the interface of its peers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

import flows
from benchmarks.peers import Peer, Recipe
from flows.core.arrays import Array
from flows.core.settings import TrainingSettings
from flows.networks import kernels
from flows.training.trainer import Trainer

ALWAYS_CLIPS = 1.0  # where a recipe says nothing


class Ours(Peer):
    """A population of ``flows``. It always clips and always follows its schedule; that work is part of its timings.

    Args:
        dim: features D.
        model, settings: a model and what it takes beside couplings and hidden, as in ``params.yaml``.
    """

    def __init__(self, networks: int, hidden: int, couplings: int, seed: int, *, dim: int = 2, model: str = "realnvp", **settings: Any) -> None:
        super().__init__(networks, hidden, couplings, seed)
        self.build = partial(flows.build, model, (dim,), {"couplings": couplings, "hidden": hidden, **settings}, members=networks, seed=seed)
        self.flow = self.build()
        self.parameters = self.flow.parameters_per_member()

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        settings = TrainingSettings(
            epochs=epochs,
            batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            noise=recipe.noise,
            sharpen=recipe.sharpen,
            clip=ALWAYS_CLIPS if recipe.clip is None else recipe.clip,
            seed=self.seed,
        )
        self.flow = self.build()  # the weights are drawn from the seed alone: the initial ones again
        self.trainer = Trainer(self.flow, points, settings)

    def advance(self, epochs: int) -> None:
        for _ in range(epochs):
            self.trainer.epoch()

    def log_prob(self, points: Array) -> Array:
        density: Array = self.flow.log_prob(points).double().numpy()
        return density

    def sample(self, n: int, seed: int) -> Array:
        draws: Array = self.flow.sample((n,), generator=torch.Generator().manual_seed(seed)).numpy()
        return draws


class Plain(Ours):
    """The same without the compiled kernels: the plain torch code that defines them, which takes their place where there is no compiler."""

    start = kernels.reference_code()(Ours.start)
    advance = kernels.reference_code()(Ours.advance)
    log_prob = kernels.reference_code()(Ours.log_prob)
    sample = kernels.reference_code()(Ours.sample)
