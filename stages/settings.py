"""``params.yaml``: read, and checked as a whole, by every stage before it does anything else."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WrapValidator

import flows
from flows import targets

PARAMS = Path("params.yaml")
NO_FILE = "models.{name}: there is no file flows/{name}.py or flows/baselines/{name}.py to build it from"

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0)]


def _noise(value: Any) -> Any:
    # One check in place of a union of types: of a union, pydantic reports a line for each part.
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    if not number and value != "auto":
        raise ValueError("must be a number of at least 0, or auto")
    return value


Noise = Annotated[Any, AfterValidator(_noise)]
Share = Annotated[float, Field(ge=0, le=1)]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


class UserError(Exception):
    """Something that the user can put right. Its message is one line that names the key or the file."""


class Section(BaseModel):
    # Strict: "10", true and 1e-3 (text to YAML) are not numbers. No infinities, no unknown keys.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Component(Section):
    weight: Positive
    mean: Pair
    covariance: Annotated[list[Pair], Field(min_length=2, max_length=2)]


class Data(Section):
    target: Literal["ring", "grid", "custom"]
    samples: Annotated[int, Field(ge=20, le=10_000_000)]
    seed: Seed
    custom: list[Component] = []

    def make_target(self) -> targets.Target:
        """The truth that these settings describe. Raises ``ValueError`` where a custom mixture is none."""
        if self.target == "custom":
            return targets.custom([c.weight for c in self.custom], [c.mean for c in self.custom], [c.covariance for c in self.custom])
        return {"ring": targets.ring, "grid": targets.grid}[self.target]()


class Prepare(Section):
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed

    def test_rows(self, samples: int) -> int:
        return round(samples * self.test_fraction)


class Train(Section):
    epochs: Count
    members: Count
    seed: Seed
    batch_size: Count
    learning_rate: Positive
    noise: Noise
    noise_factor: Positive
    sharpen: Share
    clip: Positive
    log_every: Count


class Model(Section):
    hidden: Count
    # A model may override a training setting in its own section.
    epochs: Count | None = None
    members: Count | None = None
    batch_size: Count | None = None
    learning_rate: Positive | None = None
    noise: Noise | None = None
    noise_factor: Positive | None = None
    sharpen: Share | None = None
    clip: Positive | None = None
    log_every: Count | None = None


class FlowModel(Model):
    couplings: Annotated[int, Field(ge=2)]
    transform: Literal["affine", "spline"]
    bins: Annotated[int, Field(ge=2, le=100)]


class VaeModel(Model):
    pass


class GanModel(Model):
    latent: Count
    penalty: Annotated[float, Field(ge=0)]


class NamedModels(Section):
    """The sections under ``models:``: a baseline has its own keys, every other one is a flow."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, FlowModel]
    vae: VaeModel = None  # type: ignore[assignment]  # no section, no model
    gan: GanModel = None  # type: ignore[assignment]


def _by_name(value: Any, _: Any) -> dict[str, Model]:
    sections = NamedModels.model_validate(value)
    return {name: getattr(sections, name) for name in value}  # in the order of the file


class Truth(Section):
    draws: Annotated[int, Field(ge=2)]


class Gmm(Section):
    max_components: Count
    folds: Annotated[int, Field(ge=2)]


class Kde(Section):
    bandwidths: Count
    folds: Annotated[int, Field(ge=2)]


class References(Section):
    truth: Truth
    gmm: Gmm
    kde: Kde


class Evaluate(Section):
    fresh: Annotated[int, Field(ge=100)]
    samples: Annotated[int, Field(ge=100)]
    neighbours: Count
    projections: Count
    grid: Annotated[int, Field(ge=10, le=1000)]
    seed: Seed


class Settings(Section):
    """All of ``params.yaml``."""

    data: Data
    prepare: Prepare
    train: Train
    models: Annotated[dict[str, Model], WrapValidator(_by_name), Field(min_length=1)]
    references: References
    evaluate: Evaluate

    def training(self, model: str) -> Train:
        """The training settings of one model: ``train``, with what its own section overrides."""
        own = self.model(model).model_dump(exclude_none=True)
        return self.train.model_copy(update={key: own[key] for key in own if key in Train.model_fields})

    def architecture(self, model: str) -> dict[str, Any]:
        """The constructor arguments in a model's section."""
        return {key: value for key, value in self.model(model).model_dump().items() if key not in Train.model_fields}

    def model(self, name: str) -> Model:
        if name not in self.models:
            raise UserError(f"{PARAMS}: models.{name} is not there; the models are: {', '.join(self.models)}")
        return self.models[name]


