"""The study's ``params.yaml``, and where the results of a variant are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from flows.core.settings import Positive, Seed
from stages.shared.settings import read
from studies.digits.settings import Protocol, Row

HERE = Path(__file__).parent


class Variant(Row):
    """``actnorm``: whether those of a Glow stay. ``smooth``: pixels without steps (``score.smooth_noise``); there are no samples then."""

    actnorm: bool = True
    smooth: bool = False


class Settings(Protocol):
    replicates: Annotated[int, Field(ge=2)]
    first: Seed
    margins: Annotated[dict[Literal["bits", "sample"], Positive], Field(min_length=2)]
    variants: dict[str, Variant]


def load() -> Settings:
    return read(HERE / "params.yaml", Settings)


def path(variant: str, kind: str = "results") -> Path:
    """``seconds`` are no part of the results."""
    return HERE / kind / f"{variant}.csv"
