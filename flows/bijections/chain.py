"""Bijections one after another, as one; and as one that works on a part or a view of its points."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flows.bijections.bijection import Bijection


class Chain(Bijection):
    """``f = f_K o ... o f_1``::

        forward:  z = f(x)          log_det = sum_k log |det df_k|
        inverse:  x = f^-1(z)       log_det = sum_k log |det df_k^-1|

    A subclass says by ``enter`` what of the points goes through, and by ``leave`` how the result is
    put in its place.
    """

    def __init__(self, chain: Sequence[Bijection]) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(chain)

    @property
    def chain(self) -> list[Bijection]:
        """The bijections from data to noise."""
        return cast(list[Bijection], list(self.bijections))

    def enter(self, x: Tensor) -> Tensor:
        return x

    def leave(self, x: Tensor, z: Tensor) -> Tensor:
        return z

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._run(x, (bijection.forward for bijection in self.chain))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._run(z, (bijection.inverse for bijection in reversed(self.chain)))

    def _run(self, x: Tensor, steps: Iterable) -> tuple[Tensor, Tensor]:
        part, log_det = self.enter(x), x.new_zeros(x.shape[0], 1)
        for step in steps:
            part, change = step(part)
            log_det = log_det + change
        return self.leave(x, part), log_det

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        x = self.enter(x)
        for bijection in self.chain:
            bijection.initialize(x)
            x = bijection(x)[0]
