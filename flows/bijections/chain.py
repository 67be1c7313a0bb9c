"""The composition of bijections, on whole points or on a part or a view of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flows.bijections.bijection import Bijection


def compose(
    chain: Sequence[Bijection], x: Tensor, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Map ``x`` ``(M, D, N)`` by each of a chain in turn; add up their log-determinants.

    With ``inverse`` it goes from noise to data, from the last to the first.
    """
    log_det = x.new_zeros(x.shape[0], 1)
    for bijection in reversed(chain) if inverse else chain:
        x, change = bijection.inverse(x) if inverse else bijection.forward(x)
        log_det = log_det + change
    return x, log_det


class Chain(Bijection):
    """The composition ``f = f_K o ... o f_1`` of bijections::

        forward:  z = f(x)          log_det = sum_k log |det df_k|
        inverse:  x = f^-1(z)       log_det = sum_k log |det df_k^-1|

    A chain has a length, and ``chain[k]`` is the bijection at place k, from data to noise.

    A subclass selects by ``enter`` the part of the points that is mapped, and by ``leave`` puts the
    result in its place.
    """

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)

    def __len__(self) -> int:
        return len(self.bijections)

    def __getitem__(self, place: int) -> Bijection:
        return cast(Bijection, self.bijections[place])

    def __iter__(self) -> Iterator[Bijection]:
        return iter(cast(list[Bijection], list(self.bijections)))

    def enter(self, x: Tensor) -> Tensor:
        return x

    def leave(self, x: Tensor, z: Tensor) -> Tensor:
        return z

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = compose(list(self), self.enter(x))
        return self.leave(x, z), log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = compose(list(self), self.enter(z), inverse=True)
        return self.leave(z, x), log_det

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        x = self.enter(x)
        for bijection in self:
            bijection.initialize(x)
            x = bijection(x)[0]
