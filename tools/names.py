"""What models and references are called, and their colours; also those of an older commit, which nobody may know any more."""

from __future__ import annotations

from collections.abc import Iterable

from flows.plotting import SPARE_COLORS
from stages.shared import settings


def label(name: str) -> str:
    return _known(name)[0]


def color(name: str) -> str:
    return _known(name)[1]


def _known(name: str) -> tuple[str, str]:
    try:
        return settings.label_and_color(name)
    except LookupError:
        return name, SPARE_COLORS[0]


def ordered(names: Iterable[str]) -> list[str]:
    """Those of ``params.yaml`` first, as they are listed everywhere; then others by their letters."""
    known = [*settings.References.model_fields, *settings.load().models]
    rank = {name: place for place, name in enumerate(known)}
    return sorted(set(names), key=lambda name: (rank.get(name, len(rank)), name))
