"""A fixed permutation of the features, so that every coupling splits them differently."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flows.bijections.bijection import Bijection
from flows.core.seeds import Generators


class Permutation(Bijection):
    """A fixed permutation of the features, or of the channels of an image.

    Every member draws its own permutation, unless ``order`` gives one for all members::

        forward:  z_i = x_order[i]      log_det = 0
        inverse:  x_order[i] = z_i      log_det = 0

    Sources: Dinh et al. 2015 (NICE), section 3.2; Durkan et al. 2019, section 3.3, who permute at
    random.

    Args:
        dim: the number of features D, or of channels C.
        generators: one generator per member, for its permutation.
        order: the permutation of all members, ``(D,)``.
        kept: the number of first features that stay in place, without ``order``.
    """

    order: Tensor

    def __init__(
        self,
        dim: int,
        generators: Generators,
        order: Sequence[int] | None = None,
        *,
        kept: int = 0,
    ) -> None:
        super().__init__()
        orders = [
            np.append(np.arange(kept), kept + g.permutation(dim - kept))
            if order is None
            else np.array(order)
            for g in generators
        ]
        self.register_buffer(
            "order", torch.from_numpy(np.stack(orders)).to(torch.get_default_dtype())
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._select(x, self.order.long()), x.new_zeros(x.shape[0], 1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._select(z, self.order.argsort(1)), z.new_zeros(z.shape[0], 1)

    def _select(self, x: Tensor, order: Tensor) -> Tensor:
        # The features of all members as rows of one matrix
        first = torch.arange(len(x), device=x.device)[:, None] * x.shape[1]
        return x.flatten(0, 1).index_select(0, (first + order).flatten()).view_as(x)
