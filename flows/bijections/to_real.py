"""The map from a user's units to the real line, which a population gets when it is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from flows.bijections.bijection import Bijection
from flows.core.arrays import Array


class ToReal(Bijection):
    """The identity; subclasses are other fixed bijections from a user's units to the real line.

    All members share the map. A subclass is registered under its ``name``, so that a checkpoint can
    hold the map; a subclass with arguments also defines ``to_json`` and ``from_json``. For a
    population with a context, points are rows (x, y), and the log-determinants are those of y
    given x.

    A subclass may also know the values of rows. ``round`` then rounds samples, and ``spread`` gives
    rounded values a density. ``names`` are the names of the columns, and ``label_counts`` the
    numbers of their labels, 0 for numbers; both are empty if they are unknown.

    Examples:
        >>> import torch, flows
        >>> from flows.bijections.to_real import ToReal
        >>> class Positive(ToReal):
        ...     name = "positive"
        ...     def forward(self, x):
        ...         return x.log(), -x.log().sum(1)
        ...     def inverse(self, z):
        ...         return z.exp(), z.sum(1)
        >>> population = flows.build(flows.RealNVP(couplings=2), (2,), to_real=Positive())
        >>> bool((population.sample((100,)) > 0).all())
        True
    """

    name: ClassVar[str] = ""  # in a checkpoint
    maps: ClassVar[dict[str, type[ToReal]]] = {}
    names: Sequence[str] = ()
    label_counts: Sequence[int] = ()

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Register the class, so that checkpoints hold its maps."""
        super().__init_subclass__(**arguments)
        ToReal.maps[cls.name] = cls

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x), 1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z, z.new_zeros(len(z), 1)

    def map_rows(self, rows: Array) -> Array:
        """Return rows ``(n, M or 1, *event)`` in the user's units on the real line."""
        x = self(torch.from_numpy(rows).movedim(0, -1))[0]
        return x.movedim(-1, 0).contiguous().numpy()

    def round(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(M, D, N)`` in the user's units, rounded to the values of samples."""
        return x

    def spread(self, rows: Array, u: Array) -> Array:
        """Return ``rows`` with noise over the cells that rounded values stand for.

        Args:
            rows: rows ``(n, D)`` in the user's units; ``NaN`` stays.
            u: uniform numbers between -1/2 and 1/2, ``(n, D)``.
        """
        return rows

    def part(self, places: Sequence[int]) -> ToReal:
        """Return the map of the columns with the indices ``places``.

        Raises ``NotImplementedError`` if the map does not act on single columns.
        """
        if type(self) is not ToReal:
            raise NotImplementedError(f"{type(self).__name__} has no map of some of the columns")
        return self

    def allowed(self, d: int) -> str:
        """Return the values that column ``d`` may hold, for messages."""
        return "finite numbers"

    @property
    def description(self) -> dict[str, Any]:
        """What the description of a population holds of the map; ``of`` reads it."""
        return {"to_real": self.name, **self.to_json()} if self.name else {}

    def to_json(self) -> dict[str, Any]:
        """Return the arguments of the map as JSON."""
        return {}

    @classmethod
    def from_json(cls, description: Mapping[str, Any]) -> Self:
        """Return the map of a population with this ``description``."""
        return cls()

    @staticmethod
    def of(description: Mapping[str, Any]) -> ToReal:
        """Return the map in the ``description`` of a population.

        Raises ``LookupError`` for a name without a class.
        """
        if not (name := description.get("to_real", "")):
            return ToReal()
        if name not in ToReal.maps:
            problem = f"the map {name!r} to the real line is not defined"
            raise LookupError(f"{problem}; import the module with its class first")
        return ToReal.maps[name].from_json(description)
