"""A model as a reader of ``params.yaml`` knows it.

Its settings with their limits, what it is called, its colour, and how to build it.

Light: torch is imported when a network is built, not when settings are read, which every stage
does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from flows.core.settings import Count, Section

if TYPE_CHECKING:
    import numpy as np

    from flows.bijections import Bijection, Coupling, Dropout
    from flows.bijections.coupling import Conditioner
    from flows.networks.network import Network


class Model(Section, ABC):
    """The settings of one model.

    A subclass in ``flows/models/<name>.py`` adds its own, each with a limit and a default.
    """

    label: ClassVar[str]  # in tables and figures
    color: ClassVar[str]  # of Okabe and Ito's palette (2008), which colour-blind readers tell apart

    @abstractmethod
    def build(
        self,
        event_shape: tuple[int, ...],
        generators: Sequence[np.random.Generator],
        description: dict[str, Any],
    ) -> Network:
        """An untrained population over ``event_shape``.

        A member a generator, which its initial weights are drawn from.
        """


class FlowModel(Model):
    """A flow over a normal distribution with tails: all that is left to say is its ``chain``."""

    @abstractmethod
    def chain(
        self, event_shape: tuple[int, ...], generators: Sequence[np.random.Generator]
    ) -> list[Bijection]:
        """The bijections from standardised data to noise.

        Raises ``ValueError`` for an event shape that they don't know.
        """

    def build(
        self,
        event_shape: tuple[int, ...],
        generators: Sequence[np.random.Generator],
        description: dict[str, Any],
    ) -> Network:
        from flows.networks.base_distribution import TailedNormal
        from flows.networks.flow import Flow

        return Flow(
            TailedNormal(len(generators), event_shape),
            self.chain(event_shape, generators),
            description,
        )


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

    def build(
        self,
        event_shape: tuple[int, ...],
        generators: Sequence[np.random.Generator],
        description: dict[str, Any],
    ) -> Network:
        if len(event_shape) != 1 or event_shape[0] < 2:
            raise ValueError(
                "a coupling needs vectors of at least 2 features, one to keep and one to change; "
                f"got event_shape={tuple(event_shape)}"
            )
        return super().build(event_shape, generators, description)

    def coupling(
        self,
        event_shape: tuple[int, ...],
        generators: Sequence[np.random.Generator],
        *,
        swap: bool = False,
    ) -> Coupling:
        """One coupling over vectors of at least two features."""
        from flows.bijections import AffineCoupling, SplineCoupling

        (dim,) = event_shape
        if self.transform == "affine":
            return AffineCoupling(dim, self.hidden, generators, swap=swap)
        return SplineCoupling(dim, self.hidden, generators, swap=swap, bins=self.bins)


class ImageModel(Model):
    """A flow over images ``(C, H, W)`` of whole-number pixels, at one scale or several.

    Its couplings are convolutional networks.

    At every scale blocks of 2 x 2 pixels are squeezed into channels. Then come its ``steps``; then
    half of the numbers leave, and the rest goes on to the next scale.

    Args:
        levels: how many values a pixel can have: whole numbers from 0 to levels - 1.
        steps: couplings at each scale, from fine to coarse; one number is a flow of a single scale.
        hidden: channels of both hidden layers of every coupling's network.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline; ignored by an affine coupling.
        base: ``"normal"``, for which a probit comes first; or ``"box"``, uniform noise, where a
            flow is splines and permutations alone.
        dropout: share of the hidden channels that are switched off at a visit in training.
        input_dropout: share of the numbers that a network is given which are hidden from it then.
    """

    prior: ClassVar[bool]  # whether what leaves is brought to the base by what stays

    levels: Annotated[int, Field(ge=2)] = 17
    steps: list[Count] = Field([12, 4], min_length=1)
    hidden: Count = 64
    transform: Literal["affine", "spline"] = "spline"
    bins: Annotated[int, Field(ge=2, le=100)] = 8
    base: Literal["normal", "box"] = "normal"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.08

    @model_validator(mode="after")
    def _stays_in_the_box(self) -> ImageModel:
        if self.base == "box" and self.transform == "affine":
            raise ValueError("transform affine leaves the box: base must be normal")
        return self

    @abstractmethod
    def layers(
        self,
        channels: int,
        steps: int,
        generators: Sequence[np.random.Generator],
        conditioner: Conditioner,
    ) -> list[Bijection]:
        """The ``steps`` of one scale, on squeezed images of so many ``channels``."""

    def build(
        self,
        event_shape: tuple[int, ...],
        generators: Sequence[np.random.Generator],
        description: dict[str, Any],
    ) -> Network:
        from flows.bijections import Dropout, Probit, SplineCoupling
        from flows.networks.base_distribution import StandardNormal, Uniform
        from flows.networks.image_flow import ImageFlow

        dropout, bound, members = (
            Dropout(self.dropout, self.input_dropout),
            SplineCoupling.BOUND,
            len(generators),
        )
        scales = self._scale(event_shape, self.steps, generators, dropout)
        chain = [scales] if self.base == "box" else [Probit(bound), scales]
        base = (
            Uniform(members, event_shape, bound)
            if self.base == "box"
            else StandardNormal(members, event_shape)
        )
        return ImageFlow(base, chain, description, levels=self.levels, bound=bound, dropout=dropout)

    def coupling(
        self,
        channels: int,
        generators: Sequence[np.random.Generator],
        conditioner: Conditioner,
        *,
        swap: bool = False,
    ) -> Coupling:
        """A channel-wise coupling."""
        from flows.bijections import AffineCoupling, BoxSplineCoupling, SplineCoupling

        if self.transform == "affine":
            return AffineCoupling(
                channels, self.hidden, generators, swap=swap, conditioner=conditioner
            )
        kind = BoxSplineCoupling if self.base == "box" else SplineCoupling
        return kind(
            channels, self.hidden, generators, swap=swap, conditioner=conditioner, bins=self.bins
        )

    def _scale(
        self,
        shape: tuple[int, ...],
        steps: Sequence[int],
        generators: Sequence[np.random.Generator],
        dropout: Dropout,
    ) -> Bijection:
        """The scale ``steps[0]`` and all coarser ones, on images of ``shape``."""
        from functools import partial

        from flows.bijections import Convolution, FactorOut, Squeeze, squeezed

        channels, height, width = squeezed(shape)
        conditioner = partial(Convolution, pixels=(height, width), dropout=dropout)
        chain = self.layers(channels, steps[0], generators, conditioner)
        if len(steps) > 1:
            chain += [self.coupling(channels, generators, conditioner)] if self.prior else []
            chain.append(
                FactorOut(
                    [self._scale((channels // 2, height, width), steps[1:], generators, dropout)]
                )
            )
        return Squeeze(chain)
