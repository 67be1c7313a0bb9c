"""The generative adversarial network (Goodfellow et al. 2014), for comparison with the flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.core.settings import Count
from flows.networks.architecture import Architecture

if TYPE_CHECKING:
    from flows.networks.densities import Description
    from flows.networks.network_population import NetworkPopulation


class GAN(Architecture):
    """A generative adversarial network (Goodfellow et al. 2014), which has samples and no density.

    The points must be vectors.

    Args:
        hidden: width of both hidden layers of the generator and of the discriminator.
        latent: dimensions of the generator's noise.
        penalty: weight of the gradient penalty R1, in standardised units.

    Examples:
        >>> import flows
        >>> population = flows.build(flows.GAN(hidden=8), (2,), members=3)
        >>> population.sample((5,)).shape, population.supports("log_prob")
        (torch.Size([5, 3, 2]), False)
    """

    label: ClassVar[str] = "GAN"
    color: ClassVar[str] = "#56B4E9"
    has_density: ClassVar[bool] = False

    hidden: Count = 112
    latent: Count = 8
    penalty: Annotated[float, Field(ge=0)] = 0.02

    def build(
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> NetworkPopulation:
        from flows.networks.gan_population import GANPopulation

        return GANPopulation(event_shape, generators, description, **self.model_dump())
