"""A model as a reader of ``params.yaml`` knows it: its settings with their limits, what it is called, its colour, and how to build it.

Light: torch is imported when a network is built, not when settings are read, which every stage does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from flows.core.settings import Count, Section

if TYPE_CHECKING:
    import numpy as np

    from flows.bijections import Bijection, Coupling
    from flows.networks.network import Network


class Model(Section, ABC):
    """The settings of one model. A subclass in ``flows/models/<name>.py`` adds its own, each with a limit and a default."""

    label: ClassVar[str]  # in tables and figures
    color: ClassVar[str]  # of Okabe and Ito's palette (2008), which colour-blind readers tell apart

    @abstractmethod
    def build(self, event_shape: tuple[int, ...], generators: Sequence[np.random.Generator], description: dict[str, Any]) -> Network:
        """An untrained population over ``event_shape``: a member a generator, which its initial weights are drawn from."""


class FlowModel(Model):
    """A flow over a normal distribution with tails: all that is left to say is its ``chain``."""

    @abstractmethod
    def chain(self, event_shape: tuple[int, ...], generators: Sequence[np.random.Generator]) -> list[Bijection]:
        """The bijections from standardised data to noise. Raises ``ValueError`` for an event shape that they don't know."""

    def build(self, event_shape: tuple[int, ...], generators: Sequence[np.random.Generator], description: dict[str, Any]) -> Network:
        from flows.networks.base import TailedNormal
        from flows.networks.flow import Flow

        return Flow(TailedNormal(len(generators), event_shape), self.chain(event_shape, generators), description)


class CouplingModel(FlowModel):
    """A flow whose couplings are affine or splines.

    Args:
        couplings: how many.
        hidden: width of both hidden layers of every coupling's network.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline; ignored by an affine coupling.
    """

    couplings: Annotated[int, Field(ge=2)] = 8
    hidden: Count = 32
    transform: Literal["affine", "spline"] = "affine"
    bins: Annotated[int, Field(ge=2, le=100)] = 8

    def build(self, event_shape: tuple[int, ...], generators: Sequence[np.random.Generator], description: dict[str, Any]) -> Network:
        if len(event_shape) != 1 or event_shape[0] < 2:
            raise ValueError(f"a coupling needs vectors of at least 2 features, one to keep and one to change; got event_shape={tuple(event_shape)}")
        return super().build(event_shape, generators, description)

    def coupling(self, event_shape: tuple[int, ...], generators: Sequence[np.random.Generator], *, swap: bool = False) -> Coupling:
        """One coupling over vectors of at least two features."""
        from flows.bijections import AffineCoupling, SplineCoupling

        (dim,) = event_shape
        if self.transform == "affine":
            return AffineCoupling(dim, self.hidden, generators, swap=swap)
        return SplineCoupling(dim, self.hidden, generators, swap=swap, bins=self.bins)
