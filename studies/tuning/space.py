"""Settings named on the command line, in the grammar that ``dvc exp run -S`` has too (Hydra's), and what becomes of ``params.yaml`` with them.

=====================================  ============================================================
``train.epochs=200``                   is set in all trials
``train.noise_factor=interval(1,2)``   real numbers from 1 to 2
``train.learning_rate=tag(log,...)``   the same, evenly in the logarithm
``models.glow.couplings=range(2,17)``  whole numbers from 2 to 16; a third number is the step
``models.glow.transform=choice(a,b)``  one of them; ``a,b`` for short
=====================================  ============================================================
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, OverrideType, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from stages.settings import PARAMS, Settings, UserError, check

DIGITS = 4  # of a real number that is tried: what is shown is what was trained
UNTOUCHED = ("members", "log_every")  # of the training settings: nothing that a search could choose


def parse(words: Iterable[str]) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """The settings that every trial has, and those that are searched. Raises ``UserError`` with the word that is wrong."""
    fixed: dict[str, Any] = {}
    space: dict[str, BaseDistribution] = {}
    for word in words:
        override = _parse(word)
        name = override.key_or_group
        if name in fixed or name in space:
            raise UserError(f"{word}: {name} is named twice")
        if override.is_sweep_override():
            space[name] = _distribution(word, override)
        else:
            fixed[name] = override.value()
    return fixed, space


def _parse(word: str) -> Override:
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        reason = str(error).splitlines()[0].removeprefix(f"Error parsing override '{word}'").strip() or "not of the form setting=values"
        raise UserError(f"{word}: {reason}; write setting=value, =choice(a,b), =range(low,beyond), =interval(low,high) or =tag(log,...)") from None
    if override.type is not OverrideType.CHANGE or override.package is not None:
        raise UserError(f"{word}: only setting=values is known here, without + or ~ or @")
    return override


def _distribution(word: str, override: Override) -> BaseDistribution:
    values: Any = override.value()
    log = "log" in values.tags
    if unknown := values.tags - {"log"}:
        raise UserError(f"{word}: the tag {min(unknown)} is not known; the only one is log")
    try:
        match values:
            case ChoiceSweep():
                return CategoricalDistribution([_plain(word, value) for value in values.list])
            case IntervalSweep(start=float(low), end=float(high)):
                return FloatDistribution(low, high, log=log)
            case RangeSweep(start=int(start), stop=int(stop), step=int(step)):
                numbers = range(start, stop, step)
                return IntDistribution(numbers[0], numbers[-1], step=step, log=log)
            case RangeSweep():
                raise UserError(f"{word}: a range is of whole numbers; for real ones write interval(low,high)")
    except IndexError:
        raise UserError(f"{word}: no number is in that range") from None
    except ValueError as error:
        raise UserError(f"{word}: {' '.join(str(error).split())}") from None
    raise UserError(f"{word}: is not a choice, a range or an interval")


def _plain(word: str, value: Any) -> Any:
    if not isinstance(value, str | int | float | bool):
        raise UserError(f"{word}: a choice is between words and numbers, not {value!r}")
    return value


def changed(params: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``params`` with ``changes``, whose keys are the dotted names of settings. Raises ``UserError`` where there is no such section."""
    result = copy.deepcopy(dict(params))
    for name, value in changes.items():
        *sections, key = name.split(".")
        place: Any = result
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise UserError(f"{PARAMS}: {name}: there is no section {'.'.join(sections)}")
        place[key] = value
    return result


def current(params: Mapping[str, Any], name: str) -> Any:
    """What a setting is now; for a training setting that the model does not override, what ``train`` has. ``None`` if neither."""
    sections = name.split(".")
    place: Any = params
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None
    return place if place is not None or sections[0] != "models" else params["train"].get(sections[-1])


def of_model(settings: Settings, model: str) -> dict[str, Any]:
    """All that the settings say about one model: its architecture and its training."""
    training = settings.training(model).model_dump(exclude=set(UNTOUCHED))
    return {**training, **settings.architecture(model)}


def check_space(params: Mapping[str, Any], model: str, space: Mapping[str, BaseDistribution]) -> None:
    """Raises ``UserError`` where an end of a range or a choice is not allowed, or where none of them would change the model."""
    now = of_model(check(params), model)
    for name, distribution in space.items():
        if all(of_model(check(changed(params, {name: value})), model) == now for value in ends(distribution)):
            raise UserError(f"{name}: changes nothing of {model}" + _hint(params, name, model))


def ends(distribution: BaseDistribution) -> tuple[Any, ...]:
    """Both ends of a range, or every choice."""
    return distribution.choices if isinstance(distribution, CategoricalDistribution) else (distribution.low, distribution.high)  # type: ignore[attr-defined]


def _hint(params: Mapping[str, Any], name: str, model: str) -> str:
    section, _, key = name.partition(".")
    return f"; models.{model}.{key} does, as it overrides {name}" if section == "train" and key in params["models"][model] else ""


def rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def changes_text(changes: Mapping[str, Any], model: str = "") -> str:
    """``noise 0, couplings 4``: the names without what goes without saying for ``model``."""
    shown = ((name.removeprefix("train.").removeprefix(f"models.{model}."), value) for name, value in changes.items())
    return ", ".join(name if isinstance(value, list) else f"{name} {value_text(value)}" for name, value in shown) or "nothing"


def value_text(value: Any) -> str:
    """Whole numbers without a point: a column of a table may have made floats of them."""
    if isinstance(value, float):
        return str(int(value)) if float(value).is_integer() else f"{value:.{DIGITS}g}"
    return str(value)
