"""A fixed permutation of the features, so that every coupling splits them in another way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flows.bijections.base import Bijection


class Permutation(Bijection):
    """An order of the features per member, drawn once::

        forward:  z_i = x_order[i]      log_det = 0
        inverse:  x_order[i] = z_i      log_det = 0

    Source: Dinh et al. 2015 (NICE), section 3.2, and Durkan et al. 2019, section 3.3, who permute at random.
    """

    order: Tensor

    def __init__(self, dim: int, generators: Sequence[np.random.Generator]) -> None:
        super().__init__()
        self.register_buffer("order", torch.stack([torch.from_numpy(g.permutation(dim)) for g in generators]).to(torch.get_default_dtype()))

    def _places(self, x: Tensor) -> Tensor:
        return self.order.long()[:, :, None].expand_as(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.gather(1, self._places(x)), x.new_zeros(x.shape[0], 1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.empty_like(z).scatter(1, self._places(z), z), z.new_zeros(z.shape[0], 1)
