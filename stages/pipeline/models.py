"""The files of trained models and fitted references."""

from __future__ import annotations

from common.storage import writing
from flows.core.checkpoint import CheckpointError
from flows.core.errors import UserError
from flows.networks.building import load, save
from flows.networks.population import Population
from stages.pipeline.files import checkpoint


def write_model(name: str, population: Population) -> None:
    """Write ``models/<name>.safetensors``. Raises ``UserError`` if that fails."""
    with writing(checkpoint(name)):
        save(population, checkpoint(name))


def read_model(name: str) -> Population:
    """Return the population in ``models/<name>.safetensors``.

    Raises ``UserError``, which names the file, for a file that cannot be read.
    """
    try:
        return load(checkpoint(name))
    except CheckpointError as error:
        raise UserError(f"{error}; `dvc repro train@{name}` writes it again") from None
