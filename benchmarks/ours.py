"""``flows`` itself, behind the interface of its peers."""

from __future__ import annotations

import numpy as np
import torch

import flows
from benchmarks.peers import Array, Peer, Recipe
from flows import kernels
from flows.training import Trainer, TrainingSettings

ALWAYS_CLIPS = 1.0  # where a recipe says nothing


class Ours(Peer):
    """A population of ``flows``. It always clips and always follows its schedule; that work is part of its timings.

    Args:
        dim: features D.
        model, transform, bins: as in ``params.yaml``.
    """

    def __init__(
        self, networks: int, hidden: int, couplings: int, seed: int, *, dim: int = 2, model: str = "realnvp", transform: str = "affine", bins: int = 8
    ) -> None:
        super().__init__(networks, hidden, couplings, seed)
        self.model = flows.model_class(model)
        self.arguments = {
            "dim": dim,
            "members": networks,
            "couplings": couplings,
            "hidden": hidden,
            "transform": transform,
            "bins": bins,
            "seed": seed,
        }
        self.flow = self.model(**self.arguments)
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
        # A population's weights are drawn from its seed alone: built again, it is the initial one again.
        self.trainer = Trainer(self.model(**self.arguments), torch.from_numpy(points), settings)
        self.flow = self.trainer.model

    def advance(self, epochs: int) -> None:
        for _ in range(epochs):
            self.trainer.epoch()
        self.flow = self.trainer.model

    @torch.no_grad()
    def log_prob(self, points: Array) -> Array:
        return self.flow.log_prob(torch.from_numpy(points).unsqueeze(1)).double().numpy()

    def sample(self, n: int, seed: int) -> Array:
        draws: Array = self.flow.sample((n,), generator=torch.Generator().manual_seed(seed)).numpy().astype(np.float64)
        return draws


class Plain(Ours):
    """The same without the compiled kernels: the plain torch code that defines them, which takes their place where there is no compiler."""

    def start(self, points: Array, recipe: Recipe, epochs: int) -> None:
        with kernels.plain():
            super().start(points, recipe, epochs)

    def advance(self, epochs: int) -> None:
        with kernels.plain():
            super().advance(epochs)

    def log_prob(self, points: Array) -> Array:
        with kernels.plain():
            return super().log_prob(points)

    def sample(self, n: int, seed: int) -> Array:
        with kernels.plain():
            return super().sample(n, seed)
