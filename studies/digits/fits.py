"""How every row is fitted: training images ``(n, 64)`` of whole numbers from 0 to 16 in, a density of ``y = x + u`` and a sampler out.

Nobody gets the test images but for the curves; who has something to choose, chooses by training images that it holds out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flows.bijections import Bijection, BoxSplineCoupling, Convolution, Dropout, Permutation
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.core.seeds import numpy_generator, numpy_generators
from flows.evaluation.likelihood import log_density
from flows.models.vae.network import VAENetwork
from flows.networks import registry
from flows.networks.base import Uniform
from flows.networks.images import ImageFlow
from flows.networks.network import Network, Seen
from flows.training.trainer import fit
from studies.digits.digits import LEVELS, PIXELS
from studies.digits.pixel_map import PixelMap
from studies.digits.settings import Row
from studies.tables import peers


@dataclass
class Fitted:
    """``log_q``: log-densities ``(n, M)`` in nats of y ``(n, 64)``, ``None`` where there is none; ``draw``: ``(n, M, 64)`` whole images."""

    log_q: Callable[[Array], Array] | None = None
    draw: Callable[[int, np.random.Generator], Array] | None = None
    network: Network | None = None


def fit_row(name: str, row: Row, members: range, train: Array, test: Array, seed: int) -> Fitted:
    if row.model:
        return train_network(name, row, members, train, test, seed)
    if name == "normflows":
        return normflows(train, seed)
    rows = spread(train, seed)
    if name == "independent":
        return independent(rows)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    density = peers.FITS[name]((rows - mean) / deviation)  # as in the study of tables
    return Fitted(lambda y: density((y - mean) / deviation)[:, None] - np.log(deviation).sum())


def spread(images: Array, seed: int) -> Array:
    return images + numpy_generator(seed, "folds").random(images.shape)


# Ours


def train_network(
    name: str, row: Row, members: range, train: Array, test: Array | None, seed: int, change: Callable[[Network], object] = lambda _: None
) -> Fitted:
    """Images are spread afresh at every visit; for a VAE and a GAN, which know no images, once. ``train`` ``(n, 64)``, or ``(n, M, 64)``.
    ``change`` the untrained network.
    """
    build = {"vector": vector, "vae": WideVAE}.get(row.model, partial(registry.build, row.model))
    try:
        network = build(tuple(row.shape), row.settings, members=members, seed=seed)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    change(network)
    learned, seen = (None if x is None else (spread(x, seed) if network.real else x).reshape(*x.shape[:-1], *row.shape) for x in (train, test))
    network = fit(network, learned, seen, row.training.model_copy(update={"seed": seed}), name=name)

    def log_q(y: Array) -> Array:
        return log_density(network, y.reshape(*y.shape[:-1], *network.event_shape))

    def draw(n: int, rng: np.random.Generator) -> Array:
        return np.floor(network.sample((n,), rng).numpy().reshape(n, network.members, PIXELS)).clip(0, LEVELS - 1)

    dense = network.has("log_prob") and not isinstance(network, WideVAE)
    return Fitted(log_q if dense else None, draw, network)


class Pointwise(Convolution):  # of images of one pixel: a perceptron with dropout
    SIDE = 1


def vector(shape: tuple[int, ...], settings: dict[str, Any], *, members: range, seed: int) -> Network:
    """A flow that knows nothing of images: a fixed map per pixel, spline couplings over all pixels in random order, uniform noise on the box."""
    generators, dropout, bound = numpy_generators(seed, "initialize", members), Dropout(settings["dropout"], 0.0), BoxSplineCoupling.BOUND
    conditioner = partial(Pointwise, pixels=(1, 1), dropout=dropout)
    chain: list[Bijection] = [PixelMap(len(members), shape, LEVELS, bound)] if settings["pixel_map"] else []
    for _ in range(settings["couplings"]):
        coupling = BoxSplineCoupling(PIXELS, settings["hidden"], generators, swap=False, conditioner=conditioner, bins=8)
        chain += [Permutation(PIXELS, generators), coupling]
    description = {"members": [members.start, members.stop]}
    return ImageFlow(Uniform(len(members), shape, bound), chain, description, levels=LEVELS, bound=bound, dropout=dropout)


class WideVAE(VAENetwork):
    """With 16 latent dimensions: too many for the quadrature, so it has samples and no density. Its curve is the bound that it learns by."""

    LATENT = 16

    def __init__(self, shape: tuple[int, ...], settings: dict[str, Any], *, members: range, seed: int) -> None:
        super().__init__(shape, numpy_generators(seed, "initialize", members), {"members": [members.start, members.stop]}, **settings)

    def curves(self, points: dict[str, Seen]) -> dict[str, Array]:
        return {"train_bound": self.loss(points["train"][0], numpy_generators(0, "curves", self.member_range))[0].numpy()}


# Others


def independent(rows: Array) -> Fitted:
    """How often every pixel has each of its values, half an image added to each count (Krichevsky and Trofimov 1981)."""
    counts = (rows.astype(int)[..., None] == np.arange(LEVELS)).sum(0) + 0.5  # (64, 17)
    log_p = np.log(counts / counts.sum(1, keepdims=True))
    return Fitted(lambda y: log_p[np.arange(PIXELS), y.astype(int)].sum(1, keepdims=True))


BLOCKS, HIDDEN, RATE, DECAY, BATCH, EPOCHS, PATIENCE = 8, 64, 0.001, 0.00001, 128, 200, 15  # of normflows' Glow


def normflows(train: Array, seed: int) -> Fitted:
    """The Glow of normflows at two scales, as in its own example (affine, learned 1x1 convolutions, Adamax), fresh u at every visit.

    The weights of the epoch that is best on a tenth of the training images.
    """
    import normflows as nf

    torch.manual_seed(seed)
    scales = [[nf.flows.GlowBlock(c, HIDDEN, split_mode="channel", scale=True) for _ in range(BLOCKS)] + [nf.flows.Squeeze()] for c in (8, 4)]
    flow = nf.MultiscaleFlow([nf.distributions.GlowBase(shape) for shape in ((8, 2, 2), (2, 4, 4))], scales, [nf.flows.Merge()], class_cond=False)
    rng = np.random.default_rng(seed)

    def log_q(y: Array | Tensor) -> Tensor:
        return flow.log_prob((torch.as_tensor(y) / LEVELS).float().reshape(-1, 1, 8, 8), None) - PIXELS * np.log(LEVELS)

    def draw(n: int, rng: np.random.Generator) -> Array:
        torch.manual_seed(int(rng.integers(2**32)))
        with torch.no_grad():
            return (flow.sample(n)[0] * LEVELS).floor().clamp(0, LEVELS - 1).double().numpy().reshape(n, 1, PIXELS)

    learned, held_out = peers.held(train, 0.1)
    held_out = spread(held_out, seed)
    log_q(learned[:BATCH] + 0.5)  # its ActNorm is set by the first batch

    def batches() -> list[Array]:
        order = rng.permutation(len(learned))
        return np.array_split(learned[order] + rng.random(learned.shape), -(-len(learned) // BATCH))

    optimizer = torch.optim.Adamax(flow.parameters(), RATE, weight_decay=DECAY)
    peers.train_until_best(flow, optimizer, log_q, batches, held_out, EPOCHS, PATIENCE)
    return Fitted(torch.no_grad()(lambda y: log_q(y).double().numpy()[:, None]), draw)
