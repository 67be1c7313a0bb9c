"""Settings in YAML files, with errors that name the file and the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError

from flows.core.errors import UserError, one_line
from flows.core.settings import Count, Section, TrainingSettings, explain

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


class Train(TrainingSettings):
    """The section ``train`` of the pipeline's ``params.yaml``, which a study reads, too."""

    members: Count = 10
