"""The variational autoencoder (Kingma and Welling 2014), for comparison with the flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flows.core.arrays import Shape
from flows.core.seeds import Generators
from flows.core.settings import Count
from flows.networks.architecture import Architecture

if TYPE_CHECKING:
    from flows.networks.densities import Description
    from flows.networks.network_population import NetworkPopulation


class VAE(Architecture):
    """A variational autoencoder (Kingma and Welling 2014) with two latent dimensions.

    The points must be vectors. One log-density is an integral over the latent space. Points with
    two columns share most of its cost; with other numbers of columns, each point takes
    milliseconds.

    Args:
        hidden: width of both hidden layers of the encoder and of the decoder.

    Examples:
        >>> import flows
        >>> population = flows.build(flows.VAE(hidden=8), (2,), members=3)
        >>> population.log_prob([[0.0, 0.0], [1.0, 2.0]]).shape
        torch.Size([2, 3])
    """

    label: ClassVar[str] = "VAE"
    color: ClassVar[str] = "#009E73"

    hidden: Count = 112

    @classmethod
    def scored(cls, event_shape: Shape) -> int | None:
        return None if tuple(event_shape) == (2,) else 2_000  # a minute for ten members

    def build(
        self, event_shape: Shape, generators: Generators, description: Description
    ) -> NetworkPopulation:
        from flows.networks.vae_population import VAEPopulation

        return VAEPopulation(event_shape, generators, description, hidden=self.hidden)
