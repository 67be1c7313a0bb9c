"""Files of settings and the entry point of stages, with errors of one line."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError

from flows.core.errors import UserError, errors_in_one_line, one_line
from flows.core.settings import Section, explain
from flows.tables.notices import (
    DropColumn,
    DropIncompleteRows,
    Remedy,
    SetFormat,
    SetKind,
    TableError,
)

PARAMS = Path("params.yaml")

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


def check(content: Any, section: type[SectionT], path: Path, prefix: str = "") -> SectionT:
    """Return what a file holds as the ``section`` that it must be.

    Raises ``UserError`` with one line that names the ``path``, the first bad key, below the key
    ``prefix``, its value and what is allowed.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, section, prefix=prefix)}") from None


def run(stage: Callable[..., None]) -> None:
    """Run a stage with the arguments of the command line.

    An error that the user can fix is one line and exit status 1.
    """
    name, arguments = Path(sys.argv[0]).stem, sys.argv[1:]
    keys = [f" <{key}>" for key in inspect.signature(stage).parameters]
    if len(arguments) != len(keys):
        usage = f"python -m stages.{name}{''.join(keys)}"
        sys.exit(f"{name}: got {len(arguments)} arguments; usage: {usage}")
    with errors_in_one_line(name):
        try:
            stage(*arguments)
        except TableError as error:
            restore()
            raise UserError(error.text(pipeline_words)) from None
        except UserError:
            restore()
            raise


def pipeline_words(remedy: Remedy) -> str:
    """Return how a user of the pipeline applies a remedy."""
    match remedy:
        case SetKind(column, kind):
            return f"set data.columns.{column}: {kind} in {PARAMS}"
        case DropColumn(column):
            return f"remove the column {column} from the file"
        case DropIncompleteRows():
            return f"set data.missing: drop in {PARAMS}"
        case SetFormat():
            return "save it as UTF-8 text with commas between fields and decimal points"


def restore() -> None:
    """Restore the files of ``metrics`` and ``figures`` that DVC removed before the stage.

    They are those that are in Git and that the stage did not write. No file that exists is changed.
    """
    missing = "git ls-files -z --deleted metrics figures"
    command = f"{missing} | git checkout-index -z --stdin"
    subprocess.run(command, shell=True, stderr=subprocess.DEVNULL, check=False)
