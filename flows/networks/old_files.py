"""The translation of files of earlier versions, up to commit 27b2496, to today's names."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flows.core.checkpoint import CheckpointError

MAPS = ("standardize.", "margins.", "whiten.")  # now inside of ``preprocessing``


def renamed(
    description: dict[str, Any], state: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description and the state of a file by today's names.

    Raises ``CheckpointError`` for a model that is gone.
    """
    if description["model"] == "floor":  # a mixture after preprocessing, with a weight of its own
        description = {**description, "model": "mixture"}
        state = {name.removeprefix("base."): t for name, t in state.items() if name != "weights"}
    settings = dict(description.get("settings", {}))
    if settings.pop("base", "normal") != "normal":
        raise CheckpointError("a model over the base box, which is gone; commit 27b2496 reads it")
    training = dict(description.get("training", {}))
    if training.get("recipe") == "found":
        training["recipe"] = "auto"
    if "floors" in training:
        training["references"] = training.pop("floors")
    new = {"settings": settings, "training": training}
    description |= {key: value for key, value in new.items() if key in description}
    state = {
        f"preprocessing.{name}" if name.startswith(MAPS) else name: t for name, t in state.items()
    }
    return description, state
