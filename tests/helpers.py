"""A small network, short settings, and what a fit learns and an error says, for several modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

import flows
from flows.core.errors import UserError
from flows.core.settings import Recipe, TrainingSettings
from flows.recipe.record import MemberRecord, Record, RowScores, RowState
from flows.tables.columns import checking, files, parsing
from flows.tables.columns.duplicates import first_copies
from flows.tables.columns.field import Field
from flows.tables.columns.learning import fit_schema
from flows.tables.columns.notices import Notice, TableError, python_words
from flows.tables.columns.options import InspectOptions, resolve
from flows.tables.columns.parsing import Table, from_user, numbers_of
from flows.tables.columns.schema import Schema
from flows.tables.columns.spreading import dequantise
from flows.tables.command_line.wording import shell_words
from flows.tables.questions.asking import Asking
from flows.tables.questions.question import Answer, Asked, Question
from flows.tables.questions.reading import UserRows

SMALL = flows.NSF(couplings=2, hidden=4, bins=3)
# For tests that do not depend on the quality of the fit
SHORT = {"recipe": "quick", "couplings": 2, "hidden": 8}
SHORT_WORDS = ["--recipe=quick", "-Scouplings=2", "-Shidden=8"]
QUICK = {"recipe": "quick"}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def quick_fit(frame: pd.DataFrame, **others: Any) -> flows.Density:
    """Return the density of a frame after a fit with one network."""
    return flows.fit(frame, members=1, settings=QUICK, **others)


class CountedBar:
    """In place of a progress bar: the steps that are done."""

    def __init__(self, name: str, total: int, unit: str) -> None:
        self.about, self.total, self.steps = (name, unit), total, list[int]()

    def __enter__(self) -> CountedBar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, count: int = 1) -> None:
        self.steps.append(count)


def counted_bars(monkeypatch: pytest.MonkeyPatch, *modules: Any) -> list[CountedBar]:
    """Return the list of the bars that the modules are going to show, each with its steps."""
    bars = list[CountedBar]()

    def progress(name: str, total: int, unit: str) -> CountedBar:
        bars.append(CountedBar(name, total, unit))
        return bars[-1]

    for module in modules:
        monkeypatch.setattr(module, "progress", progress)
    return bars


def further(*values: Any, **others: Any) -> Any:
    """Return a case of a parametrised test that runs in ``make test-all`` alone."""
    return pytest.param(*values, **others, marks=pytest.mark.slow)


def short_recipe(steps: int = 20, **others: Any) -> Recipe:
    """Return an automatic recipe with ``steps`` training steps and small mixtures.

    The folds, both rounds of halving, the cooling and the stacking stay.
    """
    own = {
        "halving_steps": (steps // 10, steps // 5),
        "least_steps": steps * 3 // 4,
        "most_steps": steps,
        "components": 2,
        "starts": 1,
        "ridges": (1e-3, 1e-2),
        "filler_components": (1, 2),
    }
    return Recipe.model_validate({**own, **others})


def nudged(numbers: Any) -> Any:
    """Return an array or a tensor of which every other number is the next larger one."""
    x = np.asarray(numbers).astype(np.float64)
    x.flat[::2] = np.nextafter(x.flat[::2], np.inf)
    return torch.from_numpy(x) if isinstance(numbers, torch.Tensor) else x


SHORT_RECIPE = {"recipe": short_recipe()}


def field(name: str, kind: str = "real", low: Any = None, high: Any = None, **own: Any) -> Field:
    """Return the field of a column, as a fit would return it."""
    return Field.from_json({"name": name, "kind": kind, "low": low, "high": high, **own})


class Learned(NamedTuple):
    """What a fit learns from a table."""

    columns: list[Field]
    values: np.ndarray
    copies: np.ndarray
    notices: list[Notice]
    schema: Schema
    groups: np.ndarray
    target_count: int
    is_weighted: bool
    labels: Sequence[Any]


def learned(
    table: Table, columns: Any = (), missing: Any = "stop", targets: Any = (), **options: Any
) -> Learned:
    """Return what a fit learns from a parsed table."""
    own = {"columns": dict(columns), "missing": missing, "target": targets, **options}
    schema, sample, notices = fit_schema(table, resolve(InspectOptions, own, "learned"))
    fields, (values, copies, groups, *others) = list(schema.fields), sample
    return Learned(fields, values, copies, notices, schema, groups, *others)


def taken(
    frame: pd.DataFrame, kinds: Any = None, missing: str = "learn", **others: Any
) -> tuple[Learned, dict[str | None, str]]:
    """Return what a fit learns from a frame, and the notice on each column."""
    table = from_user(frame, kinds or {}, others.get("na", ()))
    rows = learned(table, kinds or {}, missing, **others)
    said = {notice.column: notice.text(python_words) for notice in rows.notices}
    return rows, said


def column(values: Any, **others: Any) -> Field | None:
    """Return the column that a fit learns from values, beside a column of numbers."""
    y = np.random.default_rng(0).normal(size=len(values))
    rows, _ = taken(pd.DataFrame({"x": values, "y": y}), **others)
    return rows.columns[0] if rows.columns[0].name == "x" else None


def answered(
    density: flows.Density, question: Question, frame: pd.DataFrame
) -> tuple[Asked, Answer]:
    """Return the rows of a frame as a question sees them, and the answer as arrays."""
    [found] = Asking(question, density._array, UserRows([frame]), lambda notices: None)
    return found


def weigh(density: flows.Density, *weights: float) -> None:
    """Give the members of a density other weights."""
    density.population.weights[:] = density.population.weights.new_tensor(weights)


def with_folds(density: flows.Density, n: int = 40) -> flows.Density:
    """Return the density with other weights, and the record of a recipe with two folds.

    The first fold was held out of members 0 and 2, and the second of member 1.
    """
    fold = np.repeat([0, 1, 0], [15, 15, n - 30])
    state = np.repeat([RowState.SCORED, RowState.NOT_HELD_OUT], [30, n - 30])
    scores = RowScores(fold, state, np.random.default_rng(0).normal(-8, 2, n))
    members = [MemberRecord(k, {"preprocessing": "raw"}, 5) for k in (0, 1, 0)]
    record = Record("auto", n, members=members, row_scores=scores)
    weigh(density, 0.2, 0.5, 0.3)
    return flows.Density(density.population, density.schema, record)


def parabola(n: int = 80, seed: int = 0) -> pd.DataFrame:
    """Return a table of n rows: a normal number x, and y, which is x squared plus noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame({"x": x, "y": x**2 + 0.3 * rng.normal(size=n)})


