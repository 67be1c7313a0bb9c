"""The schema of ``params.yaml``: the type and the limits of each key, and checks across keys.

Each stage reads and checks the whole file before it does anything else.
"""

from __future__ import annotations

from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from common.settings import Train, check, read_yaml
from flows import truths
from flows.core.errors import UserError
from flows.core.plurals import counted
from flows.core.settings import (
    Count,
    EvaluationSettings,
    Positive,
    Section,
    Seed,
    Share,
    folds_and_kept,
)
from flows.core.truth import Truth
from flows.networks import registry
from flows.networks.architecture import Architecture
from flows.tables.columns import field
from stages.pipeline.files import PARAMS

LEAST_TEST_ROWS = 10
TABLE = "table"  # the target for the user's own rows, whose true density is unknown

Folds = Annotated[int, Field(ge=2)]
# YAML reads a key without a value as null.
Emptied = BeforeValidator(lambda value: {} if value is None else value)


def _kinds(value: dict[str, str]) -> dict[str, str]:
    for name, word in value.items():
        field.Field.parse(name, word)
    return value


class Component(Section):
    """A Gaussian of a custom mixture."""

    weight: Positive
    mean: Annotated[list[float], Field(min_length=1)]
    covariance: Annotated[list[list[float]], Field(min_length=1)]


class Data(Section):
    """The section ``data``: the density to draw from, or the user's table."""

    target: Literal[(*truths.names(), TABLE)]  # type: ignore[valid-type]
    samples: Annotated[int, Field(ge=20, le=10_000_000)]
    seed: Seed
    custom: list[Component] = Field(default=[])
    columns: Annotated[dict[str, str], Emptied, AfterValidator(_kinds)] = Field(default={})
    missing: Literal["stop", "drop"] = "stop"

    def make_truth(self) -> Truth | None:
        """Return the true density that these settings describe, or ``None`` for a table.

        Raises ``ValueError`` for an invalid custom mixture.
        """
        if self.target == TABLE:
            return None
        if self.target != "custom":
            return truths.make(self.target)
        if not self.custom:
            raise ValueError(
                "[] is not a mixture; list at least one component (weight, mean, covariance)"
            )
        return truths.make("custom", components=[each.model_dump() for each in self.custom])


class Prepare(Section):
    """The section ``prepare``: the split into training and test rows."""

    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed

    def test_rows(self, samples: int) -> int:
        """Return the number of test rows among ``samples`` rows."""
        return round(samples * self.test_fraction)


class TruthReference(Section):
    """The section ``references.truth``."""

    draws: Annotated[int, Field(ge=2)]


class Gmm(Section):
    """The section ``references.gmm``: a mixture of Gaussians."""

    max_components: Count
    folds: Folds


class Kde(Section):
    """The section ``references.kde``: a kernel density."""

    bandwidths: Count
    folds: Folds


class SharpenedKde(Section):
    noise_factor: Positive
    sharpen: Share


class References(Section):
    """The true density (the truth), and simple models of the same rows."""

    truth: TruthReference
    independent: Annotated[Section, Emptied]  # nothing to set
    gaussian: Annotated[Section, Emptied]
    gmm: Gmm
    kde: Kde
    sharpened_kde: SharpenedKde


TABLE_REFERENCES = [name for name in References.model_fields if name != "truth"]


class Evaluate(EvaluationSettings):
    """The section ``evaluate``."""

    grid: Annotated[int, Field(ge=10, le=1000)] = 200

    def limited(self, scored: int | None) -> Evaluate:
        """Return these settings for a model with at most ``scored`` points for one metric.

        ``None`` is no limit.
        """
        if scored is None:
            return self
        few = {"fresh": min(self.fresh, scored), "samples": min(self.samples, scored)}
        return self.model_copy(update=few)


