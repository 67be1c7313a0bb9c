"""The study's ``params.yaml``, and where the results are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flows.core.arrays import Array
from flows.core.settings import Count, Section
from stages.shared.settings import read

Density = Callable[[Array], Array]  # log-densities (n,) of rows (n, D); of a population (n, 1 + M), the ensemble's and its members'
Fit = Callable[[Array], Density]  # to standardised training rows
HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


class Part(Section):
    splits: Count
    train: Count


class Full(Part):
    """``models``: those of ours that take part."""

    models: list[str]


class Settings(Section):
    ranking: Part
    full: Full
    fresh: Count
    members: dict[str, Count]
    tables: list[str]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """What is fitted at a time, by its words: one of our models, or all peers."""
        return [*(("ours", model) for model in self.members), ("peers",)]


def load() -> Settings:
    return read(HERE / "params.yaml", Settings)


def path(table: str, row: tuple[str, ...], kind: str) -> Path:
    """``scores`` come out the same again; ``seconds`` don't, so DVC is not told of them."""
    return HERE / "results" / kind / f"{table}_{row[-1]}.csv"
