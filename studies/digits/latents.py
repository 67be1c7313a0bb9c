"""Images that show the meaning of the latents of a flow over images.

They are interpolations between images, and images with the latents of one scale drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from flows.bijections import Bijection, FactorOut
from flows.bijections.chain import Chain
from flows.core.arrays import Array
from flows.networks.image_flow import ImageFlow

STEPS = 11  # images of an interpolation, both ends included
ANEW = 3  # draws per image and scale


def between(flow: ImageFlow, first: Array, second: Array) -> Array:
    """Interpolate from images ``first`` to images ``second``, along great circles of normal noise.

    Both are ``(n, 64)``. Returns images ``(n, STEPS, 64)`` of whole numbers.
    """
    a, b = (normal_noise(flow, images)[:, None] for images in (first, second))  # (n, 1, 64)
    t = np.linspace(0, 1, STEPS)[:, None]
    cosine = (a * b).sum(2) / np.linalg.norm(a, axis=2) / np.linalg.norm(b, axis=2)
    angle = np.arccos(cosine)[..., None]
    return images_of(flow, (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle))


def anew(flow: ImageFlow, images: Array, rng: np.random.Generator) -> Array:
    """Decode images ``(n, 64)`` with some of their latents drawn again.

    Returns images ``(n, 1 + ANEW (scales + 1), 64)`` of whole numbers: each image with its own
    latents; with the latents of one scale drawn again, from the finest to the coarsest; and with
    all latents drawn again.
    """
    scale = scale_of(flow.chain, torch.zeros(1, *flow.event_shape, 1)).flatten().numpy()
    kept = normal_noise(flow, images)[:, None]
    fresh = rng.standard_normal((len(images), ANEW, images.shape[1]))
    chosen = [*(scale == k for k in range(int(scale.max()) + 1)), scale >= 0]
    changed = [np.where(new, fresh, kept) for new in chosen]
    return images_of(flow, np.concatenate([kept, *changed], axis=1))


def normal_noise(flow: ImageFlow, images: Array) -> Array:
    """Return the first network's latents ``(n, D)`` of x + 1/2 for images x."""
    middles = images.reshape(-1, *flow.event_shape) + 0.5
    return flow.encode(middles)[:, 0].flatten(1).double().numpy()


@torch.no_grad()
def images_of(flow: ImageFlow, noise: Array) -> Array:
    """Decode normal noise ``(..., D)`` with the first network.

    Returns images ``(..., D)`` of whole numbers.
    """
    x = torch.from_numpy(noise.reshape(-1, 1, *flow.event_shape)).movedim(0, -1)
    x = x.expand(flow.members, *[-1] * 4).to(flow.dtype)
    for bijection in reversed([*flow.preprocessing.steps, *flow.chain]):
        x = bijection.inverse(x)[0]
    return np.floor(x[0].flatten(0, 2).T.numpy()).clip(0, flow.levels - 1).reshape(noise.shape)


def scale_of(chain: Iterable[Bijection], x: Tensor) -> Tensor:
    """Return the scale at which each latent is factored out, 0 for the finest.

    ``x`` must be zeros with the shape of a point.
    """
    for part in chain:
        if isinstance(part, Chain):
            x = part.leave(x, scale_of(part, part.enter(x) + isinstance(part, FactorOut)))
    return x