class Settings(Section):
    """The content of ``params.yaml``.

    A section of ``models`` holds settings of an architecture, and training settings that override
    the settings in ``train``.
    """

    data: Data
    prepare: Prepare
    train: Train
    models: Annotated[dict[str, Annotated[dict[str, Any], Emptied]], Field(min_length=1)]
    references: References
    evaluate: Evaluate

    _parsed: dict[str, tuple[Architecture, Train]] = PrivateAttr(default_factory=dict)

    def architecture(self, model: str) -> Architecture:
        """Return the architecture that a section of ``models`` describes."""
        return self._parse(model)[0]

    def training(self, model: str) -> Train:
        """Return the training settings of a section of ``models``; ``train`` has the defaults."""
        return self._parse(model)[1]

    def _parse(self, model: str) -> tuple[Architecture, Train]:
        """Parse a section at its first use, and return its architecture and training settings.

        Raises ``UserError`` for an unknown section, and the errors of ``parse_section``.
        """
        if model not in self.models:
            there = ", ".join(self.models)
            raise UserError(f"{PARAMS}: models.{model} is missing; the models are: {there}")
        if model not in self._parsed:
            self._parsed[model] = registry.parse_section(
                model, self.models[model], self.train, prefix=f"models.{model}"
            )
        return self._parsed[model]


def load(path: Path = PARAMS) -> Settings:
    """Read and check all of ``params.yaml``. Raises ``UserError`` for an invalid file."""
    return check_all(read_yaml(path), path)


def check_all(content: Any, path: Path = PARAMS) -> Settings:
    """Check each key of ``content``, and then the conditions that involve several keys.

    Raises ``UserError``, which names the ``path`` and the key.
    """
    settings = check(content, Settings, path)
    # Their classes have defaults for users of the library, but the file must show every setting
    parts: dict[str, Section] = {"train": settings.train, "evaluate": settings.evaluate}
    for part, values in parts.items():
        for key in type(values).model_fields:
            if key not in values.model_fields_set:
                raise UserError(f"{path}: {part}.{key} is missing")
    try:
        settings.data.make_truth()
    except ValueError as error:
        raise UserError(f"{path}: data.custom: {error}") from None
    taken: dict[str, str] = {}  # labels and colours
    for name in settings.models:
        try:
            architecture, training = settings.architecture(name), settings.training(name)
        except LookupError as error:
            raise UserError(f"{path}: models.{name}: {error.args[0]}") from None
        except ValueError as error:
            raise UserError(f"{path}: {error}") from None
        for what, own in ("label", architecture.label), ("colour", architecture.color):
            if (other := taken.setdefault(own, name)) != name:
                same = f"its {what}, {own}, is also that of models.{other}"
                raise UserError(f"{path}: models.{name}: {same}; give one of them another {what}")
        if architecture.is_automatic(training):
            try:
                folds_and_kept(training.members)
            except ValueError as error:
                raise UserError(f"{path}: models.{name}: {error}") from None
    if settings.data.target != TABLE:  # the rows of a table are counted when they are read
        check_rows(settings, settings.data.samples, path)
    return settings


def check_rows(settings: Settings, rows: int, path: Path = PARAMS) -> None:
    """Raise ``UserError`` if ``rows`` rows are too few for the settings."""
    fraction, test = settings.prepare.test_fraction, settings.prepare.test_rows(rows)
    train = rows - test
    if test < LEAST_TEST_ROWS:
        left = counted(test, "test row")
        least = f"leaves {left} of {rows}; at least {LEAST_TEST_ROWS} are needed"
        raise UserError(f"{path}: prepare.test_fraction = {fraction}: {least}")
    limits = [
        ("evaluate.neighbours", "at most", test - 1, "one less than the number of test rows"),
        ("references.gmm.folds", "at most", train, "the number of training rows"),
        ("references.kde.folds", "at most", train, "the number of training rows"),
        ("evaluate.samples", "at least", test, "the number of test rows"),
        ("evaluate.fresh", "at least", settings.evaluate.samples, "evaluate.samples"),
    ]
    if settings.data.target != TABLE:  # for a table, these settings are reduced automatically
        fold = train - -(-train // settings.references.gmm.folds)
        key = "references.gmm.max_components"
        limits.append((key, "at most", fold, "the number of training rows in a fold"))
        own = [f"models.{name}" for name, keys in settings.models.items() if "batch_size" in keys]
        batch = ("at most", train, "the number of training rows")
        limits += [(f"{section}.batch_size", *batch) for section in ("train", *own)]
    content = settings.model_dump()
    for key, word, limit, what in limits:
        value: Any = reduce(getitem, key.split("."), content)
        if value > limit if word == "at most" else value < limit:
            raise UserError(f"{path}: {key} = {value}: must be {word} {limit}, {what}")
