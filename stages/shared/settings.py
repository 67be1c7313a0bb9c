"""``params.yaml``: read, and checked as a whole, by every stage before it does anything else."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from flows import targets
from flows.core.columns import Column
from flows.core.errors import UserError, errors_in_one_line, one_line
from flows.core.mixture import Truth
from flows.core.settings import Count, Positive, Section, Seed, TrainingSettings, explain, folds_and_ways
from flows.networks import registry

PARAMS = Path("params.yaml")
LEAST_TEST_ROWS = 10
TABLE = "table"  # the target that is no truth: the user's own rows


def _target(value: str) -> str:
    allowed = [*targets.names(), TABLE]
    if value not in allowed:
        raise ValueError(f"must be one of {', '.join(allowed)}")
    return value


def _nothing(value: Any) -> Any:
    return {} if value is None else value  # of a key without a value, YAML says null


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
    columns: Annotated[dict[str, str], BeforeValidator(_nothing), AfterValidator(_kinds)] = Field(default_factory=dict)
    missing: Literal["stop", "drop"] = "stop"

    def make_truth(self) -> Truth | None:
        """The truth that these settings describe; none behind a table. Raises ``ValueError`` where a custom mixture is none."""
        if self.target == TABLE:
            return None
        arguments = {"components": [component.model_dump() for component in self.custom]} if self.target == "custom" else {}
        return targets.make(self.target, **arguments)


class Prepare(Section):
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed

    def test_rows(self, samples: int) -> int:
        return round(samples * self.test_fraction)


class Train(TrainingSettings):
    members: Count = 10


class TruthReference(Section):
    label: ClassVar[str] = "truth"
    color: ClassVar[str] = "#000000"

    draws: Annotated[int, Field(ge=2)]


class Independent(Section):  # nothing to set
    label: ClassVar[str] = "independent Gaussians"
    color: ClassVar[str] = "#C4B7A6"


class Gaussian(Section):  # nothing to set
    label: ClassVar[str] = "one Gaussian"
    color: ClassVar[str] = "#225522"


class Gmm(Section):
    label: ClassVar[str] = "mixture (GMM)"
    color: ClassVar[str] = "#E69F00"

    max_components: Count
    folds: Annotated[int, Field(ge=2)]


class Kde(Section):
    label: ClassVar[str] = "kernel density"
    color: ClassVar[str] = "#CC79A7"

    bandwidths: Count
    folds: Annotated[int, Field(ge=2)]


class References(Section):
    """The truth, and the floors: what simple models make of the same rows."""

    truth: TruthReference
    independent: Annotated[Independent, BeforeValidator(_nothing)]
    gaussian: Annotated[Gaussian, BeforeValidator(_nothing)]
    gmm: Gmm
    kde: Kde

    @classmethod
    def floors(cls) -> list[str]:
        return [name for name in cls.model_fields if name != "truth"]


def label_and_color(name: str) -> tuple[str, str]:
    """What a model or a reference is called in tables and figures, and its colour. Raises ``LookupError``."""
    field = References.model_fields.get(name)
    kind: Any = registry.find(name) if field is None else field.annotation
    return kind.label, kind.color


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
    models: Annotated[dict[str, Annotated[dict[str, Any], BeforeValidator(_nothing)]], Field(min_length=1)]
    references: References
    evaluate: Evaluate

    def training(self, model: str) -> Train:
        """The training settings of one model: ``train``, with what its own section overrides."""
        own = {key: value for key, value in self.section(model).items() if key in Train.model_fields}
        return Train.model_validate({**self.train.model_dump(), **own})

    def architecture(self, model: str) -> dict[str, Any]:
        """What is left of a model's section: the settings of its class."""
        return {key: value for key, value in self.section(model).items() if key not in Train.model_fields}

    def section(self, model: str) -> dict[str, Any]:
        if model not in self.models:
            raise UserError(f"{PARAMS}: models.{model} is not there; the models are: {', '.join(self.models)}")
        return self.models[model]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floats, as DVC reads them: to PyYAML, ``5e-3`` is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)

SectionT = TypeVar("SectionT", bound=Section)


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. Raises ``UserError``."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}  # a safe loader
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); run this from the top folder of the repository") from None
    except yaml.YAMLError as error:
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
    """What ``load`` does with what the file holds."""
    settings = check(content, Settings, path)
    for name in settings.models:
        _check_model(settings, name, path)
    _check_together(settings, path)
    return settings


