"""Architectures: typed settings that build populations; ``flows/models`` has a subclass per file.

Torch is imported only when a population is built, so checking settings is fast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.core.settings import Count, RecipeName, Section, TrainingSettings

if TYPE_CHECKING:
    from flows.bijections import Bijection, Coupling
    from flows.bijections.coupling import Conditioner
    from flows.conditioners import Dropout
    from flows.networks.densities import Description
    from flows.networks.network_population import NetworkPopulation


class Architecture(Section, ABC):
    """The settings of a population of networks, and how to build the population.

    A subclass in ``flows/models/<name>.py`` adds fields, each with a type, a limit and a default.
    Objects are immutable, and equal if their settings are equal. An invalid setting raises
    ``pydantic.ValidationError``, a ``ValueError``.

    A subclass also declares constants: its ``label`` in tables and figures, its ``color``, the
    training ``recipes`` that it supports (``"fixed"``, ``"auto"``), whether it has a density,
    whether its points are images, and whether it takes or even needs a context x, to learn
    p(y | x). If its density is expensive, the method ``scored`` limits the points of an evaluation.
    """

    label: ClassVar[str]
    color: ClassVar[str]  # of Okabe and Ito's or Tol's muted palette, for colour-blind readers
    recipes: ClassVar[tuple[RecipeName, ...]] = ("fixed",)
    has_density: ClassVar[bool] = True
    of_images: ClassVar[bool] = False
    takes_context: ClassVar[bool] = False
    needs_context: ClassVar[bool] = False

    @classmethod
    def is_automatic(cls, training: TrainingSettings) -> bool:
        """Return whether these settings train this architecture with the automatic recipe.

        An architecture without the automatic recipe is trained with the fixed recipe.

        Args:
            training: the settings of the training.
        """
        return training.recipe != "fixed" and "auto" in cls.recipes

    @classmethod
    def scored(cls, event_shape: Shape) -> int | None:
        """Return how many points of a kind an evaluation scores at most; ``None`` for all.

        Args:
            event_shape: the shape of a point.
        """
        return None

    @abstractmethod
    def build(
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> NetworkPopulation:
        """Return an untrained population for points of ``event_shape``; see ``flows.build``.

        Args:
            event_shape: ``(D,)`` for vectors, ``(C, H, W)`` for images.
            generators: the generators of the initial weights, one per member. Their number is the
                number of members M.
            description: the description of the population, which its checkpoint stores.

        Raises ``ValueError`` for an event shape that the architecture does not support.
        """


class FlowArchitecture(Architecture):
    """A flow over vectors: a ``chain`` of bijections over a base, by default ``TailedNormal``."""

    recipes: ClassVar[tuple[RecipeName, ...]] = ("fixed", "auto")

    @abstractmethod
    def chain(self, event_shape: Shape, generators: Generators) -> list[Bijection]:
        """Return the bijections from standardised data to noise.

        Args:
            event_shape: the shape of a point, ``(D,)``.
            generators: one per member; each draws the initial weights of its member.

        Raises ``ValueError`` for an event shape that the bijections do not support.
        """

    def conditional_chain(
        self, event_shape: Shape, context: int, generators: Generators
    ) -> list[Bijection]:
        """Return bijections of rows (x, y) that change only the points y.

        An architecture with this method also declares ``takes_context = True``.

        Args:
            event_shape: the shape of a point y, ``(D,)``.
            context: the number of features of the context x, at least 1.
            generators: one per member; each draws the initial weights of its member.
        """
        raise NotImplementedError

    def build(
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> NetworkPopulation:
        from flows.networks.base_distribution import Base, TailedNormal
        from flows.networks.flow import Flow

        name = description.get("base", TailedNormal.__name__)
        if name not in Base.known:
            raise LookupError(f"base {name!r} is not defined; import the module of its class first")
        base = Base.known[name](len(generators), event_shape)
        if context := description.get("inputs", description.get("context", 0)):
            chain = self.conditional_chain(event_shape, context, generators)
        else:
            chain = self.chain(event_shape, generators)
        return Flow(base, chain, description)


class CouplingArchitecture(FlowArchitecture):
    """A flow over vectors whose couplings are affine or splines; subclasses describe the fields."""

    couplings: Annotated[int, Field(ge=2)] = 8
    hidden: Count = 32
    transform: Literal["affine", "spline"] = "affine"
    bins: Annotated[int, Field(ge=2, le=100)] = 8

    def build(
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> NetworkPopulation:
        # One feature to keep, which may be the context, and one to change
        features(self.label, event_shape, least=1 if description.get("context") else 2)
        return super().build(event_shape, generators, description)


def _as_tuple(value: Any) -> Any:
    # YAML and JSON have lists but no tuples
    return tuple(value) if isinstance(value, list) else value


class ImageArchitecture(Architecture):
    """A flow over images ``(C, H, W)`` of whole-number pixels, at one scale or several.

    A probit maps the box of all images to the whole space, where the base is normal. At each scale,
    blocks of 2 x 2 pixels are squeezed into channels, and ``layers`` follow, whose couplings have
    convolutional networks. Half of the channels are then factored out as noise; the other half is
    the input of the next scale. Subclasses describe the fields.
    """

    of_images: ClassVar[bool] = True
    prior: ClassVar[bool]  # whether a coupling conditions factored-out channels on the others

    levels: Annotated[int, Field(ge=2)] = 17
    steps: Annotated[tuple[Count, ...], BeforeValidator(_as_tuple)] = Field((12, 4), min_length=1)
    hidden: Count = 64
    transform: Literal["affine", "spline"] = "spline"
    bins: Annotated[int, Field(ge=2, le=100)] = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.08

    @abstractmethod
    def layers(
        self, channels: int, steps: int, generators: Generators, conditioner: Conditioner
    ) -> list[Bijection]:
        """Return the bijections of one scale, on squeezed images.

        Args:
            channels: the number of channels of a squeezed image.
            steps: the number of couplings.
            generators: one per member; each draws the initial weights of its member.
            conditioner: builds the network of a coupling.
        """

    def build(
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> NetworkPopulation:
        from flows.bijections import Probit, SplineCoupling
        from flows.conditioners import Dropout
        from flows.networks.base_distribution import StandardNormal
        from flows.networks.image_flow import ImageFlow

        base, bound = StandardNormal(len(generators), event_shape), SplineCoupling.BOUND
        dropout = Dropout(self.dropout, self.input_dropout)
        chain = [Probit(bound), self._scale(event_shape, self.steps, generators, dropout)]
        return ImageFlow(base, chain, description, levels=self.levels, bound=bound, dropout=dropout)

    def _scale(
        self, shape: Shape, steps: Sequence[int], generators: Generators, dropout: Dropout
    ) -> Bijection:
        """Return the scale of ``steps[0]`` with all coarser scales, for images of ``shape``."""
        from flows.bijections import FactorOut, Squeeze, squeezed
        from flows.conditioners import Convolution

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
    architecture: CouplingArchitecture | ImageArchitecture,
    dim: int,
    generators: Generators,
    **others: Any,
) -> Coupling:
    """Return one coupling of ``architecture``, over ``dim`` features or channels.

    ``others`` are further arguments of ``Coupling``.
    """
    from flows.bijections import AffineCoupling, SplineCoupling

    if architecture.transform == "affine":
        return AffineCoupling(dim, architecture.hidden, generators, **others)
    bins = architecture.bins
    return SplineCoupling(dim, architecture.hidden, generators, bins=bins, **others)


def with_permutations(
    couplings: Sequence[Bijection], dim: int, context: int, generators: Generators
) -> list[Bijection]:
    """Return conditional couplings with permutations of the points between them.

    A permutation of the ``dim`` features of the points is random, so that every coupling splits
    them differently; two features change places. The ``context`` features stay in front of them.
    """
    from flows.bijections import Permutation

    order = [*range(context), context + 1, context] if dim == 2 else None
    bijections = list(couplings[:1])
    for each in couplings[1:]:
        if dim > 1:
            bijections.append(Permutation(context + dim, generators, order, kept=context))
        bijections.append(each)
    return bijections


def features(label: str, event_shape: Shape, least: int = 1) -> int:
    """Return the number of features D of an event shape ``(D,)``.

    Raises ``ValueError`` for points that are not vectors, or have fewer than ``least`` features;
    ``label`` names the architecture in the message.
    """
    if len(event_shape) != 1 or event_shape[0] < least:
        needed = "vectors" if least == 1 else f"vectors of at least {least} features"
        raise ValueError(f"{label} needs {needed}; got event_shape={tuple(event_shape)}")
    return event_shape[0]