@contextmanager
def shortened() -> Iterator[None]:
    """Give fits without a recipe ``short_recipe``, for programs that take no recipe."""
    with changed({TrainingSettings: {"numbers": property(lambda settings: short_recipe())}}):
        yield


@contextmanager
def few_samples() -> Iterator[None]:
    """Draw fewer samples for pictures and for the mixture that proposes unknown values.

    The fit of the mixture takes longer than a question about few rows. The density weights the
    proposals, so the results of a rough mixture are right, with fewer effective draws.
    """
    from flows.tables.density import pictures
    from flows.tables.posterior import array_density, distillation

    few = {"SAMPLES": 2_000}
    constants = dict.fromkeys((array_density, pictures), few)
    with changed({**constants, distillation: {"COMPONENTS": 4}}):
        yield


@contextmanager
def changed(constants: Mapping[Any, Mapping[str, Any]]) -> Iterator[None]:
    """Give the ``constants`` of modules or classes other values."""
    with pytest.MonkeyPatch.context() as patch:
        for module, values in constants.items():
            for name, value in values.items():
                patch.setattr(module, name, value)
        yield


def error_message(
    call: Callable[..., Any], *arguments: Any, error: type[BaseException] = UserError, **named: Any
) -> str:
    """Return the message of the ``error`` that ``call`` raises. The message must have one line."""
    with pytest.raises(error) as caught:
        call(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message
    return message


def inspected(values, kind=None):
    """Return the column that a fit learns from ``values``, and the text of its notices."""
    frame = pd.DataFrame({"x": values, "y": np.random.default_rng(0).normal(size=len(values))})
    found = learned(from_user(frame, {}), {} if kind is None else {"x": kind})
    said = [notice.text(python_words) for notice in found.notices if notice.column == "x"]
    return found.columns[0] if found.schema.learned[0] == "x" else None, "\n".join(said)


def write(path, content):
    """Write text or bytes to a file, and return its path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def file_error(path, missing="stop"):
    """Return the error about a file, in the words of the command line."""
    with pytest.raises(TableError) as caught:
        learned(files.read(path), {}, missing)
    message = caught.value.text(shell_words)
    assert all(line.startswith(f"{path}: ") for line in message.splitlines())
    return message


def real_numbers(frame, *names):
    """Return columns of a frame as numbers, parsed as real."""
    parsed = parsing.parse(frame, dict.fromkeys(names, "real"))
    complete = parsing.apply_missing_policy(parsed)
    return numbers_of([field(name) for name in names], complete)


def dequantised(columns, values, seed=0):
    return dequantise(columns, values, first_copies(values), seed)


def checked(columns, values):
    """Return the columns, and the notices in the words of the command line."""
    found = checking.check(columns, values)
    return found.fields, [notice.text(shell_words) for notice in found.notices]
