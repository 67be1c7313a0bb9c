"""What the latents of a flow over images hold: images on the way between two, and images with the latents of one scale drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from flows.bijections import Bijection, FactorOut
from flows.bijections.chain import Chain
from flows.core.arrays import Array
from flows.networks.base import Uniform
from flows.networks.images import ImageFlow
from scipy.special import ndtr, ndtri
from torch import Tensor

STEPS, ANEW, EDGE = 11, 3, 1e-6


def between(flow: ImageFlow, first: Array, second: Array) -> Array:
    """Whole images ``(n, STEPS, 64)`` along great circles of normal noise from images ``(n, 64)`` to others."""
    a, b = (normal_noise(flow, images)[:, None] for images in (first, second))  # (n, 1, 64)
    t, cosine = (
        np.linspace(0, 1, STEPS)[:, None],
        (a * b).sum(2) / np.linalg.norm(a, axis=2) / np.linalg.norm(b, axis=2),
    )
    angle = np.arccos(cosine)[..., None]
    return images_of(flow, (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle))


def anew(flow: ImageFlow, images: Array, rng: np.random.Generator) -> Array:
    """Whole images ``(n, 1 + ANEW (scales + 1), 64)``: each as it is; with the latents of one scale drawn anew, from fine to coarse; with all."""
    scale = scale_of(flow.chain, torch.zeros(1, *flow.event_shape, 1)).flatten().numpy()
    kept, fresh = (
        normal_noise(flow, images)[:, None],
        rng.standard_normal((len(images), ANEW, images.shape[1])),
    )
    chosen = [*(scale == k for k in range(int(scale.max()) + 1)), scale >= 0]
    return images_of(
        flow, np.concatenate([kept, *(np.where(new, fresh, kept) for new in chosen)], axis=1)
    )


def normal_noise(flow: ImageFlow, images: Array) -> Array:
    """The first network's latents ``(n, D)`` of the middles of images' cells, as normal numbers."""
    z = flow.encode(images.reshape(-1, *flow.event_shape) + 0.5)[:, 0].flatten(1).double().numpy()
    return (
        ndtri(((z / flow.base.bound + 1) / 2).clip(EDGE, 1 - EDGE))
        if isinstance(flow.base, Uniform)
        else z
    )


@torch.no_grad()
def images_of(flow: ImageFlow, noise: Array) -> Array:
    """The first network's whole images ``(..., D)`` of normal noise."""
    z = (2 * ndtr(noise) - 1) * flow.base.bound if isinstance(flow.base, Uniform) else noise
    x = (
        torch.from_numpy(z.reshape(-1, 1, *flow.event_shape))
        .movedim(0, -1)
        .expand(flow.members, *[-1] * 4)
        .to(flow.dtype)
    )
    for bijection in reversed([*flow.door.chain, *flow.chain]):
        x = bijection.inverse(x)[0]
    return np.floor(x[0].flatten(0, 2).T.numpy()).clip(0, flow.levels - 1).reshape(noise.shape)


def scale_of(chain: Sequence[Bijection], x: Tensor) -> Tensor:
    """The scale that each number of noise leaves at, 0 is the finest; zeros in."""
    for part in chain:
        if isinstance(part, Chain):
            x = part.leave(x, scale_of(part.chain, part.enter(x) + isinstance(part, FactorOut)))
    return x
