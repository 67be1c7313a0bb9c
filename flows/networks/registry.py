"""Architectures by name: the files of ``flows/models``, and their settings.

Each file holds one subclass of ``Architecture``, named like the file except for case and
underscores. No torch is imported here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

from pydantic import ValidationError

from flows.core.settings import Section, TrainingSettings, explain
from flows.networks.architecture import Architecture

SectionT = TypeVar("SectionT", bound=Section)
TrainingT = TypeVar("TrainingT", bound=TrainingSettings)


def names() -> list[str]:
    """Return the names of all architectures in alphabetical order, without importing them."""
    return sorted(module.name for module in iter_modules(import_module("flows.models").__path__))


def find(name: str) -> type[Architecture]:
    """Return the class of the architecture ``name``.

    ``"realnvp"`` gives ``RealNVP`` of ``flows/models/realnvp.py``. Raises ``LookupError`` if the
    file does not exist or has no subclass of ``Architecture`` of this name.
    """
    if name not in names():
        raise LookupError(
            f"no model {name!r}: there is no file flows/models/{name}.py; "
            f"the models are: {', '.join(names())}"
        )
    for value in vars(import_module(f"flows.models.{name}")).values():
        if (
            isinstance(value, type)
            and issubclass(value, Architecture)
            and value.__name__.lower() == name.replace("_", "")
        ):
            return value
    raise LookupError(
        f"flows/models/{name}.py: holds no subclass of Architecture with the name of the file"
    )


def name_of(architecture: Architecture) -> str:
    """Return the name of an architecture, which is the name of its file.

    Raises ``LookupError`` for a class that is not in ``flows/models``.
    """
    package, _, name = type(architecture).__module__.rpartition(".")
    if package != "flows.models" or name not in names():
        raise LookupError(
            f"{type(architecture).__name__} is not in a file of flows/models, "
            "where checkpoints look for it"
        )
    return name


def architecture(name: str, settings: Mapping[str, Any] | None = None) -> Architecture:
    """Return the architecture ``name`` with ``settings``; a missing setting has its default.

    Use this for settings from a file; in Python, write ``flows.NSF(couplings=4)``. Raises
    ``LookupError`` for an unknown name and ``ValueError`` for invalid settings.

    Examples:
        >>> from flows.networks.registry import architecture
        >>> architecture("nsf", {"couplings": 4})
        NSF(couplings=4, hidden=32, bins=8)
    """
    return checked(find(name), settings or {}, name)


def parse_section(
    model: str | Architecture,
    section: Mapping[str, Any],
    defaults: TrainingT,
    *,
    prefix: str = "",
    reserved: Collection[str] = (),
) -> tuple[Architecture, TrainingT]:
    """Return the architecture and the training settings that a section describes.

    Args:
        model: the name of the architecture, or the architecture itself.
        section: training settings that differ from the defaults and, if ``model`` is a name,
            settings of the architecture.
        defaults: the training settings of all sections.
        prefix: the place of the section in its file, for messages, such as ``"models.nsf"``.
        reserved: training settings that the section must not contain.

    Raises ``LookupError`` for an unknown name, and ``ValueError`` for invalid settings, with one
    line that names the key.
    """
    cls = find(model) if isinstance(model, str) else type(model)
    own = list(cls.model_fields) if isinstance(model, str) else []
    shared = [key for key in type(defaults).model_fields if key not in reserved]
    name = model if isinstance(model, str) else cls.__name__
    for key in section:
        # Pydantic would list the keys of one class only; a section may hold keys of both
        if key not in (*own, *shared):
            place = f"{prefix}.{key}" if prefix else str(key)
            known = f"allowed in {name}: {', '.join(own)}; " if own else "allowed "
            raise ValueError(f"{place} is not a known key; {known}in training: {', '.join(shared)}")
    changes = {key: value for key, value in section.items() if key in shared}
    training = defaults
    if changes:
        training = checked(
            type(defaults), {**defaults.model_dump(exclude_unset=True), **changes}, prefix
        )
    if not isinstance(model, str):
        return model, training
    settings = {key: value for key, value in section.items() if key not in shared}
    return checked(cls, settings, prefix or name), training


def checked(section: type[SectionT], settings: Mapping[str, Any], prefix: str = "") -> SectionT:
    """Return the section with these settings. Raises ``ValueError`` with one line.

    Args:
        section: the class of the section.
        settings: the settings by name.
        prefix: the place of the section in its file, for the message.
    """
    try:
        return section.model_validate(dict(settings))
    except ValidationError as error:
        raise ValueError(explain(error, section, prefix=prefix)) from None
