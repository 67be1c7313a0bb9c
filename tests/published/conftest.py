"""Tests of the published results, which belong to the settings in `dvc.lock`.

With other settings or models, the tests are skipped.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import yaml
from pipeline import ROOT


@cache
def changed() -> list[str]:
    """Return the keys of settings that differ from the settings of the committed run."""
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
        pytest.skip(f"{changed()[0]} differs from the settings of the committed results")
