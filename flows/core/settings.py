"""The base class of all settings, and the settings of training and of evaluation; without torch.

The pipeline, the studies and the architectures validate their settings with these classes, so each
limit is stated once.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
FOLDS, MOST_MEMBERS = 5, 50  # limits of the automatic recipe: 5 folds x 10 regularisations

RecipeName = Literal["fixed", "auto", "quick"]


class Section(BaseModel):
    """A group of settings with strict validation.

    ``"10"`` and ``true`` are not accepted as numbers; infinities and unknown keys are errors.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _check_noise(value: Any) -> Any:
    # One check instead of a union of types, for which pydantic reports one error per type
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != "auto" and not (number and 0 <= value < float("inf")):
        raise ValueError("must be a number of at least 0, or auto")
    return value


class Recipe(Section):
    """The numbers of the automatic recipe, which were chosen once (docs/choices.md).

    Args:
        train_rows: the training rows of a fold, at most.
        check_rows: the rows that checks and curves are computed on, at most.
        batch: rows per step, at most: as good as 256 on tables, in half the time.
        epoch: steps per epoch, at most, to bound the memory.
        intervals: the least and the largest interval between two checks on held-out rows, in
            steps; otherwise, the interval is a tenth of the steps so far.
        raced: regularisations of an architecture that race each other, at most; those after the
            first round at least.
        halving_steps: the steps after which regularisations are dropped.
        spare: regularisations after the first round, as a multiple of the final number; 4 at least.
        least_steps: steps at the full learning rate, at least, unless the members overfit.
        most_steps: steps at the full learning rate, at most.
        last: training has converged if the members gained less than ``gain`` in this last share of
            the steps.
        gain: a gain in nats per row and column.
        least_overfitted: steps, at least, before training may end because the members overfit.
        overfitted: the members overfit if the steps so far are this many times the best step of
            each member.
        cooling: steps of the cooling, as a share of the steps before.
        warm_up_steps: steps over which the learning rate rises.
        target_rate: the learning rate of networks that are regularised like those of a target, as a
            multiple of the settings'.
        average: the decay, per step, of the moving average of a member's weights.
        log: steps between two rows of the history.
        components: components of a mixture, at most.
        searched_rows: rows that the search for a mixture learns from, at most.
        fitted_rows: rows that the last fit of a mixture learns from, at most.
        starts: starts of the last fit of a mixture.
        ridges: the numbers that may be added to the variances of a mixture, beside 0.001.
        filler_components: numbers of components of the mixture that fills gaps, to choose from.
        filler_rows: rows that the mixture that fills gaps is fitted to, at most.
        draws: completions of a row with gaps, at most; each row has at least one.
        completed_rows: completions of all rows of a fold together, at most.
        piece_rows: rows that are preprocessed and scored at a time, to bound the memory.
        rescored_rows: training rows that are scored like new rows, at most.
        process_rows: rows of a table whose target gets Gaussian processes, at most.
        process_points: inducing points of a Gaussian process, at most.
    """

    train_rows: Count = 50_000
    check_rows: Count = 2_000
    batch: Count = 128
    epoch: Count = 25
    intervals: tuple[Count, Count] = (5, 50)
    raced: Count = 50
    halving_steps: tuple[Count, Count] = (125, 500)
    spare: Count = 2
    least_steps: Count = 500
    most_steps: Count = 8_000
    last: Share = 1 / 3
    gain: Positive = 0.001
    least_overfitted: Count = 300
    overfitted: Count = 3
    cooling: Positive = 0.25
    warm_up_steps: Count = 50
    target_rate: Positive = 3.0
    average: Share = 0.99
    log: Count = 200
    components: Count = 24
    searched_rows: Count = 1_500
    fitted_rows: Count = 5_000
    starts: Count = 3
    ridges: tuple[Positive, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    filler_components: tuple[Count, ...] = (1, 2, 4, 8, 16)
    filler_rows: Count = 1_500
    draws: Count = 16
    completed_rows: Count = 16_000
    piece_rows: Count = 10_000
    rescored_rows: Count = 2_000
    process_rows: Count = 2_000
    process_points: Count = 200

    @property
    def name(self) -> RecipeName:
        """The name of the recipe with these numbers; ``"auto"`` for numbers of a user."""
        return "quick" if self == QUICK else "auto"

    def spared(self, kept: int) -> int:
        """Return the regularisations after the first round, if ``kept`` are trained to the end."""
        return max(self.spare * kept, 4)

    def completions(self, rows: int) -> int:
        """Return the number of completions of each of ``rows`` rows with gaps."""
        return max(1, min(self.draws, self.completed_rows // rows))


QUICK = Recipe(
    raced=4,
    halving_steps=(6, 12),
    least_steps=30,
    most_steps=40,
    warm_up_steps=5,
    components=2,
    starts=1,
    ridges=(1e-2,),
    filler_components=(1,),
    rescored_rows=100,
)


def _check_recipe(value: Any) -> Any:
    if value not in get_args(RecipeName) and not isinstance(value, Recipe):
        raise ValueError("input should be 'fixed', 'auto' or 'quick'")
    return value


class TrainingSettings(Section):
    """The settings for the training of a population.

    Args:
        recipe: ``"fixed"`` trains with the settings below. ``"auto"`` chooses settings from the
            training rows (``flows/recipe/recipe.py``); only ``learning_rate``, ``clip``,
            ``batch_size`` and ``seed`` affect it. ``"quick"`` is ``"auto"`` with few steps and
            small mixtures, to try a program: a few seconds. A ``Recipe`` is ``"auto"``
            with other numbers.
        epochs: the number of passes over the training points.
        batch_size: the largest number of points per step. An epoch is cut into equal steps, so the
            last step is not a small remainder.
        learning_rate: the highest learning rate of the schedule. The automatic recipe trains a
            network with a context at three times this rate.
        noise: the standard deviation, in standardised units, of the noise that is added to the
            points, drawn anew in every epoch; 0 for none; ``"auto"`` for ``noise_factor`` times the
            leave-one-out bandwidth of the training points (``smoothing.py``).
        noise_factor: the factor of ``noise="auto"``; not used if ``noise`` is a number.
        sharpen: how far points move to their local means before the noise is added, from 0 to 1
            (``smoothing.py``).
        clip: the largest norm of a member's gradient; a longer gradient is scaled down to it.
        log_every: the number of epochs between two rows of the history; the last epoch always has a
            row.
        seed: the seed of the shuffling and of the noise; every member has its own random stream.

    Raises pydantic's ``ValidationError``, a ``ValueError``, for unknown keys and invalid values.

    Examples:
        >>> import flows
        >>> settings = flows.TrainingSettings(epochs=100, noise=0.1)
        >>> settings.epochs, settings.noise, settings.batch_size
        (100, 0.1, 256)
    """

    recipe: Annotated[RecipeName | Recipe, PlainValidator(_check_recipe)] = "fixed"
    epochs: Count = 1000
    batch_size: Count = 256
    learning_rate: Positive = 0.005
    noise: Annotated[Any, AfterValidator(_check_noise)] = "auto"
    noise_factor: Positive = 1.5
    sharpen: Share = 1.0
    clip: Positive = 1.0
    log_every: Count = 10
    seed: Seed = 0

    @property
    def numbers(self) -> Recipe:
        """The numbers of the automatic recipe."""
        if isinstance(self.recipe, Recipe):
            return self.recipe
        return QUICK if self.recipe == "quick" else Recipe()

    def check_batch_size(self, rows: int) -> None:
        """Raise ``ValueError`` if ``batch_size`` is too large, unless it is the default.

        Args:
            rows: the number of training rows.
        """
        is_default = self.batch_size == type(self).model_fields["batch_size"].default
        if not is_default and self.batch_size > rows:
            raise ValueError(
                f"batch_size = {self.batch_size}: must be at most {rows}, the number of rows"
            )


def _check_rounds(value: list[int]) -> list[int]:
    fours = [value[start : start + 4] for start in range(0, len(value), 4)]
    if not value or len(value) % 4 or any(each != sorted(each) for each in fours):
        raise ValueError("must hold four numbers of steps, none smaller than the one before")
    return value


class Cuts(Section):
    """The places at which a limit of time cut the automatic recipe, as the record keeps them.

    Args:
        rounds: the steps, counted from the start, that ended the first and the second round of
            halving, the training at the full learning rate, and the cooling.
        searches: for each search of a candidate of mixtures (first with margins, then without), how
            many settings it evaluated; 0 or a missing number for no mixture.
        rescored: the number of training rows that were scored like new rows; ``None`` for the
            number of the recipe.
        cooled: the number of steps after which the clock ended the cooling; ``None`` if the cooling
            ended as ``rounds`` says.

    Raises pydantic's ``ValidationError``, a ``ValueError``, for unknown keys and invalid values.
    """

    rounds: Annotated[list[Count], AfterValidator(_check_rounds)]
    searches: list[Annotated[int, Field(ge=0)]] = []
    rescored: Count | None = None
    cooled: Count | None = None


class EvaluationSettings(Section):
    """The settings of an evaluation.

    Args:
        fresh: the number of new points from the true density, for the divergences.
        samples: the number of points from each member, for the modes.
        neighbours: the number k of neighbours in precision, recall, density, coverage and the
            classifier.
        projections: the number of directions of the sliced Wasserstein distance.
        seed: the seed of all random numbers.
    """

    fresh: Annotated[int, Field(ge=100)] = 100_000
    samples: Annotated[int, Field(ge=100)] = 10_000
    neighbours: Count = 5
    projections: Count = 128
    seed: Seed = 0


def folds_and_kept(members: int) -> tuple[int, int]:
    """Return the numbers of folds and of kept regularisations for ``members`` networks.

    The automatic recipe keeps one network per regularisation and fold. Raises ``ValueError`` if no
    numbers fit.
    """
    if members > MOST_MEMBERS or (members > FOLDS and members % FOLDS):
        raise ValueError(
            f"members = {members}: the automatic recipe keeps at most {FOLDS} networks, "
            f"or a multiple of {FOLDS} up to {MOST_MEMBERS}"
        )
    return min(members, FOLDS), max(1, members // FOLDS)


def explain(error: ValidationError, section: type[BaseModel], *, prefix: str = "") -> str:
    """Return one line on the first error: the key after ``prefix``, its value, what is allowed."""
    # A misspelt key causes two errors, an unknown key and a missing key; the first says more
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
    # For a whole section, the message says what is wrong
    value = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
    return f"{key}{value}: {message[0].lower()}{message[1:]}"


def _section_at(section: Any, parts: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the section at the path ``parts`` inside ``section``."""
    for part in parts:
        inside = get_args(section)  # of list[item] or dict[key, item]
        section = inside[-1] if inside else section.model_fields[part].annotation
    return section
