"""The kinds of models, which the files of ``flows/models`` subclass."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from flows.bijections import (
    AffineCoupling,
    Bijection,
    Coupling,
    FactorOut,
    Probit,
    SplineCoupling,
    Squeeze,
    squeezed,
)
from flows.bijections.coupling import Conditioner
from flows.conditioners import Convolution, Dropout
from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.core.settings import Count, Section
from flows.networks.base_distribution import StandardNormal, TailedNormal
from flows.networks.flow import Flow
from flows.networks.image_flow import ImageFlow
from flows.networks.network import Network
from flows.networks.population import Description


class Model(Section, ABC):
    """The settings of one model, as ``params.yaml`` gives them, and how to build its network.

    A subclass in ``flows/models/<name>.py`` adds settings of its own, each with a limit and a
    default.
    """

    label: ClassVar[str]  # in tables and figures
    color: ClassVar[str]  # of Okabe and Ito's palette (2008), which colour-blind readers tell apart
    has_density: ClassVar[bool] = True

    @abstractmethod
    def build(
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> Network:
        """Return an untrained population over ``event_shape``.

        It has a member for each of the ``generators``, which draws that member's initial weights.
        Raises ``ValueError`` for an event shape that the model can't take.
        """


class FlowModel(Model):
    """A flow over a normal distribution with tails, given by its ``chain``."""

    @abstractmethod
    def chain(self, event_shape: Shape, generators: Generators) -> list[Bijection]:
        """Return the bijections from standardised data to noise.

        Raises ``ValueError`` for an event shape that they can't take.
        """

    def build(
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> Network:
        base = TailedNormal(len(generators), event_shape)
        return Flow(base, self.chain(event_shape, generators), description)


class CouplingModel(FlowModel):
    """A flow over vectors whose couplings are affine or splines.

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
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> Network:
        if len(event_shape) != 1 or event_shape[0] < 2:
            raise ValueError(
                "a coupling needs vectors of at least 2 features, one to keep and one to change; "
                f"got event_shape={tuple(event_shape)}"
            )
        return super().build(event_shape, generators, description)


class ImageModel(Model):
    """A flow over images ``(C, H, W)`` of whole-number pixels, at one scale or several.

    A probit takes the box of all images to all of space, where the base is normal. At every scale
    blocks of 2 x 2 pixels are squeezed into channels, ``layers`` follow, whose couplings have
    convolutional networks, then half of the numbers leave, and the rest goes on to the next scale.

    Args:
        levels: how many values a pixel can have: whole numbers from 0 to levels - 1.
        steps: couplings at each scale, from fine to coarse; one number is a flow of a single scale.
        hidden: channels of both hidden layers of every coupling's network.
        transform: ``"affine"`` or ``"spline"``.
        bins: bins of a spline; ignored by an affine coupling.
        dropout: share of a network's hidden channels that are switched off at a visit in training.
        input_dropout: share of a network's inputs that are hidden from it then.
    """

    prior: ClassVar[bool]  # whether a coupling fits what leaves a scale to what stays

    levels: Annotated[int, Field(ge=2)] = 17
    steps: list[Count] = Field([12, 4], min_length=1)
    hidden: Count = 64
    transform: Literal["affine", "spline"] = "spline"
    bins: Annotated[int, Field(ge=2, le=100)] = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.08

    @abstractmethod
    def layers(
        self, channels: int, steps: int, generators: Generators, conditioner: Conditioner
    ) -> list[Bijection]:
        """Return the ``steps`` of one scale, on squeezed images of so many ``channels``."""

    def build(
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> Network:
        base, bound = StandardNormal(len(generators), event_shape), SplineCoupling.BOUND
        dropout = Dropout(self.dropout, self.input_dropout)
        chain = [Probit(bound), self._scale(event_shape, self.steps, generators, dropout)]
        return ImageFlow(base, chain, description, levels=self.levels, bound=bound, dropout=dropout)

    def _scale(
        self, shape: Shape, steps: Sequence[int], generators: Generators, dropout: Dropout
    ) -> Bijection:
        """Return the scale of ``steps[0]`` and all coarser ones, on images of ``shape``."""
        channels, height, width = squeezed(shape)
        conditioner = partial(Convolution, pixels=(height, width), dropout=dropout)
        chain = self.layers(channels, steps[0], generators, conditioner)
        if len(steps) > 1:
            if self.prior:
                chain.append(coupling(self, channels, generators, conditioner=conditioner))
            coarser = (channels // 2, height, width)
            chain.append(FactorOut([self._scale(coarser, steps[1:], generators, dropout)]))
        return Squeeze(chain)


def coupling(
    model: CouplingModel | ImageModel, dim: int, generators: Generators, **others: Any
) -> Coupling:
    """Return one coupling of ``model``, over ``dim`` features or channels.

    ``others`` are the arguments of ``Coupling``.
    """
    if model.transform == "affine":
        return AffineCoupling(dim, model.hidden, generators, **others)
    return SplineCoupling(dim, model.hidden, generators, bins=model.bins, **others)


def features(model: str, event_shape: Shape) -> int:
    """Return the number of features of vectors. Raises ``ValueError`` for points of other shapes.

    ``model`` is what the message calls the model that takes vectors alone.
    """
    if len(event_shape) != 1:
        raise ValueError(f"the {model} needs vectors; got event_shape={tuple(event_shape)}")
    return event_shape[0]
