"""What models and references are called, and their colours; also those of an older commit, which nobody may know any more."""

from __future__ import annotations

from collections.abc import Iterable

from flows.plotting import SPARE_COLOR
from stages.shared import settings


def label(name: str) -> str:
    return _known(name)[0]


def color(name: str) -> str:
    return _known(name)[1]


def _known(name: str) -> tuple[str, str]:
    try:
        return settings.label_and_color(name)
    except LookupError:
        return name, SPARE_COLOR


def ordered(names: Iterable[str]) -> list[str]:
    """Those of ``params.yaml`` first, as they are listed everywhere; then others by their letters."""
    known = [*settings.References.model_fields, *settings.load().models]
    return sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name))
