"""Models in and out of safetensors files: no pickle, and one JSON entry that says how to build the model again."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

import flows
from flows import atomic
from flows.population import Population

METADATA_KEY = "flows"  # a single key: with two or more, safetensors writes them in a random order and the bytes differ


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this project, or a damaged one. The message names it."""


def save(model: Population, path: str | Path) -> None:
    """Write ``model`` to ``path``, whole or not at all. The same model gives the same bytes. Raises ``OSError`` where that can't be done."""
    entry = json.dumps({"model": type(model).__name__, "arguments": model.arguments}, sort_keys=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic.replacing(Path(path)) as unfinished:
        unfinished.write_bytes(to_bytes(state, metadata={METADATA_KEY: entry}))


def load(path: str | Path) -> Population:
    """The population or reference in ``path``, in evaluation mode. Raises ``CheckpointError``, which names the file."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: truncated, or not a safetensors file ({error})") from None
    if METADATA_KEY not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but without the metadata entry {METADATA_KEY!r} of this project")
    try:
        entry = json.loads(metadata[METADATA_KEY])
        model_class = getattr(flows, entry["model"])
        if not issubclass(model_class, Population):
            raise TypeError(f"{entry['model']} is not a model")
        return model_class.restore(entry["arguments"], state).eval()
    except Exception as error:  # whatever is wrong inside a foreign file, the user needs its name and one line
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: its metadata and its tensors don't describe a model of this project ({reason[:200]})") from None
