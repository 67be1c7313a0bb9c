"""What models and references are called, and their colours: the one place of the commands that knows where that is written."""

from __future__ import annotations

from collections.abc import Iterable

from flows.plotting import COLORS, LABELS, SPARE_COLORS


def label(name: str) -> str:
    return LABELS.get(name, name)


def color(name: str) -> str:
    return COLORS.get(name, SPARE_COLORS[0])


def ordered(names: Iterable[str]) -> list[str]:
    """Those that are known first, as they are listed everywhere; then others, of an older commit perhaps, by their letters."""
    rank = {name: place for place, name in enumerate(LABELS)}
    return sorted(set(names), key=lambda name: (rank.get(name, len(rank)), name))
