"""The sections of ``params.yaml``: every key with its type and its limit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from flows import targets
from flows.core.columns import Column
from flows.core.errors import UserError
from flows.core.mixture import Truth
from flows.core.settings import Count, Positive, Section, Seed, TrainingSettings
from flows.networks import registry

TABLE = "table"  # the target that is no truth: the user's own rows

Folds = Annotated[int, Field(ge=2)]
# Of a key without a value, YAML says null.
Emptied = BeforeValidator(lambda value: {} if value is None else value)


def _kinds(value: dict[str, str]) -> dict[str, str]:
    for name, word in value.items():
        Column.parse(name, word)
    return value


class Component(Section):
    weight: Positive
    mean: Annotated[list[float], Field(min_length=1)]
    covariance: Annotated[list[list[float]], Field(min_length=1)]


class Data(Section):
    target: Literal[(*targets.names(), TABLE)]  # type: ignore[valid-type]
    samples: Annotated[int, Field(ge=20, le=10_000_000)]
    seed: Seed
    custom: list[Component] = Field(default=[])
    columns: Annotated[dict[str, str], Emptied, AfterValidator(_kinds)] = Field(default={})
    missing: Literal["stop", "drop"] = "stop"

    def make_truth(self) -> Truth | None:
        """Return the truth that these settings describe; of a table there is none.

        Raises ``ValueError`` where a custom mixture is none.
        """
        if self.target == TABLE:
            return None
        if self.target != "custom":
            return targets.make(self.target)
        if not self.custom:
            raise ValueError(
                "[] is no mixture; list at least one component (weight, mean, covariance)"
            )
        return targets.make("custom", components=[each.model_dump() for each in self.custom])


class Prepare(Section):
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed

    def test_rows(self, samples: int) -> int:
        return round(samples * self.test_fraction)


class Train(TrainingSettings):
    members: Count = 10


class TruthReference(Section):
    draws: Annotated[int, Field(ge=2)]


class Gmm(Section):
    max_components: Count
    folds: Folds


class Kde(Section):
    bandwidths: Count
    folds: Folds


class References(Section):
    """The truth, and simple models of the same rows."""

    truth: TruthReference
    independent: Annotated[Section, Emptied]  # nothing to set
    gaussian: Annotated[Section, Emptied]
    gmm: Gmm
    kde: Kde


TABLE_REFERENCES = [name for name in References.model_fields if name != "truth"]
LABELS = {
    "truth": ("truth", "#000000"),
    "independent": ("independent Gaussians", "#C4B7A6"),
    "gaussian": ("one Gaussian", "#225522"),
    "gmm": ("mixture (GMM)", "#E69F00"),
    "kde": ("kernel density", "#CC79A7"),
}


def label_and_color(name: str) -> tuple[str, str]:
    """Return what a model or a reference is called in tables and figures, and its colour.

    Raises ``LookupError``.
    """
    if name in LABELS:
        return LABELS[name]
    model = registry.find(name)
    return model.label, model.color


class Evaluate(Section):
    fresh: Annotated[int, Field(ge=100)]
    samples: Annotated[int, Field(ge=100)]
    neighbours: Count
    projections: Count
    grid: Annotated[int, Field(ge=10, le=1000)]
    seed: Seed


class Settings(Section):
    """All of ``params.yaml``.

    A section of ``models`` holds the model's own settings, and training settings that it overrides.
    """

    data: Data
    prepare: Prepare
    train: Train
    models: Annotated[dict[str, Annotated[dict[str, Any], Emptied]], Field(min_length=1)]
    references: References
    evaluate: Evaluate

    def training(self, model: str) -> Train:
        """Return the settings of ``train``, with what the model's own section overrides."""
        section = self.section(model)
        own = {key: section[key] for key in section if key in Train.model_fields}
        return self.train.model_copy(update=own)

    def architecture(self, model: str) -> dict[str, Any]:
        """Return what is left of a model's section: the settings of its class."""
        section = self.section(model)
        return {key: section[key] for key in section if key not in Train.model_fields}

    def section(self, model: str) -> dict[str, Any]:
        if model not in self.models:
            there = ", ".join(self.models)
            raise UserError(f"params.yaml: models.{model} is not there; the models are: {there}")
        return self.models[model]
