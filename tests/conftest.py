"""What several test modules share: double precision, and a shake of all parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn


@pytest.fixture
def float64() -> Iterator[None]:
    """Everything made within the test computes in double precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def perturb() -> Callable[[nn.Module, float], nn.Module]:
    """Moves all parameters of a module by Gaussian noise: at its initialisation, a coupling is the identity and proves nothing."""

    @torch.no_grad()
    def shake(module: nn.Module, scale: float = 0.3) -> nn.Module:
        generator = torch.Generator().manual_seed(2024)
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        return module

    return shake
