"""The variational autoencoder (Kingma and Welling 2014), for comparison.

Its network is in ``network.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from flows.core.settings import Count
from flows.networks.architecture import Model

if TYPE_CHECKING:
    import numpy as np

    from flows.networks.network import Network


class VAE(Model):
    """
    Args:
        hidden: width of both hidden layers of both networks.
    """

    label: ClassVar[str] = "VAE"
    color: ClassVar[str] = "#009E73"

    hidden: Count = 112

    def build(
        self,
        event_shape: tuple[int, ...],
        generators: Sequence[np.random.Generator],
        description: dict[str, Any],
    ) -> Network:
        from flows.models.vae.network import VAENetwork

        return VAENetwork(event_shape, generators, description, hidden=self.hidden)
