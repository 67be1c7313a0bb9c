"""What training needs of a model.

The base of the flows and of the networks that they are compared with.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import torch
from torch import Tensor

from flows.bijections import Chain, Columns, Margins, Standardize, Whiten
from flows.core.arrays import Array, as_tensor
from flows.core.columns import Column
from flows.core.population import Population
from flows.core.seeds import generator_of
from flows.networks.gaussian_mixture import GaussianMixture

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
# Points as the networks see them, (M, *event, N), and the log-determinant (M, N or 1) of getting
# there
Seen = tuple[Tensor, Tensor]


class Network(Population):
    """A population of neural networks, none of which shares a parameter with another.

    Every parameter is ``(M, ...)``.

    Users' points are rows in their own units. Inside, points are standardised and *features first*,
    ``(M, *event, N)``. At the door stand fixed bijections, and their log-determinant is added to
    what goes out: ``kinds``, of the columns of a table; ``standardize``; ``margins`` and
    ``whiten``, where the recipe of training asks for them (``furnish``).

    ``weights`` ``(M,)`` are the members' in the ensemble. A subclass says how it learns by
    ``objective`` and how far it has come by ``curves``. ``betas`` are those of its optimiser.
    """

    weights: Tensor

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    real: ClassVar[bool] = True  # points are real numbers, which training may move and add noise to

    def __init__(
        self, members: int, event_shape: tuple[int, ...], description: dict[str, Any] | None = None
    ) -> None:
        super().__init__(members, event_shape, description or {})
        self.register_buffer("weights", torch.full((members,), 1 / members, dtype=torch.float64))
        self.kinds = Columns(self.columns) if self.columns else None
        self.standardize = Standardize(tuple(event_shape), members)
        self.margins: Margins | None = None
        self.whiten: Whiten | None = None

    @property
    def member_weights(self) -> Tensor:
        return self.weights

    @property
    def columns(self) -> list[Column]:
        """The columns of the table; none where the points are no table's."""
        return [Column.from_dict(column) for column in self.description.get("columns", ())]

    def furnish(self, margins: Sequence[int] = (), whiten: Sequence[int] = ()) -> None:
        """Put ``Margins`` and ``Whiten`` at the door.

        The identity until they are fitted, and for the members that are named for good.
        """
        self.margins = Margins(self.event_shape.numel(), self.members, margins)
        self.whiten = Whiten(self.event_shape.numel(), self.members, whiten)

    @property
    def door(self) -> Chain:
        """The fixed bijections that users' points ``(M, *event, n)`` come in by.

        In double precision.
        """
        return Chain(
            [
                bijection
                for bijection in (self.kinds, self.standardize, self.margins, self.whiten)
                if bijection is not None
            ]
        )

    # Inside: standardised points, features first

    @torch.no_grad()
    def initialize(self, z: Tensor) -> None:
        """Set what depends on the data from the training points ``(M, *event, N)``.

        Called once, before training.
        """

    @abstractmethod
    def objective(self, points: Tensor, generators: Sequence[np.random.Generator]) -> Objective:
        """What an epoch on ``points`` ``(M, *event, N)`` calls for every batch of them.

        Of a batch ``(M, *event, n)`` it gives the loss ``(M,)``, without its graph, and the
        gradient ``(M, P)`` by all parameters, in their order. A member's random numbers come from
        its own generator.
        """

    def visit(self, points: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """What a visit to ``points`` ``(M, *event, N)`` sees.

        The points, unless each stands for a region that one is drawn from.
        """
        return points

    @abstractmethod
    def curves(self, points: dict[str, Seen]) -> dict[str, Array]:
        """What is kept of training every few epochs: a name and a number per member ``(M,)``.

        ``points`` are ``train`` and perhaps others.
        """

    @abstractmethod
    def generate(self, n: int, generator: np.random.Generator) -> Tensor:
        """``n`` draws of every member, ``(M, *event, n)``."""

    # At the door

    def rows(self, value: Any, what: str = "rows") -> Tensor:
        """What training is given, as ``(n, M or 1, *event)``.

        Raises ``ValueError`` where there are no rows, or one can't be learnt.
        """
        rows = self.points(value, what)
        if rows.ndim != len(self.event_shape) + 2:
            raise ValueError(f"{what}: expected one axis of rows; got {tuple(rows.shape)}")
        if not len(rows):
            raise ValueError(f"{what} holds no rows")
        finite = rows.isfinite().flatten(1).all(1)
        if not finite.all():
            raise ValueError(
                f"row {int((~finite).nonzero()[0])} of {what} holds a value that is not finite"
            )
        return rows

    def features_first(self, value: Any) -> Tensor:
        """Users' points, as ``log_prob`` takes them, as ``(M, *event, n)``.

        In their own units and type.
        """
        value = self.points(value).to(self.device).flatten(0, -2 - len(self.event_shape))
        return value.expand(-1, self.members, *self.event_shape).movedim(0, -1)

    def standardized(self, value: Any) -> tuple[Tensor, Tensor]:
        """Users' points as the networks see them, and the log-determinant of getting there.

        ``(M, *event, n)`` and ``(M, n or 1)``, in double precision as it may be large.
        """
        z, log_det = self.door(self.features_first(value))
        return z.to(self.dtype).contiguous(), log_det

    def initialize_door(self, rows: Any) -> None:
        """Fit the door to users' training rows."""
        self.door.initialize(self.features_first(rows).double())

    def sample(
        self,
        sample_shape: torch.Size | list[int] | tuple[int, ...] = (),
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        """Draws ``sample_shape + (M, *event)`` in the user's units.

        In double precision, as these units may need it.
        """
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            return self._rows(
                self._out(self.generate(shape.numel(), generator_of(generator))), shape
            )

    def _out(self, z: Tensor) -> Tensor:
        """From the networks' points to the user's units, integers whole."""
        x, _ = self.door.inverse(z.double())
        return x if self.kinds is None else self.kinds.whole(x)

    def _rows(self, x: Tensor, shape: torch.Size) -> Tensor:
        """From the networks' ``(M, *event, n)`` to the public ``shape + (M, *event)``."""
        return x.movedim(-1, 0).reshape(*shape, self.members, *self.event_shape)

    def flatten(self) -> Tensor:
        """All parameters as one tensor ``(M, P)``, of which the modules' own become views.

        An optimiser then has one to work on.
        """
        own = list(self.parameters())
        flat = torch.cat([p.detach().flatten(1) for p in own], dim=1)
        for p, columns in zip(own, flat.split([p[0].numel() for p in own], dim=1), strict=True):
            p.data = columns.view(p.shape)
        return flat


class DensityNetwork(Network):
    """A network with a density, which a subclass gives by ``log_density``."""

    @abstractmethod
    def log_density(self, z: Tensor) -> Tensor:
        """``log q``, ``(M, N)``, of standardised points ``(M, *event, N)``.

        In standardised units.
        """

    def log_prob(self, value: Any) -> Tensor:
        if not isinstance(value, Tensor):  # no graph for what can't be differentiated by
            with torch.no_grad():
                return self.log_prob(as_tensor(value))
        value = self.points(value)
        z, log_det = self.standardized(value)
        return (self.log_density(z) + log_det).T.reshape(
            *value.shape[: -1 - len(self.event_shape)], self.members
        )

    @torch.no_grad()
    def curves(self, points: dict[str, Seen]) -> dict[str, Array]:
        """``train_nll`` and ``test_nll``, the mean negative log-likelihood.

        In nats, in the user's units.
        """
        return {
            f"{key}_nll": mean_nll(self.log_density(z), log_det)
            for key, (z, log_det) in points.items()
        }


class Floor(DensityNetwork):
    """A simple model of a table.

    A mixture of Gaussians ``base`` of what comes out of the door, with a single member. Nothing in
    it is trained.
    """

    def __init__(self, columns: Sequence[Column], margins: bool = False) -> None:
        shape = (len(columns),)
        super().__init__(
            1,
            shape,
            {
                "model": "floor",
                "event_shape": list(shape),
                "columns": [column.to_dict() for column in columns],
            },
        )
        if margins:
            self.margins = Margins(len(columns), 1)

    @torch.no_grad()
    def fit(self, rows: Array, mixture: Callable[[Array], GaussianMixture]) -> Self:
        """Fit the door, then by ``mixture`` the base, and give the model back.

        The door to the user's ``rows`` ``(n, D)``, the base to what comes out of it.
        """
        self.initialize_door(rows)
        self.base = mixture(self.standardized(rows)[0][0].T.numpy())
        return self

    @classmethod
    def restore(cls, columns: Sequence[Column], state: Mapping[str, Tensor]) -> Self:
        """The floor that a checkpoint holds the ``state`` of."""
        model = cls(columns, margins="margins.knots" in state)
        model.base = GaussianMixture(
            *(state[f"base.{name}"] for name in ("weights", "means", "covariances"))
        )
        model.load_state_dict(state)
        return model

    def log_density(self, z: Tensor) -> Tensor:
        return self.base.log_prob(z[0].T).T

    def generate(self, n: int, generator: np.random.Generator) -> Tensor:
        return self.base.sample((n,), generator).movedim(0, -1)

    def objective(self, *_: object) -> NoReturn:
        raise NotImplementedError("a floor is fitted, not trained")


def mean_nll(log_density: Tensor, log_det: Tensor) -> Array:
    """Mean negative log-likelihood in the user's units, ``(M,)``.

    Of standardised log-densities ``(M, N)``; summed in float64.
    """
    return -(log_density.double() + log_det).cpu().numpy().mean(axis=1)
