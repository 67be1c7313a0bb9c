"""Random parameters and points for tests: at its first parameters, a coupling is the identity."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flows
from flows.kernels import build
from flows.networks import registry

compiled = pytest.mark.skipif(build.library() is None, reason="no C compiler, or FLOWS_KERNELS=off")


@torch.no_grad()
def shake(module: nn.Module, scale: float = 0.3, seed: int = 2024) -> nn.Module:
    """Add Gaussian noise of standard deviation ``scale`` to all parameters; return ``module``."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter += scale * torch.randn(
            parameter.shape, generator=generator, dtype=parameter.dtype
        )
    return module


def perturbed(
    model: str,
    dim: int = 2,
    members: int = 3,
    couplings: int = 3,
    hidden: int = 8,
    transform: str = "affine",
) -> Any:
    """Return a flow whose parameters are far from the identity."""
    flow = flows.build(
        registry.architecture(
            model.lower(), {"couplings": couplings, "hidden": hidden, "transform": transform}
        ),
        (dim,),
        members=members,
    )
    return shake(flow, 0.4 / max(hidden, 2 * dim) ** 0.5, seed=0)


def points(members: int, dim: int, n: int, seed: int = 1) -> Tensor:
    """Return random points ``(M, D, n)``."""
    return torch.randn(members, dim, n, generator=torch.Generator().manual_seed(seed))
