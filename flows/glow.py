"""Glow in vector form (Kingma and Dhariwal 2018): ActNorm, a learned linear mixing, a coupling; repeated."""

from __future__ import annotations

from flows.bijections import ActNorm, Bijection, PLULinear, make_coupling
from flows.flow import Flow
from flows.seeds import torch_generators


class Glow(Flow):
    """Steps of ActNorm, PLU linear and coupling. The couplings never swap: the learned mixing takes that part.

    In vector form there are no scales to split off, so what sets this apart from ``RealNVP`` is the mixing and the ActNorm.

    Args:
        dim: features D, at least 2.
        members: networks M, independently initialised.
        couplings: how many steps.
        hidden: width of both hidden layers of every conditioner.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline; ignored by an affine coupling.
        seed: of the initial weights and rotations.
    """

    def __init__(
        self, dim: int, members: int = 1, *, couplings: int = 8, hidden: int = 32, transform: str = "affine", bins: int = 8, seed: int = 0
    ) -> None:
        arguments = {"dim": dim, "members": members, "couplings": couplings, "hidden": hidden, "transform": transform, "bins": bins, "seed": seed}
        generators = torch_generators(seed, "initialize", members)
        layers: list[Bijection] = []
        for _ in range(couplings):
            layers += [ActNorm(dim, members), PLULinear(dim, generators)]
            layers.append(make_coupling(dim, hidden, generators, swap=False, transform=transform, bins=bins))
        super().__init__(layers, members, dim, arguments)
