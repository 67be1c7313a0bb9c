"""Checkpoints: models as safetensors files, without pickle.

A JSON entry in the metadata describes how to build the model. ``flows/saving.py`` saves and loads
populations with these functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from flows.core import atomic
from flows.core.arrays import Array

History = Mapping[str, Array]  # the arrays of the history and of the record, by name

# A single key: with two or more, safetensors writes them in a random order and the bytes differ
METADATA_KEY = "flows"
HISTORY = "history."  # prefix of the names of all arrays of ``History``


class CheckpointError(ValueError):
    """A file that is damaged, or not a checkpoint of this project."""


def write(
    path: Path, description: Mapping[str, Any], state: Mapping[str, Tensor], history: History
) -> None:
    """Write a checkpoint to ``path``, whole or not at all.

    ``description`` must be convertible to JSON; ``state`` holds the tensors of the model by name.
    Equal contents give equal bytes. Raises ``OSError`` if the file cannot be written.
    """
    entry = json.dumps(description, sort_keys=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    tensors |= {f"{HISTORY}{name}": torch.from_numpy(array) for name, array in history.items()}
    with atomic.replacing(path) as unfinished:
        unfinished.write_bytes(to_bytes(tensors, metadata={METADATA_KEY: entry}))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """Return the description, the state and the history in ``path``.

    Raises ``CheckpointError`` if the file is missing, damaged or not a checkpoint of this project.
    """
    if not path.is_file():
        raise CheckpointError("is a folder" if path.is_dir() else "no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in [*file.keys()]}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"truncated, or not a safetensors file ({error})") from None
    if METADATA_KEY not in metadata:
        what = (
            f"a safetensors file, but without the metadata entry {METADATA_KEY!r} of this project"
        )
        raise CheckpointError(what)
    try:
        description = dict(json.loads(metadata[METADATA_KEY]))
    except (TypeError, ValueError) as error:
        what = f"its metadata entry {METADATA_KEY!r} is not a JSON object ({error})"
        raise CheckpointError(what) from None
    names = [name for name in tensors if name.startswith(HISTORY)]
    history = {name.removeprefix(HISTORY): tensors.pop(name).numpy() for name in names}
    return description, tensors, history


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with ``prefix``, without the prefix."""
    return {
        name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)
    }
