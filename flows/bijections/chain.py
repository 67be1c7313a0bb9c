"""The composition of bijections, on all features of points or on a part of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flows.bijections.bijection import Bijection


def compose(
    chain: Sequence[Bijection], x: Tensor, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Apply the bijections of ``chain`` to ``x`` ``(M, *event, N)`` one after another.

    With ``inverse``, apply their inverses, from the last to the first. Return the mapped points and
    the sum of the log-determinants, ``(M, N or 1)``.
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

    ``len(chain)`` is the number of bijections, and ``chain[k]`` is the bijection at position k,
    counted from data to noise. A subclass may map a part of the points: ``enter`` selects the part,
    and ``leave`` puts the result back.

    Examples:
        >>> import torch
        >>> from flows.bijections import ActNorm, Chain
        >>> chain, x = Chain([ActNorm(2, 1), ActNorm(2, 1)]), torch.arange(6.0).view(1, 2, 3)
        >>> chain.initialize(x)
        >>> z, log_det = chain(x)
        >>> len(chain), torch.allclose(chain.inverse(z)[0], x, atol=1e-6)
        (2, True)
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
        """Return the part of ``x`` ``(M, *event, N)`` that the bijections map."""
        return x

    def leave(self, x: Tensor, z: Tensor) -> Tensor:
        """Return ``x`` with ``z`` in place of the part that ``enter`` selects."""
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
