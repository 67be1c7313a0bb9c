"""The study's ``params.yaml``, and where the results are."""

from __future__ import annotations

from pathlib import Path

from flows.core.settings import Count, Section
from stages.shared.settings import read

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


class Part(Section):
    splits: Count
    train: Count


class Settings(Section):
    ranking: Part
    full: Part
    fresh: Count
    members: dict[str, Count]
    tables: list[str]

    @property
    def rows(self) -> list[str]:
        """The rows of the results: our models, and all peers in one."""
        return [*self.members, "peers"]


def load() -> Settings:
    return read(HERE / "params.yaml", Settings)


def path(table: str, row: str, kind: str = "scores") -> Path:
    """``scores`` come out the same again; ``seconds`` don't, so DVC is not told of them."""
    return HERE / "results" / kind / f"{table}_{row}.csv"
