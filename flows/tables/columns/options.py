"""The options of a fit. Each is defined once, for Python, scikit-learn and the command line.

A field of these classes is an option: its type, its default and its documentation. A function takes
``**options: Unpack[FitOptions]``, which type checkers read, and ``spelled_out`` writes the options
into its signature and its docstring. The command line reads the same fields. This module imports
neither torch nor pandas nor numpy, so help appears at once.
"""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, TypeVar, cast, get_args, get_type_hints

Missing = Literal["learn", "drop", "stop"]  # what a fit does with rows with missing values
MissingAsked = Literal["keep", "stop", "drop"]  # what a question does with such rows
TABLE_RECIPES = ("auto", "quick")  # those of ``TrainingSettings`` that a fit of a table takes


@dataclass(frozen=True)
class Option:
    """What an option is, beside its name and its type.

    Args:
        default: the value of an option that is not given.
        text: its documentation in Python.
        shell: its help on the command line, if it differs.
        flag: its name on the command line, if it differs.
        metavar: how the help of the command line calls a value.
        clean: converts a value of a user to the value that the library works with. Applied to its
            own result, it changes nothing.
    """

    default: Any
    text: str
    shell: str = ""
    flag: str = ""
    metavar: str | None = None
    clean: Callable[[Any], Any] = lambda value: value


def target_names(target: str | Sequence[str] | None) -> list[str]:
    """Return the names of the targets: one column, several, or none."""
    if target is None:
        return []
    if isinstance(target, str) or not isinstance(target, Iterable):  # such as a number
        return [str(target)]
    return [str(name) for name in target]


def _kinds(columns: Any) -> dict[str, str]:
    if not isinstance(columns or {}, Mapping):
        example = "{'age': 'integer'}"
        raise TypeError(f"columns = {columns!r}: must map names to kinds, such as {example}")
    return {str(name): str(word) for name, word in (columns or {}).items()}


def _name(column: Any) -> str | None:
    return None if column is None else str(column)


def _marks(na: Sequence[Any]) -> list[str]:
    return [*map(str, na)]


def _texts(require: Any) -> list[str]:
    if require is None:
        return []
    if isinstance(require, str):
        raise TypeError(f"require = {require!r}: must be a list, such as [{require!r}]")
    return [*dict.fromkeys(map(str, require))]


Target = Annotated[
    str | Sequence[str] | None,
    Option(
        None,
        "a column y, or several columns, to learn given all other columns x: the density is then "
        "p(y | x). Rows without a value of y are left out.",
        shell="a column, or several, to learn given all other columns; put a name with a comma in "
        "double quotes",
        metavar="NAME,NAME",
        clean=target_names,
    ),
]


class TableOptions(TypedDict, total=False):
    """Options that decide which rows and columns of a table are learned."""

    columns: Annotated[
        Mapping[str, str] | None,
        Option(
            None,
            'kinds of columns, such as ``{"age": "integer", "visits": "count", "share": '
            '"interval:0:1", "price": "positive", "ward": "category", "visit": "date"}``. The '
            "classes in ``tables/columns/kinds`` choose the kinds of all other columns.",
            shell="a kind: real, positive, interval:LOW:HIGH, integer, integer:STEP, "
            "integer:LOW:HIGH, integer:LOW:, integer::HIGH, integer:LOW:HIGH:STEP, count, "
            "count:STEP, category, time or date",
            flag="--column",
            metavar="NAME=KIND",
            clean=_kinds,
        ),
    ]
    missing: Annotated[
        Missing,
        Option(
            "learn",
            '``"learn"`` learns from rows with missing values, ``"drop"`` leaves such rows out, '
            'and ``"stop"`` raises an error for a missing value.',
            shell="learn from rows with missing values (default), drop and count such rows, or "
            "stop at the first one",
        ),
    ]
    na: Annotated[
        Sequence[Any],
        Option(
            (),
            'further marks of missing values, numbers or text, such as ``[-999, "unknown"]``.',
            shell="a further mark of missing values, text or a number such as -999",
            metavar="MARK",
            clean=_marks,
        ),
    ]
    group: Annotated[
        str | None,
        Option(
            None,
            "a column that names the subject of each row. All rows of a subject are in one fold, "
            "so no member is scored on a subject that it learned from. The column is not learned.",
            shell="a column that names the subject of each row; all rows of a subject are in one "
            "fold",
            metavar="NAME",
            clean=_name,
        ),
    ]
    weights: Annotated[
        str | None,
        Option(
            None,
            "a column of weights, numbers of at least 0. A weight is a frequency: a row with the "
            "weight 2 counts as two rows in training and in the out-of-fold score. The column is "
            "not learned.",
            shell="a column of weights: a row with the weight 2 counts as two rows",
            metavar="NAME",
            clean=_name,
        ),
    ]


class InspectOptions(TableOptions, total=False):
    """The options of ``flows.inspect``: those of a table, and the target."""

    target: Target


