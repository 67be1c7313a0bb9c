"""The composition of bijections, on whole points or on a part or a view of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flows.bijections.bijection import Bijection

Map = Callable[[Tensor], tuple[Tensor, Tensor]]


def compose(maps: Iterable[Map], x: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the ``maps`` to ``x`` ``(M, *event, N)`` in turn; add up their log-determinants."""
    log_det = x.new_zeros(x.shape[0], 1)
    for one in maps:
        x, change = one(x)
        log_det = log_det + change
    return x, log_det


class Chain(Bijection):
    """The composition ``f = f_K o ... o f_1`` of bijections::

        forward:  z = f(x)          log_det = sum_k log |det df_k|
        inverse:  x = f^-1(z)       log_det = sum_k log |det df_k^-1|

    A subclass selects by ``enter`` the part of the points that is mapped, and by ``leave`` puts the
    result in its place.
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
        z, log_det = compose((bijection.forward for bijection in self.chain), self.enter(x))
        return self.leave(x, z), log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        steps = (bijection.inverse for bijection in reversed(self.chain))
        x, log_det = compose(steps, self.enter(z))
        return self.leave(z, x), log_det

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        x = self.enter(x)
        for bijection in self.chain:
            bijection.initialize(x)
            x = bijection(x)[0]
