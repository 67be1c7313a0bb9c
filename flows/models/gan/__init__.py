"""The generative adversarial network (Goodfellow et al. 2014), for comparison.

Its networks are in ``network.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from flows.core.settings import Count
from flows.networks.architecture import Model

if TYPE_CHECKING:
    import numpy as np

    from flows.networks.network import Network


class GAN(Model):
    """
    Args:
        hidden: width of both hidden layers of both networks.
        latent: dimensions of the generator's noise.
        penalty: weight of R1, in standardised units.
    """

    label: ClassVar[str] = "GAN"
    color: ClassVar[str] = "#56B4E9"

    hidden: Count = 112
    latent: Count = 8
    penalty: Annotated[float, Field(ge=0)] = 0.02

    def build(
        self,
        event_shape: tuple[int, ...],
        generators: Sequence[np.random.Generator],
        description: dict[str, Any],
    ) -> Network:
        from flows.models.gan.network import GANNetwork

        return GANNetwork(event_shape, generators, description, self)