class RegressorOptions(TableOptions, total=False):
    """The options of ``flows.DensityRegressor``: those of a table, and those of training."""

    members: Annotated[
        int,
        Option(
            10,
            "the number of networks in the ensemble: up to 5, or a multiple of 5 up to 50.",
        ),
    ]
    settings: Annotated[
        Mapping[str, Any] | None,
        Option(
            None,
            "settings of training (``recipe``, ``learning_rate``, ``batch_size`` and ``clip`` of "
            "``TrainingSettings``) and, if ``model`` is a name, of the architecture. "
            '``{"recipe": "quick"}`` makes a rough fit in a few seconds, to try a program.',
            shell="a setting of training or of the model",
            flag="-S",
            metavar="KEY=VALUE",
            clean=lambda settings: dict(settings or {}),
        ),
    ]
    minutes: Annotated[
        float | None,
        Option(
            None,
            "the minutes that the fit may take, with 10% tolerance. ``Density.record.cuts`` then "
            'holds the places at which the recipe was cut, and ``settings={"cuts": ...}`` gives '
            "the same fit without the clock. A notice says if a fit took longer than its limit.",
            shell="the time that the fit may take, in minutes (no limit)",
            metavar="M",
        ),
    ]


class DensityOptions(RegressorOptions, total=False):
    """The options of ``flows.DensityEstimator``, which has no target."""

    require: Annotated[
        Sequence[Any],
        Option(
            (),
            'constraints that all rows meet, such as ``["start <= end", "bonus <= income / 2"]``: '
            "comparisons of columns, numbers, quoted labels and dates, with ``+ - * /``, ``and``, "
            "``or`` and ``not``. The density is 0 elsewhere, so samples, filled values and "
            "predictions meet the constraints. ``docs/tables-reference.md`` has the rules.",
            shell="a constraint that all rows meet, such as 'start <= end'",
            metavar="CONSTRAINT",
            clean=_texts,
        ),
    ]

    mixtures: Annotated[
        int,
        Option(
            2,
            "the number of mixtures per fold that are stacked together with the networks: 2 (one "
            "after the margins, one without), 1 (the better one) or 0. They are mixtures of "
            "Gaussians or, in a table with labels, of latent classes. With a target, there are "
            "none.",
            shell="the number of mixtures per fold beside the networks: 0, 1 or 2",
        ),
    ]


class FitOptions(DensityOptions, total=False):
    """All options of a fit, those of ``flows.fit``."""

    target: Target
    seed: Annotated[int, Option(0, "the seed of all random numbers.")]


Options = TypeVar("Options", bound=Mapping[str, object])  # one of these classes
Taker = TypeVar("Taker", bound=Callable[..., Any])


def options_of(kind: Any) -> dict[str, tuple[Any, Option]]:
    """Return the types and the descriptions of the options of such a class, by name."""
    types = get_type_hints(kind)
    described = get_type_hints(kind, include_extras=True)
    return {name: (types[name], described[name].__metadata__[0]) for name in types}


def complete(kind: type[Options], given: Mapping[str, Any], caller: str) -> Options:
    """Return the options that were given to the function ``caller``, and all others by default.

    Raises ``TypeError`` for another name, as Python does for an unknown keyword.
    """
    known = options_of(kind)
    for name in given:
        if name not in known:
            raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}")
    return cast(Options, {name: option.default for name, (_, option) in known.items()} | {**given})


def resolve(kind: type[Options], given: Mapping[str, Any], caller: str) -> Options:
    """Return all options, as ``complete``, with the values that the library works with."""
    options = complete(kind, given, caller)
    known = options_of(kind)
    return cast(Options, {name: known[name][1].clean(value) for name, value in options.items()})


def spelled_out(taker: Taker) -> Taker:
    """Return a function, or a class, with its ``**options`` in its signature and its docstring.

    Its docstring describes ``**options``, and this entry is replaced.
    """
    function: Any = vars(taker)["__init__"] if isinstance(taker, type) else taker
    (kind,) = get_args(get_type_hints(function)["options"])  # of Unpack[kind]
    signature = inspect.signature(function)
    *own, _ = signature.parameters.values()
    spelled = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=hint
        )
        for name, (hint, option) in options_of(kind).items()
    ]
    function.__signature__ = signature.replace(parameters=[*own, *spelled])
    taker.__doc__ = spelled_docstring(taker.__doc__ or "", kind)
    return taker


def spelled_docstring(text: str, kind: Any) -> str:
    """Return a docstring with an entry for each option in place of the entry ``**options``."""

    def entries(found: re.Match[str]) -> str:
        indent = found[1]
        return "\n".join(
            textwrap.fill(
                f"{name}: {option.text}",
                width=100,
                initial_indent=indent,
                subsequent_indent=indent + "    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for name, (_, option) in options_of(kind).items()
        )

    return re.sub(r"^( *)\*\*options:.*(?:\n\1 +\S.*)*", entries, text, flags=re.M)
