"""The files of trained models and fitted references."""

from __future__ import annotations

from common.storage import writing
from flows.core.arrays import Shape
from flows.core.checkpoint import CheckpointError
from flows.core.errors import UserError
from flows.networks.network_population import NetworkPopulation
from flows.networks.population import Population
from flows.saving import load, save
from stages.pipeline.files import TRAIN, checkpoint


def write_model(name: str, population: Population) -> None:
    """Write ``models/<name>.safetensors``. Raises ``UserError`` if that fails."""
    with writing(checkpoint(name)):
        save(population, checkpoint(name), population.record)


def read_model(name: str, event_shape: Shape) -> NetworkPopulation:
    """Return the trained population in ``models/<name>.safetensors``.

    Raises ``UserError``, which names the file, if it cannot be read, or holds no trained
    networks of rows of this shape.
    """
    try:
        population = load(checkpoint(name)).population
        if not isinstance(population, NetworkPopulation) or "epoch" not in population.history:
            raise CheckpointError(f"{checkpoint(name)}: holds no trained networks")
        shapes = population.event_shape, event_shape
        if shapes[0] != tuple(event_shape):
            held, wanted = (" x ".join(map(str, shape)) for shape in shapes)
            raise CheckpointError(
                f"{checkpoint(name)}: holds networks of {held} dimensions, and the rows of "
                f"{TRAIN} have {wanted}"
            )
        return population
    except CheckpointError as error:
        raise UserError(f"{error}; `dvc repro train@{name}` writes it again") from None
