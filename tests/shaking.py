"""Parameters away from their start, at which a coupling is the identity and proves nothing."""

import torch
from torch import nn


@torch.no_grad()
def shake(module: nn.Module, scale: float = 0.3, seed: int = 2024) -> nn.Module:
    """Add Gaussian noise of deviation ``scale`` to all parameters; return the module."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter += scale * torch.randn(
            parameter.shape, generator=generator, dtype=parameter.dtype
        )
    return module
