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
    """Return the content of a YAML file, read with the parser of DVC.

    Raises ``UserError`` for a file that cannot be read or is not valid YAML.
    """
    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        here = "run this from the top folder of the repository"
        raise UserError(f"{path}: cannot be read ({error.strerror}); {here}") from None
    except (UnicodeDecodeError, YAMLError) as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None


def check(content: Any, section: type[SectionT], path: Path, prefix: str = "") -> SectionT:
    """Validate the content of a file, and return it as a ``section``.

    Raises ``UserError``, which names the ``path``, the first wrong key below ``prefix``, its value
    and the allowed values.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, section, prefix=prefix)}") from None


class Train(TrainingSettings):
    """The section ``train`` of the pipeline's ``params.yaml``, which studies also read."""

    members: Count = 10
