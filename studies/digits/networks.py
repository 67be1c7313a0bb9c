"""Our models on images ``(n, 64)`` of whole numbers from 0 to 16.

A fitted model has a sampler and, except for the VAE and the GAN, a density of y = x + u.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flows.core.arrays import Array
from flows.core.seeds import numpy_generators
from flows.core.settings import TrainingSettings
from flows.networks import building, registry
from flows.networks.network_population import NetworkPopulation, Points
from flows.networks.vae_population import VAEPopulation
from flows.recipe.train import train as train_network
from studies.digits.digits import LEVELS, PIXELS, Fitted, dequantised
from studies.digits.vector import vector

Settings = dict[str, Any]


def build(
    model: str, shape: tuple[int, ...], settings: Settings | None, members: range, seed: int
) -> NetworkPopulation:
    """Build a model of the library or of this study over images of this ``shape``."""
    if model == "vector":
        return vector(shape, settings or {}, members=members, seed=seed)
    if model == "vae":
        return WideVAE(shape, settings or {}, members=members, seed=seed)
    architecture = registry.architecture(model, settings)
    return building.build(architecture, shape, members=members, seed=seed)


def fit(
    name: str,
    population: NetworkPopulation,
    training: Settings,
    train: Array,
    test: Array | None,
    seed: int,
) -> Fitted:
    """Fit a population to the images ``train``, ``(n, 64)`` or ``(n, M, 64)``.

    Uniform noise u is added to the images each time they are used; for a VAE and a GAN, which do
    not model pixels as whole numbers, u is added once. Test images are only for the curves.
    ``name`` is the name of the population in messages.
    """

    def shaped(images: Array) -> Array:
        return images.reshape(*images.shape[:-1], *population.event_shape)

    def seen(images: Array) -> Array:
        return shaped(dequantised(images, seed) if population.takes_noise else images)

    held_out = None if test is None else seen(test)
    options = TrainingSettings(**training, seed=seed)
    population = train_network(population, seen(train), held_out, options, name=name)

    def log_q(y: Array) -> Array:
        return population.score(shaped(y))

    def draw(n: int, rng: np.random.Generator) -> Array:
        drawn = population.sample((n,), rng).numpy().reshape(n, population.members, PIXELS)
        return np.floor(drawn).clip(0, LEVELS - 1)

    dense = population.supports("log_prob") and not isinstance(population, WideVAE)
    return Fitted(log_q if dense else None, draw, population)


class WideVAE(VAEPopulation):
    """A VAE with 16 latent dimensions, too many for the quadrature of its density.

    It has samples and no density. Its training curve is the bound that it maximises.
    """

    LATENT = 16

    def __init__(
        self, shape: tuple[int, ...], settings: Settings, *, members: range, seed: int
    ) -> None:
        generators = numpy_generators(seed, "initialize", members)
        description = {"members": [members.start, members.stop]}
        super().__init__(shape, generators, description, **settings)

    def curves(self, points: dict[str, Points]) -> dict[str, Array]:
        generators = numpy_generators(0, "curves", self.member_range)
        return {"train_bound": self.loss(points["train"][0], generators)[0].numpy()}
