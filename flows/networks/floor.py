"""A simple model of a table's rows, behind the same door as the networks that it is a floor for."""

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, Self

import numpy as np
import torch
from torch import Tensor

from flows.bijections import Margins
from flows.core.arrays import Array
from flows.core.columns import Column
from flows.core.reference import GaussianMixture
from flows.networks.network import DensityNetwork


class Floor(DensityNetwork):
    """A mixture of Gaussians ``base`` of what comes out of the door, as a population with a single member. Nothing in it is trained."""

    def __init__(self, columns: Sequence[Column], margins: bool = False) -> None:
        shape = (len(columns),)
        super().__init__(1, shape, {"model": "floor", "event_shape": list(shape), "columns": [column.to_dict() for column in columns]})
        if margins:
            self.margins = Margins(len(columns), 1)

    @torch.no_grad()
    def fit(self, rows: Array, mixture: Callable[[Array], GaussianMixture]) -> Self:
        """Fit the door to the user's ``rows`` ``(n, D)``, then by ``mixture`` the base to what comes out of it, and give the model back."""
        self.initialize_door(rows)
        self.base = mixture(self.standardized(rows)[0][0].T.numpy())
        return self

    @classmethod
    def restore(cls, columns: Sequence[Column], state: Mapping[str, Tensor]) -> Self:
        """The floor that a checkpoint holds the ``state`` of."""
        model = cls(columns, margins="margins.knots" in state)
        model.base = GaussianMixture(*(state[f"base.{name}"] for name in ("weights", "means", "covariances")))
        model.load_state_dict(state)
        return model

    def log_density(self, z: Tensor) -> Tensor:
        return self.base.log_prob(z[0].T).T

    def generate(self, n: int, generator: np.random.Generator) -> Tensor:
        return self.base.sample((n,), generator).movedim(0, -1)

    def objective(self, *_: object) -> NoReturn:
        raise NotImplementedError("a floor is fitted, not trained")
