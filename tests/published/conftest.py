"""The published results are of the settings that `dvc.lock` holds.

Who has settings or models of their own publishes none: tests then step aside.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import yaml
from pipeline import ROOT


@cache
def changed() -> list[str]:
    """The settings that are not those of the committed run."""
    params, lock = (
        yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        for name in ("params.yaml", "dvc.lock")
    )
    found = [f"models.{name}" for name in params["models"] if f"train@{name}" not in lock["stages"]]
    for stage in lock["stages"].values():
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            now: Any = params
            for part in key.split("."):
                now = now.get(part) if isinstance(now, dict) else None
            found += [key] if now != value else []
    return found


@pytest.fixture(autouse=True)
def _of_the_published_settings() -> None:
    if changed():
        pytest.skip(f"{changed()[0]} is not what the committed results were made with")
