"""Other densities of images, fitted to training images ``(n, 64)`` of whole numbers.

No fit uses the test images; settings are chosen on held-out training images.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flows.core.arrays import Array
from studies.digits.digits import LEVELS, PIXELS, Fitted, dequantised
from studies.tables import peers

BLOCKS, HIDDEN, RATE, DECAY = 8, 64, 0.001, 0.00001  # for normflows' Glow
BATCH, EPOCHS, PATIENCE = 128, 200, 15
NAMES = ("normflows", *peers.FITS)


def fit(name: str, train: Array, seed: int) -> Fitted:
    """Fit ``independent``, ``normflows``, or a peer of the study of tables to x + u, drawn once."""
    if name == "normflows":
        return normflows(train, seed)
    rows = dequantised(train, seed)
    if name == "independent":
        return independent(rows)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    density = peers.FITS[name]((rows - mean) / deviation)
    shift = np.log(deviation).sum()
    return Fitted(lambda y: density((y - mean) / deviation)[:, None] - shift)


def independent(rows: Array) -> Fitted:
    """Fit the frequencies of the values of each pixel, with half an image added to each count.

    Source: Krichevsky and Trofimov 1981.
    """
    counts = (rows.astype(int)[..., None] == np.arange(LEVELS)).sum(0) + 0.5  # (64, 17)
    log_p = np.log(counts / counts.sum(1, keepdims=True))
    return Fitted(lambda y: log_p[np.arange(PIXELS), y.astype(int)].sum(1, keepdims=True))


def normflows(train: Array, seed: int) -> Fitted:
    """Fit the Glow of normflows at two scales, as in its own example.

    It has affine couplings, learned 1x1 convolutions, Adamax, and a new u each time an image is
    used. The epoch with the best score on a held-out tenth of the training images is kept.
    """
    import normflows as nf

    torch.manual_seed(seed)
    scales = [
        [nf.flows.GlowBlock(c, HIDDEN, split_mode="channel", scale=True) for _ in range(BLOCKS)]
        + [nf.flows.Squeeze()]
        for c in (8, 4)
    ]
    bases = [nf.distributions.GlowBase(shape) for shape in ((8, 2, 2), (2, 4, 4))]
    flow = nf.MultiscaleFlow(bases, scales, [nf.flows.Merge()], class_cond=False)
    rng = np.random.default_rng(seed)

    def log_q(y: Array | Tensor) -> Tensor:
        scaled = (torch.as_tensor(y) / LEVELS).float().reshape(-1, 1, 8, 8)
        return flow.log_prob(scaled, None) - PIXELS * np.log(LEVELS)

    def draw(n: int, rng: np.random.Generator) -> Array:
        torch.manual_seed(int(rng.integers(2**32)))
        with torch.no_grad():
            drawn = (flow.sample(n)[0] * LEVELS).floor().clamp(0, LEVELS - 1)
        return drawn.double().numpy().reshape(n, 1, PIXELS)

    learned, held_out = peers.held(train, 0.1)
    held_out = dequantised(held_out, seed)
    log_q(learned[:BATCH] + 0.5)  # the first batch initialises the ActNorms

    def batches() -> list[Array]:
        order = rng.permutation(len(learned))
        noisy = learned[order] + rng.random(learned.shape)
        return np.array_split(noisy, -(-len(learned) // BATCH))

    optimizer = torch.optim.Adamax(flow.parameters(), RATE, weight_decay=DECAY)
    peers.train_until_best(flow, optimizer, log_q, batches, held_out, EPOCHS, PATIENCE)
    return Fitted(torch.no_grad()(lambda y: log_q(y).double().numpy()[:, None]), draw)
