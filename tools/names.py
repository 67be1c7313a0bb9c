"""What models and references are called.

Also those of an older commit, which nobody may know any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from stages.pipeline import settings


def label(name: str) -> str:
    try:
        return settings.label_and_color(name)[0]
    except LookupError:
        return name


def ordered(names: Iterable[str]) -> list[str]:
    """Those of ``params.yaml`` first, as they are listed everywhere.

    Then others by their letters.
    """
    known = [*settings.References.model_fields, *settings.load().models]
    return sorted(
        set(names), key=lambda name: (known.index(name) if name in known else len(known), name)
    )
