"""A request: what a fit is asked for, its settings and its candidates.

``learning.py`` learns what a request asks for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from flows.core.errors import UserError
from flows.core.settings import Cuts, Recipe, TrainingSettings, explain, folds_and_kept
from flows.models.conditional import Conditional
from flows.networks import building, registry
from flows.networks.architecture import Architecture
from flows.recipe.candidate import Candidate
from flows.recipe.clock import Clock
from flows.recipe.mixture_candidate import MixtureCandidate
from flows.recipe.network_candidate import Family, NetworkCandidate
from flows.recipe.record import Record
from flows.recipe.regularisation import COLUMN_REGULARISATIONS, LABEL_REGULARISATIONS
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.field import Field
from flows.tables.columns.options import (
    TABLE_RECIPES,
    FitOptions,
    options_of,
    resolve,
    target_names,
)

# The training settings of a fit; the recipe chooses the others
USED = {"recipe", "learning_rate", "clip", "batch_size"}
RESERVED = TrainingSettings.model_fields.keys() - USED


@dataclass(frozen=True)
class FitRequest:
    """What a fit is asked for, checked as far as the arguments tell.

    Attributes:
        options: the options of the fit.
        architecture: the architecture of the networks.
        training: the settings of the training.
        settings: the settings that the caller gave.
        clock: the clock, which counts from the start of the fit.
        folds: the number of folds of which members are held out.
        kept: the number of regularisations that are trained to the end.
    """

    options: FitOptions
    architecture: Architecture
    training: TrainingSettings
    settings: Mapping[str, Any]
    clock: Clock
    folds: int
    kept: int

    @classmethod
    def of(cls, model: str | Architecture | None, options: FitOptions) -> FitRequest:
        """Return the request with these arguments.

        Args:
            model: the architecture or its name; ``None`` for the default.
            options: all options, as ``resolve`` has them.

        Raises ``LookupError``, ``TypeError`` or ``ValueError`` for wrong arguments.
        """
        if options["mixtures"] not in (0, 1, 2):
            raise ValueError(f"mixtures = {options['mixtures']!r}: must be 0, 1 or 2")
        targets = target_names(options["target"])
        if model is None:
            model = "conditional" if targets else "nsf"
        settings = dict(options["settings"] or {})
        cuts = settings.pop("cuts", None)
        architecture, training = parse_settings(model, settings, options["seed"])
        _check_targets(architecture, targets)
        folds, kept = folds_and_kept(len(building.member_range(options["members"])))
        clock = _clock(options["minutes"], cuts)
        return cls(options, architecture, training, settings, clock, folds, kept)

    @property
    def name(self) -> str:
        return registry.name_of(self.architecture)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the fit as JSON, which ``arguments_of`` reads.

        The limit of time is left out, because the cuts of the record take its place.
        """
        members = building.member_range(self.options["members"])
        given = TrainingSettings.model_fields.keys() & self.settings.keys()
        settings = {name: getattr(self.training, name) for name in given}
        if isinstance(recipe := settings.get("recipe"), Recipe):
            settings["recipe"] = recipe.model_dump(mode="json")
        return {
            **{name: value for name, value in self.options.items() if name != "minutes"},
            "model": self.name,
            "architecture": self.architecture.model_dump(mode="json"),
            "settings": settings,
            "members": [members.start, members.stop],
            "mixtures": int(self.options["mixtures"]),
            "seed": self.training.seed,
        }

    def for_targets(self, targets: Sequence[Field]) -> FitRequest:
        """Return the request with the architecture for these targets.

        Without the caller's ``linear``, a target of labels has no linear shift, because the shift
        was compared for targets of numbers only.
        """
        own = self.architecture
        is_open = isinstance(own, Conditional) and "linear" not in own.model_fields_set
        if is_open and any(field.labels for field in targets):
            return replace(self, architecture=own.model_copy(update={"linear": False}))
        return self

    def families(self, dim: int, to_real: ColumnMaps, *, labels: int, context: int) -> list[Family]:
        """Return the architectures that race each other; none without numbers to learn.

        In a table with labels, networks are given the codes of the labels as a context. Two
        architectures race: the architecture of the fit, and a ``Conditional``, which learns column
        by column.

        Args:
            dim: the number of columns that networks learn.
            to_real: the map of all columns, with those that networks are given first.
            labels: the number of columns of labels, without a target.
            context: the number of columns of the context of a target.

        Raises ``ValueError`` if the architecture does not learn numbers given labels.
        """
        how: Any = {
            "seed": self.options["seed"],
            "to_real": to_real,
            "context": context or labels,
        }

        def family(architecture: Architecture, **more: Any) -> Family:
            build: Any = partial(building.build, architecture, (dim,), **how)
            return Family(build, **more)

        if not dim:
            return []
        if not labels:
            return [family(self.architecture)]
        if not self.architecture.takes_context:
            raise ValueError(
                f"model = {self.name!r}: does not learn numbers given labels; a table with labels "
                f"needs one of {_table_models(with_labels=True)}"
            )
        separate = registry.architecture("conditional", {"linear": False})
        racing = (
            (self.architecture, LABEL_REGULARISATIONS),
            (separate, COLUMN_REGULARISATIONS),
        )
        return [
            family(each, regularisations=own, settings={"model": registry.name_of(each)})
            for each, own in racing
        ]

    def candidates(
        self, families: Sequence[Family], *, labels: int, context: int
    ) -> list[Candidate]:
        """Return the candidates of the recipe.

        Args:
            families: the networks; none for a table of labels alone.
            labels: the number of columns of labels, without a target.
            context: the number of columns of the context of a target.
        """
        found: list[Candidate] = []
        if families:
            found.append(NetworkCandidate(families, self.kept, self.training, name=self.name))
        if labels or (self.options["mixtures"] and not context):  # the mixtures know the labels
            found.append(MixtureCandidate(self.options["mixtures"] if families else 1))
        return found


