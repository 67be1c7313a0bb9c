"""The files of trained models and fitted references."""

from __future__ import annotations

from common.storage import writing
from flows.core.checkpoint import CheckpointError
from flows.core.errors import UserError
from flows.networks.building import load, save
from flows.networks.network import Network
from flows.networks.population import Population
from stages.pipeline.files import checkpoint


def write_model(name: str, population: Population) -> None:
    """Write ``models/<name>.safetensors``. Raises ``UserError`` if that fails."""
    with writing(checkpoint(name)):
        save(population, checkpoint(name))


def read_model(name: str) -> Network:
    """Return the trained network in ``models/<name>.safetensors``.

    Raises ``UserError``, which names the file, if it cannot be read or holds no trained network.
    """
    try:
        network = load(checkpoint(name))
        if not isinstance(network, Network) or "epoch" not in network.history:
            raise CheckpointError(f"{checkpoint(name)}: holds no trained network")
        return network
    except CheckpointError as error:
        raise UserError(f"{error}; `dvc repro train@{name}` writes it again") from None
