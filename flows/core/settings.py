"""The base class of all settings, and the settings of training; no torch is needed.

The pipeline, the studies and the models check their input by these classes, so that a limit stands
in one place.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
FOLDS, MOST_MEMBERS = 5, 60  # of the automatic recipe: 5 folds x 12 candidates


class Section(BaseModel):
    """A group of settings, which is checked strictly.

    ``"10"`` and ``true`` are not taken as numbers; infinities and unknown keys are errors.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _noise(value: Any) -> Any:
    # One check in place of a union of types, for which pydantic reports an error for each part.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != "auto" and not (number and 0 <= value < float("inf")):
        raise ValueError("must be a number of at least 0, or auto")
    return value


class TrainingSettings(Section):
    """The settings of the training of a population.

    Args:
        recipe: ``"fixed"``, by the settings below; or ``"auto"``, from the training rows
            (``training/automatic/recipe.py``), for which only ``learning_rate``, ``clip``,
            ``batch_size`` and ``seed`` count.
        epochs: passes over the training points.
        batch_size: the most points of a step; an epoch is cut into equal steps, so no step is a
            small remainder.
        learning_rate: the highest rate of the schedule.
        noise: standard deviation, in standardised units, of the noise added afresh at each visit; 0
            for none; ``"auto"`` for ``noise_factor`` times the leave-one-out bandwidth of the
            training points (``smoothing.py``).
        noise_factor: see ``noise``; not used where that is a number.
        sharpen: how far, from 0 to 1, points move to their local means before the noise is added
            (``smoothing.py``).
        clip: the longest gradient of a member, as a norm; a longer one is scaled down.
        log_every: epochs between two rows of the history; the last epoch has a row in any case.
        seed: of the shuffling and the noise; every member has a stream of its own.
    """

    recipe: Literal["fixed", "auto"] = "fixed"
    epochs: Count = 1000
    batch_size: Count = 256
    learning_rate: Positive = 0.005
    noise: Annotated[Any, AfterValidator(_noise)] = "auto"
    noise_factor: Positive = 1.5
    sharpen: Share = 1.0
    clip: Positive = 1.0
    log_every: Count = 10
    seed: Seed = 0


class EvaluationSettings(Section):
    """The settings of an evaluation: how much is drawn.

    Args:
        fresh: points from the truth for the divergences.
        samples: points from each member for the modes.
        neighbours: k of precision, recall, density, coverage and the classifier.
        projections: directions of the sliced Wasserstein distance.
        seed: of all that is drawn.
    """

    fresh: Annotated[int, Field(ge=100)] = 100_000
    samples: Annotated[int, Field(ge=100)] = 10_000
    neighbours: Count = 5
    projections: Count = 128
    seed: Seed = 0


def folds_and_candidates(members: int) -> tuple[int, int]:
    """Return how many folds and candidates the automatic recipe uses to keep ``members`` networks.

    Each candidate has a network a fold. Raises ``ValueError`` where no numbers fit.
    """
    if members > MOST_MEMBERS or (members > FOLDS and members % FOLDS):
        raise ValueError(
            f"members = {members}: the automatic recipe keeps at most {FOLDS} networks, "
            f"or a multiple of {FOLDS} up to {MOST_MEMBERS}"
        )
    return min(members, FOLDS), max(1, members // FOLDS)


def explain(error: ValidationError, section: type[BaseModel], *, prefix: str = "") -> str:
    """Return one line on the first error: the key below ``prefix``, its value, what is allowed."""
    # A misspelt key is two errors, one that is not known and one that is missing: the first says
    # more.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    parts = [*filter(None, prefix.split(".")), *first["loc"]]
    key = ".".join(str(part) for part in parts)
    if first["type"] == "extra_forbidden":
        where = ".".join(map(str, parts[:-1])) or "the file"
        known = ", ".join(_section_at(section, first["loc"][:-1]).model_fields)
        return f"{key} is not a known key; allowed in {where}: {known}"
    if first["type"] == "missing":
        return f"{key} is missing"
    if not parts:
        sections = ", ".join(section.model_fields)
        return f"must hold the sections {sections}; it holds {first['input']!r}"
    message = first["msg"].removeprefix("Value error, ")
    # For a whole section, the message itself says what is wrong
    value = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
    return f"{key}{value}: {message[0].lower()}{message[1:]}"


def _section_at(section: Any, parts: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the section at the place ``parts`` inside ``section``."""
    for part in parts:
        inside = get_args(section)  # of list[...] and dict[..., ...], whose last is an item's type
        section = inside[-1] if inside else section.model_fields[part].annotation
    return section
