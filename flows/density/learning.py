"""Learn the density of a table: settings, candidates, the recipe, and held-out rows of a target.

``fitting.py`` has the functions for users, and ``checking/refits.py`` learns from drawn tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from pydantic import ValidationError

from flows.core.arrays import Array, Whole, subsample
from flows.core.errors import UserError
from flows.core.rows import Rows, codes_of, digests, effective_rows
from flows.core.settings import Cuts, Recipe, TrainingSettings, explain, folds_and_kept
from flows.density.array_density import ArrayDensity
from flows.density.questions.score import Score
from flows.density.target_density import density_of
from flows.mixtures.fitting import fit_filler
from flows.mixtures.labelled_population import LabelledPopulation
from flows.models.conditional import Conditional
from flows.networks import building, registry
from flows.networks.architecture import Architecture
from flows.networks.flow import Flow
from flows.networks.population import Population
from flows.posterior.region import Region
from flows.posterior.target_population import TargetPopulation
from flows.recipe import stacking
from flows.recipe.candidate import Candidate
from flows.recipe.clock import Clock
from flows.recipe.ensemble import Ensemble
from flows.recipe.mass import Possible, check_mass, log_mass
from flows.recipe.mixture_candidate import MixtureCandidate
from flows.recipe.network_candidate import Family, NetworkCandidate
from flows.recipe.recipe import Learned, learn
from flows.recipe.record import DECIMALS, Record, RowScores, RowState
from flows.recipe.regularisation import COLUMN_REGULARISATIONS, LABEL_REGULARISATIONS
from flows.recipe.train import train
from flows.tables.column_maps import ColumnMaps
from flows.tables.constraint import Constraints
from flows.tables.field import Field
from flows.tables.learning import Sample, fit_schema
from flows.tables.notices import Notice, TableError, warn
from flows.tables.options import FitOptions, options_of, resolve, target_names
from flows.tables.parsing import Table
from flows.tables.schema import Schema
from flows.tables.spreading import dequantise

TRIED = 50  # rows that are scored to measure the time
STACKED = 50  # complete rows to which the weights of the members are fitted, at least
WITHOUT_PROCESSES = (
    "the table has {:,} rows; Gaussian processes of the target are fitted to at most {:,} rows, so "
    "this fit has none"
)
# The training settings that the automatic recipe uses
AUTO_SETTINGS = {"recipe", "learning_rate", "clip", "batch_size"}


def learn_table(
    read: Callable[[], Table],
    model: str | Architecture | None,
    options: FitOptions,
    on_notices: Callable[[Sequence[Notice]], None] = warn,
) -> ArrayDensity:
    """Learn the density of a table that ``read`` returns, with all options.

    The options are as ``resolve`` has them. Arguments that are wrong for any table are refused
    before the table is read, which may take long. ``on_notices`` is called with the notices on the
    table before training starts.
    """
    asked = _asked(model, options)
    options, most = asked.options, asked.training.numbers.process_rows
    table = read()
    schema, sample, notices = fit_schema(table, options)
    schema = replace(schema, require=tuple(options["require"]))
    _check_constraints(schema, sample, table.source)
    asked.training.check_batch_size(len(sample.values))
    targets = schema.fields[len(schema.fields) - sample.target_count :]
    are_numbers = bool(targets) and not any(field.labels for field in targets)
    if asked.learns and are_numbers and len(sample.values) > most:
        notices = [*notices, Notice(WITHOUT_PROCESSES.format(len(sample.values), most))]
    on_notices(notices)
    return _learned(asked, schema, sample, on_notices)


def learn_again(
    architecture: Architecture, options: FitOptions, schema: Schema, sample: Sample
) -> ArrayDensity:
    """Learn the density of other rows with the recorded arguments of a fit.

    Args:
        architecture: the architecture, and
        options: the options, as ``arguments_of`` returns them, perhaps with another ``seed``.
        schema: the schema of the table. The kinds of the columns are not chosen again.
        sample: the rows.
    """
    return _learned(_asked(architecture, options), schema, sample, lambda notices: None)


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


def _learned(
    asked: _Asked,
    schema: Schema,
    sample: Sample,
    on_notices: Callable[[Sequence[Notice]], None],
) -> ArrayDensity:
    """Return the density that is learned from the rows of a sample."""
    options, recipe, clock = asked.options, asked.training.numbers, asked.clock
    constraints = Constraints.of(schema)
    fields, copies = schema.fields, sample.copies if sample.is_weighted else None
    values = sample.values
    context = len(fields) - sample.target_count if sample.target_count else 0
    asked = asked.for_targets(fields[context:] if context else ())
    labels = 0 if context else sum(bool(field.labels) for field in fields)
    places = list(range(len(fields)))
    if labels:  # come first
        places.sort(key=lambda d: not fields[d].labels)
    ordered = [fields[d] for d in places]
    given, to_real, seed = context or labels, ColumnMaps(ordered), options["seed"]
    families = asked.families(len(fields) - given, to_real, labels=labels, context=context)
    # Known values of a context are not spread
    points = dequantise(
        ordered, values[:, places], sample.copies, seed, given=given, is_narrow=bool(context)
    )
    is_rounded = bool(context) and any(field.labels or field.cell for field in fields[context:])
    population: Population | None = None
    record = Record("fixed", len(values))
    if asked.learns:
        candidates = asked.candidates(families, labels=labels, context=context)
        if not (labels or context) and len(candidates) > 1:
            clock.reserve("mixtures")
        if is_rounded or (context and constraints):
            clock.reserve("scores")
        learned = Learned(
            points,
            to_real.with_context(given),
            context=context,
            groups=sample.groups,
            copies=copies,
            seed=seed,
            recipe=recipe,
            labels=labels,
            possible=None if context else _possible(constraints, places),
        )
        population, record = learn(learned, candidates, asked.folds, clock)
    elif families:
        untrained = families[0].build(members=options["members"])
        population = train(untrained, points, settings=asked.training, name=asked.name)
        record = population.record
    if labels:
        population = _labelled(population, points, places, schema, recipe)
        if record.gaps:
            in_order = dict(zip(places, record.gaps, strict=True))
            record = replace(record, gaps=[in_order[d] for d in range(len(fields))])
    assert population is not None
    if constraints and not (context or asked.learns):
        log_p, error = log_mass(population, constraints.met, seed)
        check_mass(log_p)
        record = replace(record, log_mass=log_p.tolist(), log_mass_se=error.tolist())
    if constraints:
        record = replace(record, require=schema.require)
    if context:
        flow = cast(Flow, population.networks if isinstance(population, Ensemble) else population)
        flow.weights.copy_(population.member_weights)
        population = of_target = TargetPopulation.of(flow, values, seed, recipe)
        if asked.learns and (is_rounded or constraints):
            most = recipe.rescored_rows
            record = rescored(of_target, schema, record, values, copies, clock, most)
    if late := clock.late():
        on_notices([Notice(late)])
    record = replace(record, fit=asked.arguments())
    if record.row_scores is not None:
        record = replace(record, row_scores=replace(record.row_scores, digest=digests(values)))
    return density_of(population.eval(), schema, record)


def _check_constraints(schema: Schema, sample: Sample, source: str) -> None:
    """Raise ``TableError`` for rows of a sample that break a constraint of the schema."""
    constraints, faults = Constraints.of(schema), []
    for each, own in zip(constraints.each, constraints.broken(sample.values).T, strict=True):
        rows = [sample.labels[k] for k in np.flatnonzero(own).tolist()]
        if rows:
            count = len({*rows})  # a row is repeated by its weight
            more = f"; {count} rows do" if count > 1 else ""
            faults.append(Notice(f"breaks the constraint {each.text!r}{more}", None, rows[0]))
    if faults:
        raise TableError(faults, source)


def _possible(constraints: Constraints, places: Sequence[int]) -> Possible | None:
    """Return which rows meet the constraints, with columns in the order ``places`` of the table."""
    if not constraints:
        return None
    order = np.argsort(places)
    return lambda rows: constraints.met(rows[:, order])


def _labelled(
    population: Population | None,
    points: Array,
    places: Sequence[int],
    schema: Schema,
    recipe: Recipe,
) -> Population:
    """Return the population of rows whose labels are in the order of the table.

    Args:
        population: the ensemble of the recipe; otherwise networks of the numbers given the labels,
            or ``None`` for a table of labels alone.
        points: the training rows ``(n, D)``, with codes of labels first.
        places: for each column of ``points``, its place in the table.
        schema: the schema of the table.
        recipe: the numbers of the fit.
    """
    to_real = ColumnMaps(schema.fields)
    if isinstance(population, Ensemble):
        return population.placed(places, to_real)
    sizes = tuple(size for size in to_real.label_counts if size)
    of_labels = fit_filler(Rows.of_labels(codes_of(points[:, : len(sizes)], sizes), sizes), recipe)
    of_member = [0] * (population.members if population else 1)
    return LabelledPopulation(cast(Flow, population), [of_labels], of_member, to_real, places)


@dataclass(frozen=True)
class _Asked:
    """What a fit was asked for, checked as far as the arguments tell.

    Attributes:
        options: the options of the fit.
        architecture: the architecture of the networks.
        training: the settings of the training.
        settings: the settings that the caller gave.
        clock: the clock, which counts from the start of the fit.
        learns: whether the recipe is automatic.
        folds: the number of folds of which members are held out.
        kept: the number of regularisations that are trained to the end.
    """

    options: FitOptions
    architecture: Architecture
    training: TrainingSettings
    settings: Mapping[str, Any]
    clock: Clock
    learns: bool
    folds: int
    kept: int

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
            "strict": bool(self.options["strict"]),
        }

    def for_targets(self, targets: Sequence[Field]) -> _Asked:
        """Return what was asked, with the architecture for these targets.

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
        """Return the candidates of the automatic recipe.

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


def _asked(model: str | Architecture | None, options: FitOptions) -> _Asked:
    """Check the arguments of a fit. Raises ``LookupError``, ``TypeError`` or ``ValueError``."""
    if options["mixtures"] not in (0, 1, 2):
        raise ValueError(f"mixtures = {options['mixtures']!r}: must be 0, 1 or 2")
    targets = target_names(options["target"])
    if model is None:
        model = "conditional" if targets else "nsf"
    settings = dict(options["settings"] or {})
    cuts = settings.pop("cuts", None)
    architecture, training = parse_settings(model, settings, options["seed"])
    _check_targets(architecture, targets)
    learns, folds, kept = architecture.is_automatic(training), 0, 0
    count = len(building.member_range(options["members"]))
    if learns:
        folds, kept = folds_and_kept(count)
    else:
        for name, does in (("group", "keeps groups in one fold"), ("weights", "takes weights")):
            if (value := options.get(name)) is not None:
                raise ValueError(f"{name} = {value!r}: only the automatic recipe {does}")
        if options["missing"] == "learn":
            options = {**options, "missing": "stop"}
    clock = _clock(options["minutes"], cuts, learns=learns)
    return _Asked(options, architecture, training, settings, clock, learns, folds, kept)


def parse_settings(
    model: str | Architecture, settings: Mapping[str, Any], seed: int
) -> tuple[Architecture, TrainingSettings]:
    """Return the architecture and the training settings of a fit.

    ``settings`` are training settings that differ from the defaults and, if ``model`` is a name,
    settings of the architecture. Raises ``LookupError`` for an unknown model or an architecture of
    images or without a density, ``ValueError`` for a setting that is wrong or would be ignored, and
    ``TypeError`` for a model that is neither an architecture nor a name.
    """
    if not isinstance(model, str | Architecture):
        raise TypeError(
            f"model = {model!r}: must be an architecture, such as flows.NSF(couplings=4), or a name"
        )
    if isinstance(model, str) and model not in registry.names():
        raise LookupError(f"{model!r} is not a model of tables; these are: {_table_models()}")
    cls = registry.find(model) if isinstance(model, str) else type(model)
    if cls.of_images or not cls.has_density:
        why = "" if cls.has_density else " (it has no density)"
        raise LookupError(f"{model!r} is not a model of tables{why}; these are: {_table_models()}")
    if "seed" in settings:
        raise ValueError("seed is not a setting; it has its own argument")
    try:
        defaults = TrainingSettings(recipe="auto", seed=seed)
    except ValidationError as error:
        raise ValueError(explain(error, TrainingSettings)) from None
    architecture, training = registry.parse_section(model, settings, defaults, reserved=["seed"])
    if architecture.is_automatic(training):
        for key in sorted(settings.keys() & set(TrainingSettings.model_fields) - AUTO_SETTINGS):
            raise ValueError(f"{key}: the automatic recipe does not use it; recipe=fixed uses it")
    return architecture, training


def _clock(minutes: float | None, cuts: Any, *, learns: bool) -> Clock:
    """Return the clock of a fit; ``learns`` says whether the recipe is automatic.

    Raises ``ValueError`` for wrong ``minutes`` or ``cuts``, and with the fixed recipe.
    """
    if minutes is None and cuts is None:
        return Clock()
    if not learns:
        what = f"minutes = {minutes!r}" if cuts is None else "cuts"
        raise ValueError(f"{what}: needs the automatic recipe; the fixed recipe takes epochs")
    if cuts is None:
        is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
        if minutes is None or not is_number or not 0 < minutes < math.inf:
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


def _table_models(*, with_labels: bool = False) -> str:
    """Return the names of the architectures of tables without a target, for messages.

    With labels, only those that learn numbers given labels are returned.
    """
    classes = {name: registry.find(name) for name in registry.names()}
    fit_for_tables = (
        name
        for name, cls in classes.items()
        if cls.has_density
        and not (cls.of_images or cls.needs_context)
        and (cls.takes_context or not with_labels)
    )
    return ", ".join(fit_for_tables)


def rescored(
    population: TargetPopulation,
    schema: Schema,
    record: Record,
    values: Array,
    copies: Whole | None,
    clock: Clock,
    most: int,
) -> Record:
    """Score held-out rows of a rounded target like new rows, and stack the members again.

    A rounded value has the probability of its cell. At most ``most`` complete rows are scored; the
    other rows lose their score. The new weights of the members replace those of the recipe, which
    were fitted to densities at dequantised values. If there are fewer than ``STACKED`` complete
    rows and most rows have gaps, the weights of the recipe stay.

    Args:
        population: the ensemble, which gets the new weights.
        schema: the schema of the table, with its constraints.
        record: the record of the automatic recipe; a record without scores of rows is returned.
        values: the training rows ``(n, D)``, with codes for labels.
        copies: the row that each row repeats, ``(n,)``, if rows are repeated by their weights.
        clock: decides how many rows are scored.
        most: the largest number of rows that are scored.

    Returns the record with the new scores.
    """
    if (own := record.row_scores) is None or record.folds is None:
        return record
    density, scored = density_of(population, schema), np.flatnonzero(own.state == RowState.SCORED)

    def score(count: int) -> tuple[Whole, Array]:
        few = subsample(scored, count)
        return few, Score().answer(density, Region(values[few], few))["members"]

    part = clock.scores()
    most = part.recorded or most
    if clock.seconds < math.inf:
        part.measure(0)
        score(TRIED)
        part.measure(TRIED)
        most = max(TRIED, part.left(most))
    places, log_q = score(most)
    fold = own.fold[places]
    held_out = int((own.state != RowState.NOT_HELD_OUT).sum())
    if len(places) >= min(STACKED, held_out / 2):
        weights = stacking.member_weights(log_q, fold, record.folds)
        population.flow.weights.copy_(torch.from_numpy(weights))
    state, scores = own.state.copy(), np.full(len(own.state), np.nan)
    state[scored], state[places] = RowState.NOT_RESCORED, RowState.SCORED
    for f in np.unique(fold):
        members = record.out_of_fold_members(f)
        scores[places[fold == f]] = density.ensemble(log_q[fold == f], members).round(DECIMALS)
    found = scores[places]
    evidence = len(found) if copies is None else effective_rows(copies[places])
    record = replace(
        record,
        row_scores=RowScores(own.fold, state, scores),
        held_out=float(found.mean()),
        held_out_se=float(found.std() / np.sqrt(evidence)),
    )
    if clock.is_recorded and len(places):
        record = replace(record, cuts={**record.cuts, "rescored": len(places)})
    if any(column.labels for column in density.columns[-population.target_count :]):
        # The references are densities of codes; the frequencies of the labels replace them
        frequencies = _label_frequencies(values[places, -1]) if population.target_count == 1 else {}
        record = replace(record, references=frequencies)
    return record


def _label_frequencies(codes: Array) -> dict[str, float]:
    """Return the mean log-frequency of labels with these ``codes`` ``(n,)``, as a reference."""
    counts = np.unique(codes, return_counts=True)[1]
    shares = counts / counts.sum()
    return {"frequencies of the labels": round(float(shares @ np.log(shares)), DECIMALS)}
