"""``params.yaml``: read, and checked as a whole, by every stage before it does anything else."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, create_model

from flows import targets
from flows.core.columns import Column
from flows.core.errors import UserError, errors_in_one_line, one_line
from flows.core.mixture import Truth
from flows.core.settings import (
    Count,
    Positive,
    Section,
    Seed,
    TrainingSettings,
    explain,
    folds_and_candidates,
)
from flows.networks import registry

PARAMS = Path("params.yaml")
LEAST_TEST_ROWS = 10
TABLE = "table"  # the target that is no truth: the user's own rows
Emptied = BeforeValidator(
    lambda value: {} if value is None else value
)  # of a key without a value, YAML says null


def _target(value: str) -> str:
    allowed = [*targets.names(), TABLE]
    if value not in allowed:
        raise ValueError(f"must be one of {', '.join(allowed)}")
    return value


def _kinds(value: dict[str, str]) -> dict[str, str]:
    for name, word in value.items():
        Column.parse(name, word)
    return value


class Component(Section):
    weight: Positive
    mean: Annotated[list[float], Field(min_length=1)]
    covariance: Annotated[list[list[float]], Field(min_length=1)]


class Data(Section):
    target: Annotated[str, AfterValidator(_target)]
    samples: Annotated[int, Field(ge=20, le=10_000_000)]
    seed: Seed
    custom: list[Component] = Field(default_factory=list)
    columns: Annotated[dict[str, str], Emptied, AfterValidator(_kinds)] = Field(
        default_factory=dict
    )
    missing: Literal["stop", "drop"] = "stop"

    def make_truth(self) -> Truth | None:
        """The truth that these settings describe; none behind a table. Raises ``ValueError`` where a custom mixture is none."""
        if self.target == TABLE:
            return None
        if self.target != "custom":
            return targets.make(self.target)
        if not self.custom:
            raise ValueError(
                "[] is no mixture; list at least one component (weight, mean, covariance)"
            )
        return targets.make(
            "custom", components=[component.model_dump() for component in self.custom]
        )


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
    folds: Annotated[int, Field(ge=2)]


class Kde(Section):
    bandwidths: Count
    folds: Annotated[int, Field(ge=2)]


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
    """What a model or a reference is called in tables and figures, and its colour. Raises ``LookupError``."""
    return LABELS[name] if name in LABELS else (registry.find(name).label, registry.find(name).color)


class Evaluate(Section):
    fresh: Annotated[int, Field(ge=100)]
    samples: Annotated[int, Field(ge=100)]
    neighbours: Count
    projections: Count
    grid: Annotated[int, Field(ge=10, le=1000)]
    seed: Seed


class Settings(Section):
    """All of ``params.yaml``. A section of ``models`` holds the model's own settings, and training settings that it overrides."""

    data: Data
    prepare: Prepare
    train: Train
    models: Annotated[dict[str, Annotated[dict[str, Any], Emptied]], Field(min_length=1)]
    references: References
    evaluate: Evaluate

    def training(self, model: str) -> Train:
        """The training settings of one model: ``train``, with what its own section overrides."""
        own = {
            key: value for key, value in self.section(model).items() if key in Train.model_fields
        }
        return self.train.model_copy(update=own)

    def architecture(self, model: str) -> dict[str, Any]:
        """What is left of a model's section: the settings of its class."""
        return {
            key: value
            for key, value in self.section(model).items()
            if key not in Train.model_fields
        }

    def section(self, model: str) -> dict[str, Any]:
        if model not in self.models:
            raise UserError(
                f"{PARAMS}: models.{model} is not there; the models are: {', '.join(self.models)}"
            )
        return self.models[model]


class _Loader(yaml.SafeLoader):
    """Also YAML 1.2's floats, as DVC reads them: to PyYAML, ``5e-3`` is text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.\d+|\d+\.?\d*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)

SectionT = TypeVar("SectionT", bound=Section)


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. Raises ``UserError``."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}  # a safe loader
    except OSError as error:
        raise UserError(
            f"{path}: can't be read ({error.strerror}); run this from the top folder of the repository"
        ) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None


def check(content: Any, section: type[SectionT], path: Path = PARAMS, prefix: str = "") -> SectionT:
    """What a file holds as the ``section`` that it must be; ``path``, and the key ``prefix`` that it stands under, are only named in errors.

    Raises ``UserError`` with one line that names the first bad key, its value and what is allowed.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, section, prefix=prefix)}") from None