def arguments_of(record: Record) -> tuple[Architecture, FitOptions]:
    """Return the architecture and the options of a recorded fit, with its cuts as a setting.

    Raises ``UserError`` if the record lacks an argument.
    """
    fit, names = record.fit, options_of(FitOptions).keys() - {"minutes"}
    lacking = sorted({"model", "architecture", *names} - fit.keys())
    if lacking:
        raise UserError(
            "the fit cannot be repeated, because the file was written by another release and lacks "
            f"arguments of the fit: {', '.join(lacking)}; fit the table again"
        )
    settings = dict(fit["settings"])
    if isinstance(recipe := settings.get("recipe"), Mapping):
        # Strict JSON has lists for tuples
        settings["recipe"] = Recipe.model_validate_json(json.dumps(recipe))
    if record.cuts:
        settings["cuts"] = dict(record.cuts)
    options: Any = {name: fit[name] for name in names}
    options |= {"settings": settings, "members": range(*fit["members"])}
    architecture = registry.architecture(fit["model"], fit["architecture"])
    return architecture, resolve(FitOptions, options, "fit")


def parse_settings(
    model: str | Architecture, settings: Mapping[str, Any], seed: int
) -> tuple[Architecture, TrainingSettings]:
    """Return the architecture and the training settings of a fit.

    ``settings`` are training settings that differ from the defaults and, if ``model`` is a name,
    settings of the architecture. Raises ``LookupError`` for a model that is not one of tables,
    ``ValueError`` for a setting that is wrong or would be ignored, and ``TypeError`` for a model
    that is neither an architecture nor a name.
    """
    if not isinstance(model, str | Architecture):
        raise TypeError(
            f"model = {model!r}: must be an architecture, such as flows.NSF(couplings=4), or a name"
        )
    known = not isinstance(model, str) or model in registry.names()
    if not known or not _is_of_tables(registry.find(model) if isinstance(model, str) else model):
        raise LookupError(f"{model!r} is not a model of tables; these are: {_table_models()}")
    recipe = settings.get("recipe", "auto")
    if not isinstance(recipe, Recipe) and recipe not in TABLE_RECIPES:
        raise ValueError(f"recipe = {recipe!r}: must be {' or '.join(map(repr, TABLE_RECIPES))}")
    if "seed" in settings:
        raise ValueError("seed is not a setting; it has its own argument")
    try:
        defaults = TrainingSettings(recipe="auto", seed=seed)
    except ValidationError as error:
        raise ValueError(explain(error, TrainingSettings)) from None
    return registry.parse_section(model, settings, defaults, reserved=RESERVED)


def _clock(minutes: float | None, cuts: Any) -> Clock:
    """Return the clock of a fit. Raises ``ValueError`` for wrong ``minutes`` or ``cuts``."""
    if cuts is None:
        if minutes is None:
            return Clock()
        is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
        if not is_number or not 0 < minutes < math.inf:
            raise ValueError(f"minutes = {minutes!r}: must be a finite number above 0")
        return Clock(60 * minutes)
    if minutes is not None:
        raise ValueError("minutes and the setting cuts exclude each other")
    try:
        return Clock(cuts=Cuts.model_validate(cuts))
    except ValidationError as error:
        raise ValueError(explain(error, Cuts, prefix="cuts")) from None


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


def _table_models(*, with_labels: bool = False) -> str:
    """Return the names of the architectures of tables, for messages.

    With labels, only those are returned that learn numbers given labels without a target.
    """
    classes = {name: registry.find(name) for name in registry.names()}
    of_tables = {name: cls for name, cls in classes.items() if _is_of_tables(cls)}
    if with_labels:
        own = (n for n, cls in of_tables.items() if cls.takes_context and not cls.needs_context)
        return ", ".join(own)
    with_target = " (with a target)"
    return ", ".join(n + with_target * cls.needs_context for n, cls in of_tables.items())
