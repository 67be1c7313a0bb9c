"""Checkpoints: models as safetensors files, without pickle.

A JSON entry in the metadata says how to build the model again. ``networks/registry.py`` does so
from the result of ``read``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from flows.core import atomic
from flows.core.population import Population

if TYPE_CHECKING:
    from flows.density import Density

# A single key: with two or more, safetensors writes them in a random order and the bytes differ
METADATA_KEY = "flows"
HISTORY = "history."  # prefix of the names of the training history


class CheckpointError(ValueError):
    """A file that is damaged, or not a checkpoint of this project; the message names it."""


def save(model: Population | Density, path: str | Path) -> None:
    """Write ``model``, or the network of a density, to ``path``, whole or not at all.

    The same model gives the same bytes. Raises ``OSError`` where the file can't be written, and
    ``ValueError`` for a model without a ``description`` of how to build it again.
    """
    network = model if isinstance(model, Population) else model.network
    if "model" not in network.description:
        raise ValueError(
            f"a {type(network).__name__} that was put together by hand can't be saved; "
            "what flows.build makes can"
        )
    entry = json.dumps(network.description, sort_keys=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    tensors |= {f"{HISTORY}{name}": torch.from_numpy(x) for name, x in network.history.items()}
    with atomic.replacing(Path(path)) as unfinished:
        unfinished.write_bytes(to_bytes(tensors, metadata={METADATA_KEY: entry}))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """Return the description, the state and the history in ``path``.

    Raises ``CheckpointError``.
    """
    if not path.is_file():
        raise CheckpointError("no such file")
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