def read(path: Path, section: type[SectionT]) -> SectionT:
    """A YAML file as the ``section`` that it must be. Raises ``UserError`` as ``read_yaml`` and ``check`` do."""
    return check(read_yaml(path), section, path)


def load(path: Path = PARAMS) -> Settings:
    """Read and check ``params.yaml``, all of it. Raises ``UserError`` as ``read`` does."""
    return check_all(read_yaml(path), path)


def check_all(content: Any, path: Path = PARAMS) -> Settings:
    """What ``load`` does with what the file holds: every key by itself, then what no single key can tell."""
    settings = check(content, Settings, path)
    for key in Train.model_fields:
        if key not in settings.train.model_fields_set:
            raise UserError(f"{path}: train.{key} is missing")
    try:
        settings.data.make_truth()
    except ValueError as error:
        raise UserError(f"{path}: data.custom: {error}") from None
    for name, section in settings.models.items():
        try:
            both = create_model(
                name, __base__=(Train, registry.find(name))
            )  # a model may have keys of both
            check({**settings.train.model_dump(), **section}, both, path, f"models.{name}")
            training = settings.training(name)
            folds_and_candidates(training.members if training.recipe == "auto" else 1)
        except (LookupError, ValueError) as error:
            raise UserError(f"{path}: models.{name}: {error.args[0]}") from None
    if settings.data.target != TABLE:  # its rows are counted when they are read
        check_rows(settings, settings.data.samples, path)
    return settings


def check_rows(settings: Settings, rows: int, path: Path = PARAMS) -> None:
    """Whether ``rows`` are enough for these settings. Raises ``UserError``."""
    prepare, evaluate, references = settings.prepare, settings.evaluate, settings.references
    test = prepare.test_rows(rows)
    train = rows - test
    if test < LEAST_TEST_ROWS:
        least = f"leaves {test} test rows of {rows}; at least {LEAST_TEST_ROWS} are needed"
        raise UserError(f"{path}: prepare.test_fraction = {prepare.test_fraction}: {least}")
    limits = [
        (
            "evaluate.neighbours",
            evaluate.neighbours,
            "at most",
            test - 1,
            "one less than the number of test rows",
        ),
        (
            "references.gmm.folds",
            references.gmm.folds,
            "at most",
            train,
            "the number of training rows",
        ),
        (
            "references.kde.folds",
            references.kde.folds,
            "at most",
            train,
            "the number of training rows",
        ),
        ("evaluate.samples", evaluate.samples, "at least", test, "the number of test rows"),
        ("evaluate.fresh", evaluate.fresh, "at least", evaluate.samples, "evaluate.samples"),
    ]
    if settings.data.target != TABLE:  # of a table, fewer are taken where its rows are few
        fold = train - -(-train // references.gmm.folds)
        limits.append(
            (
                "references.gmm.max_components",
                references.gmm.max_components,
                "at most",
                fold,
                "the training rows of a fold",
            )
        )
        for name, section in settings.models.items():
            key = f"models.{name}.batch_size" if "batch_size" in section else "train.batch_size"
            limits.append(
                (
                    key,
                    settings.training(name).batch_size,
                    "at most",
                    train,
                    "the number of training rows",
                )
            )
    for key, value, word, limit, what in limits:
        if value > limit if word == "at most" else value < limit:
            raise UserError(f"{path}: {key} = {value}: must be {word} {limit}, {what}")


def run(stage: Callable[..., None]) -> None:
    """Run a stage with the words of the command line; an error that the user can put right is one line and exit status 1."""
    name, words = Path(sys.argv[0]).stem, sys.argv[1:]
    expected = [f"<{parameter}>" for parameter in inspect.signature(stage).parameters]
    if len(words) != len(expected):
        sys.exit(
            f"{name}: got {len(words)} arguments; usage: {' '.join([f'python -m stages.{name}', *expected])}"
        )
    with errors_in_one_line(name):
        try:
            stage(*words)
        except UserError:
            restore()
            raise


def restore() -> None:
    """Give back what is in Git and DVC took away: before a stage it removes what the stage is to write, and this one refused to."""
    gone = subprocess.run(
        ["git", "ls-files", "-z", "--deleted", "metrics", "figures"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    if names := [name for name in gone.split("\0") if name]:
        subprocess.run(
            ["git", "checkout", "--quiet", "--", *names], stderr=subprocess.DEVNULL, check=False
        )
