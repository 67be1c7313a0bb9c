"""Random parameters for tests: at its initial parameters, a coupling is the identity."""

import torch
from torch import nn


@torch.no_grad()
def shake(module: nn.Module, scale: float = 0.3, seed: int = 2024) -> nn.Module:
    """Add Gaussian noise of standard deviation ``scale`` to all parameters; return ``module``."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter += scale * torch.randn(
            parameter.shape, generator=generator, dtype=parameter.dtype
        )
    return module
