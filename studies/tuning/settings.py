"""``params.yaml`` of this study, read and checked; and the pipeline's settings with some of them changed, each by a name as ``train.noise``."""

from __future__ import annotations

import copy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, ClassVar

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field, model_validator

from flows.core.errors import UserError, one_line
from flows.core.settings import Count, Section, Seed, Share, TrainingSettings
from stages.shared.settings import PARAMS, read

HERE = Path("studies/tuning")  # the study is run in the top folder
FIRST_FREE_SEED = 100  # the truth of data seeds below is for reporting only: nothing is chosen by it
METRICS = {"nll": "held-out NLL (nat)", "kl": "KL from the truth (nat)", "c2st_auc": "classifier AUC"}
Name = Annotated[str, Field(pattern=r"^[\w-]+$")]  # of the results


class Values(Section):
    """What a setting may be, in the words of Optuna's distributions."""

    choices: list[Any] | None = None
    low: Any = None
    high: Any = None
    step: Count = 1
    log: bool = False

    @model_validator(mode="after")
    def _are_possible(self) -> Values:
        try:
            self.distribution()
        except (TypeError, ValueError) as error:
            raise ValueError(f"give choices, or low and high, and step or log with them ({one_line(error)})") from None
        return self

    @property
    def ends(self) -> list[Any]:
        return self.choices or [self.low, self.high]

    def distribution(self) -> BaseDistribution:
        """Whole numbers where both ends are."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        kind: Any = CategoricalDistribution if self.choices is not None else IntDistribution if whole else FloatDistribution
        return kind(**self.model_dump(exclude_unset=True))


class SearchSettings(Section):
    """Points of a space, scored by cross-validation within the training rows."""

    cases: ClassVar[dict[str, dict[str, Any]]] = {"now": {}}
    model: str
    space: Annotated[dict[str, Values], Field(min_length=1)]
    folds: Annotated[int, Field(ge=2)] = 5
    members: Count = 2
    trials: Count = 40
    seed: Seed = 0


class ListSettings(Section):
    """Cases by hand, each a name and what it changes, scored against the truth of other data sets. ``samples``: score the samples as well."""

    space: ClassVar[dict[str, Values]] = {}
    trials: ClassVar = 0
    seed: ClassVar = 0
    model: str
    seeds: Annotated[list[Seed], Field(min_length=1)]
    members: Count
    fresh: Count
    cases: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    samples: bool = False
    only_reported: bool = False

    @model_validator(mode="after")
    def _chooses_by_free_seeds(self) -> ListSettings:
        if min(self.seeds) < FIRST_FREE_SEED and not self.only_reported:
            raise ValueError(f"seeds = {self.seeds}: must be at least {FIRST_FREE_SEED} each, or be only_reported")
        return self


class ImageCase(Section):
    """``settings`` of the model, a map per pixel before it, and what training adds (``images.py``)."""

    settings: dict[str, Any] = Field(default={})
    pixel_map: bool = False
    decay: Annotated[float, Field(ge=0)] = 0
    shift: Share = 0
    noise: Annotated[float, Field(ge=0, le=2)] = 0


class ImageSettings(Section):
    """Cases by hand, on images: so many are learned from, and the rest are scored on so many ``draws`` of u."""

    model: str
    members: Count
    learn: Count
    draws: Count
    training: TrainingSettings
    cases: Annotated[dict[Name, ImageCase], Field(min_length=1)]


class StudySettings(Section):
    searches: dict[Name, SearchSettings]
    lists: dict[Name, ListSettings]
    images: ImageSettings


def load() -> StudySettings:
    """Raises ``UserError`` with one line that names the first bad key."""
    return read(HERE / PARAMS, StudySettings)


def find(group: str, name: str) -> Any:
    """What is under ``searches`` or ``lists``. Raises ``UserError`` where there is none of that name."""
    contents = getattr(load(), group)
    if name not in contents:
        raise UserError(f"{HERE / PARAMS}: {group} has no {name}; it has: {', '.join(contents)}")
    return contents[name]


def changed(params: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``params`` with ``changes``, whose keys are the dotted names of settings. Raises ``UserError`` where there is no such section."""
    result = copy.deepcopy(params)
    for name, value in changes.items():
        *sections, key = name.split(".")
        try:
            reduce(getitem, sections, result)[key] = value
        except (KeyError, TypeError):
            raise UserError(f"{PARAMS}: {name}: there is no section {'.'.join(sections)}") from None
    return result


def changes_text(changes: dict[str, Any], model: str = "") -> str:
    """``noise 0, couplings 4``: the names without what goes without saying for ``model``."""
    shown = ((name.removeprefix("train.").removeprefix(f"models.{model}."), value) for name, value in changes.items())
    return ", ".join(name if isinstance(value, list) else f"{name} {value_text(value)}" for name, value in shown) or "nothing"


def value_text(value: Any) -> str:
    """Four digits of a real number; whole numbers without a point: a column of a table may have made floats of them."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.4g}"
    return str(value)
