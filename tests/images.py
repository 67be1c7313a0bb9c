"""Small flows over images, and images, for several modules."""

from __future__ import annotations

import numpy as np

import flows
from flows.networks import registry

MEMBERS, SHAPE = 2, (3, 4, 6)  # channels, height, width: three different numbers
FLOWS = {
    "realnvp": ("realnvp_image", {}),
    "realnvp-affine": ("realnvp_image", {"transform": "affine"}),
    "glow": ("glow_image", {}),
    "glow-published": ("glow_image", {"transform": "affine", "mixing": "learned"}),
    "glow-splines": ("glow_image", {"mixing": "learned"}),
}


def build(flow, shape=(1, 8, 8), members=MEMBERS, **others):
    name, settings = FLOWS[flow]
    settings = {"steps": [2, 2], "hidden": 8, **settings, **others}
    return flows.build(registry.architecture(name, settings), shape, members=members)


def whole(n=12, shape=(1, 8, 8), levels=17, seed=0):
    return np.random.default_rng(seed).integers(0, levels, (n, *shape))
