"""The study's ``params.yaml``: what each key may be, which cells that makes, and where the results of a cell are."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from flows.core.settings import Count, Positive, Section, Seed, Share, TrainingSettings
from stages.shared.settings import read

HERE = Path(__file__).parent
Few = Annotated[int, Field(ge=2)]
Words = Annotated[list[str], Field(min_length=1)]
Sizes = Annotated[list[Count], Field(min_length=1)]


class Base(TrainingSettings):
    """How a flow is trained where its group says nothing else, and what it is built of; its own class knows the limits of that."""

    hidden: int
    transform: str
    bins: int


class Remedy(TrainingSettings):
    """Training settings that differ from the base, and amounts, of which 0 is none.

    ``hold_out``: share of the rows (the last; they are in random order) on which each member's best epoch is chosen. ``decay`` of the
    weights. ``average``: share that the average of the weights keeps at each step. ``components`` of the base. ``networks`` of an ensemble.
    """

    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    decay: Annotated[float, Field(ge=0)] = 0.0
    average: Share = 0.0
    components: Annotated[int, Field(ge=0)] = 0
    networks: Count = 1

    def changes(self) -> dict[str, Any]:
        """What it says in ``params.yaml``."""
        return self.model_dump(exclude_unset=True)


class Settings(Section):
    class Replicates(Section):
        count: Few
        first: Seed

    class Rows(Section):
        train: Few
        test: Few

    class Evaluate(Section):
        fresh: Count
        samples: Count
        draws: Count
        neighbours: Count

    class Depth(Section):
        couplings: Sizes

    class Control(Section):
        effort: Positive

    class Curve(Section):
        models: Words
        couplings: Count
        rows: Sizes
        bandwidths: Count
        fresh: Count

    class Ablation(Section):
        couplings: Count
        variants: Annotated[dict[str, Remedy], Field(min_length=1)]

    class Claims(Section):
        couplings: Count
        threshold: Positive
        margins: Annotated[dict[Literal["nat", "share", "sample"], Positive], Field(min_length=3)]

    replicates: Replicates
    rows: Rows
    base: Base
    evaluate: Evaluate
    flows: Words
    depth: Depth
    control: Control
    equal: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    curve: Curve
    ablation: Ablation
    claims: Claims

    @property
    def data_seeds(self) -> list[int]:
        """One of each replicate."""
        return list(range(self.replicates.first, self.replicates.first + self.replicates.count))

    def training(self, **changes: Any) -> TrainingSettings:
        """Those of the base with ``changes``, among which what is no training setting is ignored."""
        chosen = {**self.base.model_dump(), **changes}
        return TrainingSettings(**{key: chosen[key] for key in TrainingSettings.model_fields})

    def words(self) -> dict[str, list[list[str]]]:
        """Of every group, what each word after it may be."""
        sweep = [self.flows, self.depth.couplings]
        groups: dict[str, list[Any]] = {"depth": sweep, "control": sweep, "equal": [[*self.equal, "truth"]]}
        groups |= {"curve": [self.curve.models, self.curve.rows], "ablation": [self.flows, self.ablation.variants]}
        return {group: [list(map(str, each)) for each in allowed] for group, allowed in groups.items()}

    def cells(self) -> list[tuple[str, ...]]:
        """Every cell by its words, as ``("depth", "glow", "8")``."""
        return [(group, *cell) for group, allowed in self.words().items() for cell in product(*allowed)]


def load() -> Settings:
    return read(HERE / "params.yaml", Settings)


def path(group: str, *cell: str) -> Path:
    """``results/depth/glow_8.csv`` for ``depth glow 8``."""
    return HERE / "results" / group / f"{'_'.join(cell)}.csv"
