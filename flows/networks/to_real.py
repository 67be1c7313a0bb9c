"""The map from a user's units to the real line, which a population gets when it is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from flows.bijections.bijection import Bijection
from flows.core.arrays import Array
from flows.core.checkpoint import CheckpointError


class ToReal(Bijection):
    """The identity; subclasses are other fixed bijections from a user's units to the real line.

    All members share the map. A subclass is registered under its ``name``, so that a file can hold
    the map; a subclass with arguments also defines ``to_json`` and ``from_json``. For a population
    with a context, it defines ``with_context`` and ``part``.

    A subclass may also know the values of rows. ``round`` then rounds samples, and ``spread`` gives
    rounded values a density. ``names`` are the names of the columns, and ``label_counts`` the
    numbers of their labels, 0 for numbers; ``ordered`` says which labels have an order. They are
    empty if they are unknown.

    Examples:
        >>> import torch, flows
        >>> from flows.networks.to_real import ToReal
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

    name: ClassVar[str] = ""  # in a file
    maps: ClassVar[dict[str, type[ToReal]]] = {}
    names: Sequence[str] = ()
    label_counts: Sequence[int] = ()
    ordered: Sequence[bool] = ()

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Register the class, so that files can hold its maps.

        Raises ``TypeError`` for a class that a file cannot hold.
        """
        super().__init_subclass__(**arguments)
        own = vars(cls)
        if not own.get("name"):
            raise TypeError(f"{cls.__name__} needs a name, under which a file holds the map")
        if "__init__" in own and not {"to_json", "from_json"} <= own.keys():
            raise TypeError(f"{cls.__name__} has arguments, so it needs to_json and from_json")
        other = ToReal.maps.setdefault(cls.name, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"the name {cls.name!r} of {cls.__name__} is that of {other.__name__}")
        ToReal.maps[cls.name] = cls  # a notebook may define the class again

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

    def with_context(self, context: int) -> ToReal:
        """Return the map of rows (x, y) whose log-determinants are those of y given x.

        Args:
            context: the number of features of x.

        Raises ``NotImplementedError`` if the map is not for rows with a context.
        """
        return self._only_identity("is not for populations with a context")

    def part(self, places: Sequence[int]) -> ToReal:
        """Return the map of the columns with the indices ``places``.

        Raises ``NotImplementedError`` if the map does not act on single columns.
        """
        return self._only_identity("has no map of some of the columns")

    def _only_identity(self, problem: str) -> ToReal:
        if type(self) is not ToReal:
            raise NotImplementedError(f"the map {type(self).__name__} to the real line {problem}")
        return self

    def allowed(self, d: int) -> str:
        """Return the values that column ``d`` may hold, for messages."""
        own = "" if type(self) is ToReal else f" that {type(self).__name__} maps to finite numbers"
        return f"finite numbers{own}"

    @property
    def description(self) -> dict[str, Any]:
        """What the description of a population holds of the map; ``of`` reads it."""
        return {"to_real": {"name": self.name, **self.to_json()}} if self.name else {}

    def to_json(self) -> dict[str, Any]:
        """Return the arguments of the map as JSON."""
        return {}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the map whose arguments ``to_json`` wrote."""
        return cls()

    @staticmethod
    def of(description: Mapping[str, Any]) -> ToReal:
        """Return the map in the ``description`` of a population.

        Raises ``CheckpointError`` for a name without a class.
        """
        if not (content := description.get("to_real")):
            return ToReal()
        if (name := content["name"]) not in ToReal.maps:
            problem = f"needs the map {name!r} to the real line, which is not defined"
            raise CheckpointError(f"{problem}; import the module with its class first")
        return ToReal.maps[name].from_json(content)
