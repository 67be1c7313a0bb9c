"""Our models on images, fitted to whole numbers from 0 to 16, ``(n, 64)``.

A fit gives a density of y = x + u, where there is one, and a sampler.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flows.core.arrays import Array
from flows.core.seeds import numpy_generators
from flows.core.settings import TrainingSettings
from flows.networks import building, registry
from flows.networks.network import Network, Points
from flows.networks.population import chunked_log_prob
from flows.networks.vae_network import VAENetwork
from flows.training.train import train as train_network
from studies.digits.digits import LEVELS, PIXELS, Fitted, spread
from studies.digits.vector import vector

Settings = dict[str, Any]


def build(
    model: str, shape: tuple[int, ...], settings: Settings | None, members: range, seed: int
) -> Network:
    """Build a model of the library, or one of this file, over images of this ``shape``."""
    if model == "vector":
        return vector(shape, settings or {}, members=members, seed=seed)
    if model == "vae":
        return WideVAE(shape, settings or {}, members=members, seed=seed)
    architecture = registry.architecture(model, settings)
    return building.build(architecture, shape, members=members, seed=seed)


def fit(
    name: str, network: Network, training: Settings, train: Array, test: Array | None, seed: int
) -> Fitted:
    """Fit a network, called so in messages, to images ``train``, ``(n, 64)`` or ``(n, M, 64)``.

    They are spread afresh at every visit or, for a VAE and a GAN, which don't model pixels as whole
    numbers, once. Test images are only for the curves.
    """

    def shaped(images: Array) -> Array:
        return images.reshape(*images.shape[:-1], *network.event_shape)

    def seen(images: Array) -> Array:
        return shaped(spread(images, seed) if network.takes_noise else images)

    held_out = None if test is None else seen(test)
    options = TrainingSettings(**training, seed=seed)
    network = train_network(network, seen(train), held_out, options, name=name)

    def log_q(y: Array) -> Array:
        return chunked_log_prob(network, shaped(y))

    def draw(n: int, rng: np.random.Generator) -> Array:
        drawn = network.sample((n,), rng).numpy().reshape(n, network.members, PIXELS)
        return np.floor(drawn).clip(0, LEVELS - 1)

    dense = network.supports("log_prob") and not isinstance(network, WideVAE)
    return Fitted(log_q if dense else None, draw, network)


class WideVAE(VAENetwork):
    """A VAE with 16 latent dimensions, which are too many for the quadrature.

    It has samples and no density. Its curve is the bound that it learns by.
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
