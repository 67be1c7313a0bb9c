"""A request: what a fit is asked for, as one checked value.

``learning.py`` learns what a request asks for, and the record of the fit holds the request as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from flows.core.errors import UserError, one_line
from flows.core.settings import (
    Cuts,
    Recipe,
    Section,
    Seed,
    TrainingSettings,
    explain,
    folds_and_kept,
)
from flows.networks import building, registry
from flows.networks.architecture import Architecture
from flows.recipe.clock import Clock
from flows.recipe.record import Record
from flows.tables.columns.options import (
    TABLE_RECIPES,
    FitOptions,
    InspectOptions,
    Missing,
    options_of,
)

# The training settings of a fit; the recipe chooses the others
USED = {"recipe", "learning_rate", "clip", "batch_size"}
RESERVED = TrainingSettings.model_fields.keys() - USED


def check_minutes(value: Any) -> Any:
    """Return a limit of time in minutes, or ``None``. Raises ``ValueError`` for other values."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 < value < math.inf):
        raise ValueError("must be a finite number above 0")
    return value


Members = Annotated[
    range,
    PlainValidator(lambda value: value if isinstance(value, range) else range(*value)),
    PlainSerializer(lambda value: [value.start, value.stop]),
]


class FitRequest(Section):
    """What a fit is asked for, checked as far as the arguments tell.

    ``model_dump(mode="json")`` gives what the record keeps, without the limit of time: the cuts of
    the record take its place. ``recorded`` reads a record.

    Attributes:
        model: the name of the architecture.
        architecture: the architecture of the networks; in JSON its settings.
        settings: the settings of the training; in JSON those that the caller gave.
        members: the networks, as a range of a larger population.
        cuts: the places at which a limit of time cut an earlier fit, which this fit repeats.

    The other attributes are the options of a fit (``tables/columns/options.py``).
    """

    model_config = Section.model_config | {"extra": "ignore"}  # such as an option of old files

    model: str
    architecture: SerializeAsAny[Architecture]
    settings: TrainingSettings
    members: Members
    columns: dict[str, str]
    missing: Missing
    na: list[str]
    group: str | None
    weights: str | None
    require: list[str]
    mixtures: Literal[0, 1, 2]
    target: list[str]
    seed: Seed
    minutes: Annotated[Any, AfterValidator(check_minutes)] = Field(None, exclude=True)
    cuts: Cuts | None = Field(None, exclude=True)

    @classmethod
    def of(cls, model: str | Architecture | None, options: FitOptions) -> FitRequest:
        """Return the request with these arguments.

        Args:
            model: the architecture or its name; ``None`` for the default.
            options: all options, as ``resolve`` has them.

        Raises ``LookupError``, ``TypeError`` or ``ValueError`` for wrong arguments.
        """
        settings, targets = dict(options["settings"] or {}), cast(list[str], options["target"])
        cuts = settings.pop("cuts", None)
        architecture, training = _parse_settings(model, settings, targets)
        members = building.member_range(options["members"])
        folds_and_kept(len(members))
        if cuts is not None and options["minutes"] is not None:
            raise ValueError("minutes and the setting cuts exclude each other")
        given = {
            **options,
            "model": registry.name_of(architecture),
            "architecture": architecture,
            "settings": training,
            "members": members,
            "cuts": cuts if cuts is None else registry.checked(Cuts, cuts, "cuts"),
        }
        return registry.checked(cls, given)

    @classmethod
    def recorded(cls, record: Record) -> FitRequest:
        """Return the request of a recorded fit, with the cuts of the record.

        Raises ``UserError`` if the record lacks an argument, or holds one of another version.
        """
        needed = {name for name, field in cls.model_fields.items() if field.is_required()}
        if lacking := sorted(needed - record.fit.keys()):
            raise UserError(
                "the fit cannot be repeated, because the file was written by another release and "
                f"lacks arguments of the fit: {', '.join(lacking)}; fit the table again"
            )
        try:
            # Strict JSON has lists for tuples
            found = cls.model_validate_json(json.dumps({**record.fit, "cuts": record.cuts or None}))
            own = found.settings
            given = {name: getattr(own, name) for name in own.model_fields_set}
            _parse_settings(found.architecture, given, found.target)
            folds_and_kept(len(building.member_range(found.members)))
            return found
        except (LookupError, TypeError, ValueError) as error:
            reason = one_line(error)
            if isinstance(error, ValidationError):
                reason = explain(error, cls)
            raise UserError(
                "the fit cannot be repeated, because the file was written by another release; fit "
                f"the table again ({reason})"
            ) from None

    @field_validator("architecture", mode="plain")
    @classmethod
    def _architecture(cls, value: Any, info: ValidationInfo) -> Architecture:
        known = isinstance(value, Architecture)
        return value if known else registry.architecture(info.data["model"], value)

    @field_validator("settings", mode="before")
    @classmethod
    def _settings(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        settings = {"recipe": "auto", **value}
        if isinstance(recipe := settings["recipe"], Mapping):
            settings["recipe"] = Recipe.model_validate_json(json.dumps(recipe))
        return settings

    @field_serializer("settings")
    def _given_settings(self, value: TrainingSettings) -> dict[str, Any]:
        given = {name: getattr(value, name) for name in value.model_fields_set}
        if isinstance(recipe := given["recipe"], Recipe):
            given["recipe"] = recipe.model_dump(mode="json")
        elif recipe == "auto":
            del given["recipe"]
        return given

    @property
    def of_table(self) -> InspectOptions:
        """The options that decide which rows and columns of a table are learned."""
        return cast(
            InspectOptions, {name: getattr(self, name) for name in options_of(InspectOptions)}
        )

    @property
    def training(self) -> TrainingSettings:
        """The settings of the training with the seed."""
        return self.settings.model_copy(update={"seed": self.seed})

    @property
    def recipe(self) -> Recipe:
        """The numbers of the recipe."""
        return self.settings.numbers

    @property
    def folds(self) -> int:
        """The number of folds of which members are held out."""
        return folds_and_kept(len(self.members))[0]

    @property
    def kept(self) -> int:
        """The number of regularisations that are trained to the end."""
        return folds_and_kept(len(self.members))[1]

    def clock(self) -> Clock:
        """Return the clock of a fit that starts now."""
        if self.minutes is None:
            return Clock(cuts=self.cuts)
        return Clock(60 * self.minutes)


def _parse_settings(
    model: str | Architecture | None, settings: Mapping[str, Any], targets: Sequence[str]
) -> tuple[Architecture, TrainingSettings]:
    """Return the architecture and the training settings of a fit.

    ``settings`` are training settings that differ from the defaults and, if ``model`` is a name,
    settings of the architecture. Raises ``LookupError`` for a model that is not one of tables,
    ``ValueError`` for a setting that is wrong or would be ignored, and for a model that cannot
    learn the targets, and ``TypeError`` for a model that is neither an architecture nor a name.
    """
    if model is None:
        model = "conditional" if targets else "nsf"
    if not isinstance(model, str | Architecture):
        raise TypeError(
            f"model = {model!r}: must be an architecture, such as flows.NSF(couplings=4), or a name"
        )
    known = not isinstance(model, str) or model in registry.names()
    if not known or not _is_of_tables(registry.find(model) if isinstance(model, str) else model):
        raise LookupError(f"{model!r} is not a model of tables; these are: {_models_of_tables()}")
    recipe = settings.get("recipe", "auto")
    if not isinstance(recipe, Recipe) and recipe not in TABLE_RECIPES:
        raise ValueError(f"recipe = {recipe!r}: must be {' or '.join(map(repr, TABLE_RECIPES))}")
    if "seed" in settings:
        raise ValueError("seed is not a setting; it has its own argument")
    defaults = TrainingSettings(recipe="auto")
    architecture, training = registry.parse_section(model, settings, defaults, reserved=RESERVED)
    _check_targets(architecture, targets)
    return architecture, training


def _check_targets(architecture: Architecture, targets: Sequence[str]) -> None:
    """Raise ``ValueError`` if the architecture cannot learn these targets."""
    name, conditional = registry.name_of(architecture), registry.find("conditional")
    if targets and not architecture.takes_context:
        taking = [each for each in registry.names() if registry.find(each).takes_context]
        raise ValueError(f"model = {name!r}: a target needs one of {', '.join(taking)}")
    if len(targets) > 1 and not isinstance(architecture, conditional):
        raise ValueError(f"model = {name!r}: several targets need the model 'conditional'")
    if architecture.needs_context and not targets:
        raise ValueError(f"model = {name!r}: needs a target")


def _is_of_tables(architecture: Architecture | type[Architecture]) -> bool:
    """Return whether a fit of a table takes the architecture, perhaps only with a target."""
    return "auto" in architecture.recipes


def _models_of_tables() -> str:
    """Return the names of the architectures of tables, for messages."""
    classes = {name: registry.find(name) for name in registry.names()}
    with_target = " (with a target)"
    found = {name: cls for name, cls in classes.items() if _is_of_tables(cls)}
    return ", ".join(name + with_target * cls.needs_context for name, cls in found.items())