def load(path: Path = PARAMS) -> Settings:
    """Read and check ``params.yaml``. Raises ``UserError`` with one line that names the first bad key, its value and what is allowed."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); run this from the top folder of the repository") from None
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return check(content, path)


def check(content: Any, path: Path = PARAMS) -> Settings:
    """What ``load`` does with what the file holds; ``path`` is only named in errors."""
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}") from None
    _check_together(settings, path)
    return settings


def _explain(error: ValidationError) -> str:
    # A misspelt key is two errors, one that is not known and one that is missing: the first says more.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    parts = list(first["loc"])
    key = ".".join(str(part) for part in parts)
    if first["type"] == "extra_forbidden":
        return f"{key} is not a known key; allowed in {'.'.join(map(str, parts[:-1])) or 'the file'}: {', '.join(_known_keys(parts[:-1]))}"
    if first["type"] == "missing":
        if parts[0] == "models" and len(parts) > 1 and not flows.has_model(str(parts[1])):  # a misspelt name: all its keys are another model's
            return NO_FILE.format(name=parts[1])
        return f"{key} is missing"
    if not parts:
        return f"must hold the sections {', '.join(Settings.model_fields)}; it holds {first['input']!r}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key} = {first['input']!r}: {message[0].lower()}{message[1:]}"


def _known_keys(parts: list[Any]) -> list[str]:
    """The keys that the section at ``parts`` may have."""
    section: Any = Settings
    for part in parts:
        if section is dict:
            field = NamedModels.model_fields.get(part)
            section = field.annotation if field else FlowModel
            continue
        if isinstance(part, int):
            section = Component
            continue
        annotation = section.model_fields[part].annotation
        section = annotation if isinstance(annotation, type) else getattr(annotation, "__origin__", None)
    return list(section.model_fields)


def _check_together(settings: Settings, path: Path) -> None:
    """What no single key can tell."""
    data, prepare = settings.data, settings.prepare
    if data.target == "custom" and not data.custom:
        raise UserError(f"{path}: data.custom = []: data.target is custom, so list at least one component (weight, mean, covariance)")
    try:
        data.make_target()
    except ValueError as error:
        raise UserError(f"{path}: data.custom: {error}") from None
    test = prepare.test_rows(data.samples)
    train = data.samples - test
    least = 10
    if test < least:
        raise UserError(
            f"{path}: prepare.test_fraction = {prepare.test_fraction}: leaves {test} test rows of {data.samples}; at least {least} are needed"
        )
    if settings.evaluate.neighbours >= test:
        most = f"must be at most {test - 1}, one less than the number of test rows"
        raise UserError(f"{path}: evaluate.neighbours = {settings.evaluate.neighbours}: {most}")
    for reference, folds in (("gmm", settings.references.gmm.folds), ("kde", settings.references.kde.folds)):
        if folds > train:
            raise UserError(f"{path}: references.{reference}.folds = {folds}: must be at most the number of training rows, {train}")
    largest = train - -(-train // settings.references.gmm.folds)
    if settings.references.gmm.max_components > largest:
        raise UserError(
            f"{path}: references.gmm.max_components = {settings.references.gmm.max_components}: must be at most the {largest} training rows of a fold"
        )
    if settings.evaluate.samples < test:
        raise UserError(f"{path}: evaluate.samples = {settings.evaluate.samples}: must be at least the number of test rows, {test}")
    if settings.evaluate.fresh < settings.evaluate.samples:
        raise UserError(f"{path}: evaluate.fresh = {settings.evaluate.fresh}: must be at least evaluate.samples = {settings.evaluate.samples}")
    for name, model in settings.models.items():
        if not flows.has_model(name):
            raise UserError(f"{path}: {NO_FILE.format(name=name)}")
        training = settings.training(name)
        where = {key: f"models.{name}" if getattr(model, key) is not None else "train" for key in ("batch_size", "log_every")}
        if training.batch_size > train:
            raise UserError(f"{path}: {where['batch_size']}.batch_size = {training.batch_size}: must be at most the number of training rows, {train}")
        if training.log_every > training.epochs:
            raise UserError(f"{path}: {where['log_every']}.log_every = {training.log_every}: must be at most the number of epochs, {training.epochs}")


def run(stage: Callable[..., None]) -> None:
    """Run a stage with the words of the command line; an error that the user can put right is one line and exit status 1."""
    name, words = Path(sys.argv[0]).stem, sys.argv[1:]
    expected = [f"<{parameter}>" for parameter in inspect.signature(stage).parameters]
    if len(words) != len(expected):
        sys.exit(f"{name}: got {len(words)} arguments; usage: {' '.join([f'python -m stages.{name}', *expected])}")
    with errors_in_one_line(name):
        stage(*words)


@contextmanager
def errors_in_one_line(name: str, stopped: str = "stopped") -> Iterator[None]:
    """Inside, an error that the user can put right ends the program ``name`` with one line and exit status 1.

    ``stopped`` is what to say after an interrupt from the keyboard, of exit status 130.
    """
    try:
        yield
    except UserError as error:
        sys.exit(f"{name}: {error}")
    except OSError as error:  # of a command that is not there, as of a file, the error has the name
        sys.exit(f"{name}: {reason(error)}")
    except KeyboardInterrupt:
        print(f"{name}: {stopped}", file=sys.stderr)
        sys.exit(130)


def reason(error: OSError) -> str:
    """One line of the file, where the error knows it, and of what is wrong."""
    text = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return f"{error.filename}: {text}" if error.filename else text