def _check_model(settings: Settings, name: str, path: Path) -> None:
    try:
        kind = registry.find(name)
    except LookupError as error:
        raise UserError(f"{path}: models.{name}: {error.args[0]}") from None
    for key in settings.architecture(name):
        if key not in kind.model_fields:
            own = ", ".join((*kind.model_fields, *Train.model_fields))
            raise UserError(f"{path}: models.{name}.{key} is not a known key; allowed in models.{name}: {own}")
    check(settings.architecture(name), kind, path, f"models.{name}")
    overrides = {key: value for key, value in settings.section(name).items() if key in Train.model_fields}
    check({**settings.train.model_dump(), **overrides}, Train, path, f"models.{name}")


def _check_together(settings: Settings, path: Path) -> None:
    """What no single key can tell."""
    data = settings.data
    for key in Train.model_fields:
        if key not in settings.train.model_fields_set and key != "without":  # that is for ablations
            raise UserError(f"{path}: train.{key} is missing")
    if data.target == "custom" and not data.custom:
        raise UserError(f"{path}: data.custom = []: data.target is custom, so list at least one component (weight, mean, covariance)")
    try:
        data.make_truth()
    except ValueError as error:
        raise UserError(f"{path}: data.custom: {error}") from None
    for name in settings.models:
        training = settings.training(name)
        try:
            folds_and_ways(training.members if training.recipe == "found" else 1)
        except ValueError as error:
            raise UserError(f"{path}: models.{name}: {error}") from None
    if data.target == TABLE:  # its rows are counted when they are read
        return
    check_rows(settings, data.samples, path)


def check_rows(settings: Settings, rows: int, path: Path = PARAMS) -> None:
    """Whether ``rows`` are enough for these settings. Raises ``UserError``."""
    prepare, evaluate, references = settings.prepare, settings.evaluate, settings.references
    test = prepare.test_rows(rows)
    train = rows - test
    if test < LEAST_TEST_ROWS:
        least = f"leaves {test} test rows of {rows}; at least {LEAST_TEST_ROWS} are needed"
        raise UserError(f"{path}: prepare.test_fraction = {prepare.test_fraction}: {least}")
    largest_fold = train - -(-train // references.gmm.folds)
    limits = [
        ("evaluate.neighbours", evaluate.neighbours, "at most", test - 1, f"{test - 1}, one less than the number of test rows"),
        ("references.gmm.folds", references.gmm.folds, "at most", train, f"the number of training rows, {train}"),
        ("references.kde.folds", references.kde.folds, "at most", train, f"the number of training rows, {train}"),
        ("evaluate.samples", evaluate.samples, "at least", test, f"the number of test rows, {test}"),
        ("evaluate.fresh", evaluate.fresh, "at least", evaluate.samples, f"evaluate.samples = {evaluate.samples}"),
    ]
    if settings.data.target != TABLE:  # of a table, fewer are taken where its rows are few
        components = references.gmm.max_components
        limits.append(("references.gmm.max_components", components, "at most", largest_fold, f"the {largest_fold} training rows of a fold"))
    for name, section in settings.models.items() if settings.data.target != TABLE else ():
        where = f"models.{name}" if "batch_size" in section else "train"
        limits.append((f"{where}.batch_size", settings.training(name).batch_size, "at most", train, f"the number of training rows, {train}"))
    for key, value, word, limit, text in limits:
        if value > limit if word == "at most" else value < limit:
            raise UserError(f"{path}: {key} = {value}: must be {word} {text}")


def run(stage: Callable[..., None]) -> None:
    """Run a stage with the words of the command line; an error that the user can put right is one line and exit status 1."""
    name, words = Path(sys.argv[0]).stem, sys.argv[1:]
    expected = [f"<{parameter}>" for parameter in inspect.signature(stage).parameters]
    if len(words) != len(expected):
        sys.exit(f"{name}: got {len(words)} arguments; usage: {' '.join([f'python -m stages.{name}', *expected])}")
    with errors_in_one_line(name):
        try:
            stage(*words)
        except UserError:
            restore()
            raise


def restore() -> None:
    """Give back what is in Git and DVC took away: before a stage it removes what the stage is to write, and this one refused to."""
    gone = subprocess.run(["git", "ls-files", "-z", "--deleted", "metrics", "figures"], capture_output=True, text=True, check=False).stdout
    if names := [name for name in gone.split("\0") if name]:
        subprocess.run(["git", "checkout", "--quiet", "--", *names], stderr=subprocess.DEVNULL, check=False)
