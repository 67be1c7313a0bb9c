"""RealNVP on vectors (Dinh et al. 2017): couplings, and nothing else."""

from __future__ import annotations

from flows.bijections import Bijection, make_coupling
from flows.flow import Flow
from flows.seeds import torch_generators


class RealNVP(Flow):
    """Couplings that take turns: an even one transforms the second half of the features, an odd one the first.

    No batch normalisation: on one small table it only ties the points of a batch together.

    Args:
        dim: features D, at least 2.
        members: networks M, independently initialised.
        couplings: how many couplings; at least 2, or a half of the features stays as it is.
        hidden: width of both hidden layers of every conditioner.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline; ignored by an affine coupling.
        seed: of the initial weights.
    """

    def __init__(
        self, dim: int, members: int = 1, *, couplings: int = 8, hidden: int = 32, transform: str = "affine", bins: int = 8, seed: int = 0
    ) -> None:
        arguments = {"dim": dim, "members": members, "couplings": couplings, "hidden": hidden, "transform": transform, "bins": bins, "seed": seed}
        generators = torch_generators(seed, "initialize", members)
        layers: list[Bijection] = [make_coupling(dim, hidden, generators, swap=k % 2 == 1, transform=transform, bins=bins) for k in range(couplings)]
        super().__init__(layers, members, dim, arguments)
