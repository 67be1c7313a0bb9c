"""``params.yaml``: read, and checked as a whole, by every stage before it does anything else."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError, create_model
from ruamel.yaml import YAML, YAMLError

from flows.core.errors import UserError, errors_in_one_line, one_line
from flows.core.settings import Section, explain, folds_and_candidates
from flows.networks import registry
from stages.pipeline.schema import TABLE as TABLE
from stages.pipeline.schema import TABLE_REFERENCES as TABLE_REFERENCES
from stages.pipeline.schema import Evaluate as Evaluate
from stages.pipeline.schema import References as References
from stages.pipeline.schema import Settings, Train
from stages.pipeline.schema import label_and_color as label_and_color

PARAMS = Path("params.yaml")
LEAST_TEST_ROWS = 10
SectionT = TypeVar("SectionT", bound=Section)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, by the parser that DVC reads it with. Raises ``UserError``."""
    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        here = "run this from the top folder of the repository"
        raise UserError(f"{path}: can't be read ({error.strerror}); {here}") from None
    except (UnicodeDecodeError, YAMLError) as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None


def check(content: Any, section: type[SectionT], path: Path = PARAMS, prefix: str = "") -> SectionT:
    """Return what a file holds as the ``section`` that it must be.

    Raises ``UserError`` with one line that names the ``path``, the first bad key, below the key
    ``prefix``, its value and what is allowed.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, section, prefix=prefix)}") from None


def load(path: Path = PARAMS) -> Settings:
    """Read and check all of ``params.yaml``. Raises ``UserError``."""
    return check_all(read_yaml(path), path)


def check_all(content: Any, path: Path = PARAMS) -> Settings:
    """Check every key of ``content`` by itself, then what no single key can tell."""
    settings = check(content, Settings, path)
    for key in Train.model_fields:
        if key not in settings.train.model_fields_set:
            raise UserError(f"{path}: train.{key} is missing")
    try:
        settings.data.make_truth()
    except ValueError as error:
        raise UserError(f"{path}: data.custom: {error}") from None
    for name, section in settings.models.items():
        try:
            # A model may have keys of both.
            both = create_model(name, __base__=(Train, registry.find(name)))
            check({**settings.train.model_dump(), **section}, both, path, f"models.{name}")
            training = settings.training(name)
            folds_and_candidates(training.members if training.recipe == "auto" else 1)
        except (LookupError, ValueError) as error:
            raise UserError(f"{path}: models.{name}: {error.args[0]}") from None
    if settings.data.target != TABLE:  # its rows are counted when they are read
        check_rows(settings, settings.data.samples, path)
    return settings


def check_rows(settings: Settings, rows: int, path: Path = PARAMS) -> None:
    """Check that ``rows`` are enough for these settings. Raises ``UserError``."""
    fraction, test = settings.prepare.test_fraction, settings.prepare.test_rows(rows)
    train = rows - test
    if test < LEAST_TEST_ROWS:
        least = f"leaves {test} test rows of {rows}; at least {LEAST_TEST_ROWS} are needed"
        raise UserError(f"{path}: prepare.test_fraction = {fraction}: {least}")
    limits = [
        ("evaluate.neighbours", "at most", test - 1, "one less than the number of test rows"),
        ("references.gmm.folds", "at most", train, "the number of training rows"),
        ("references.kde.folds", "at most", train, "the number of training rows"),
        ("evaluate.samples", "at least", test, "the number of test rows"),
        ("evaluate.fresh", "at least", settings.evaluate.samples, "evaluate.samples"),
    ]
    if settings.data.target != TABLE:  # of a table, fewer are taken where its rows are few
        fold = train - -(-train // settings.references.gmm.folds)
        key = "references.gmm.max_components"
        limits.append((key, "at most", fold, "the training rows of a fold"))
        own = [f"models.{name}" for name, keys in settings.models.items() if "batch_size" in keys]
        for section in ("train", *own):
            limits.append(
                (f"{section}.batch_size", "at most", train, "the number of training rows")
            )
    content = settings.model_dump()
    for key, word, limit, what in limits:
        value: Any = reduce(getitem, key.split("."), content)
        if value > limit if word == "at most" else value < limit:
            raise UserError(f"{path}: {key} = {value}: must be {word} {limit}, {what}")


def run(stage: Callable[..., None]) -> None:
    """Run a stage with the words of the command line.

    An error that the user can put right is one line and exit status 1.
    """
    name, words = Path(sys.argv[0]).stem, sys.argv[1:]
    usage = [
        f"python -m stages.{name}",
        *(f"<{key}>" for key in inspect.signature(stage).parameters),
    ]
    if len(words) != len(usage) - 1:
        sys.exit(f"{name}: got {len(words)} arguments; usage: {' '.join(usage)}")
    with errors_in_one_line(name):
        try:
            stage(*words)
        except UserError:
            restore()
            raise


def restore() -> None:
    """Give back what is in Git and DVC took away.

    Before a stage it removes what the stage is to write, and this one refused to. Nothing that is
    there is touched.
    """
    missing = "git ls-files -z --deleted metrics figures"
    words = f"{missing} | git checkout-index -z --stdin"
    subprocess.run(words, shell=True, stderr=subprocess.DEVNULL, check=False)
