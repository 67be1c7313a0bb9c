"""The study's ``params.yaml``, and where the results of a row on a split are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from flows.core.settings import Count, Section, Seed, TrainingSettings
from stages.shared.settings import read

HERE = Path(__file__).parent
SPLITS = ("random", "contiguous")


class Row(Section):
    """``model`` as ``flows.build`` knows it, or ``vector``, on ``shape`` with its ``settings``; without, a peer. ``members``: networks, by split."""

    model: str = ""
    members: dict[str, Count] = Field(default={})
    shape: list[Count] = Field(default=[1, 8, 8])
    settings: dict[str, Any] = Field(default={})
    training: TrainingSettings = TrainingSettings()


class Protocol(Section):
    """What the claims on images share."""

    train: Count
    test: Count
    draws: Count
    samples: Count
    neighbours: Count


class Settings(Protocol):
    seed: Seed
    rows: dict[str, Row]


def load() -> Settings:
    return read(HERE / "params.yaml", Settings)


def folder(row: str, split: str) -> Path:
    return HERE / "results" / f"{row}_{split}"


def seconds(row: str, split: str) -> Path:
    """What is no part of the results, as no two runs take the same: DVC is not told of it."""
    return HERE / "seconds" / f"{row}_{split}.csv"
