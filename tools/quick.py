"""``make quick``: the whole pipeline with small settings, in a temporary copy that is gone afterwards. Your own files stay as they are."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from flows.core.errors import UserError
from stages.shared import settings
from tools import command

SMALL: dict[str, Any] = {
    "train": {"epochs": 60, "members": 2},
    "models": {"realnvp": {"couplings": 8}, "glow": {"couplings": 8}, "vae": {"hidden": 48, "log_every": 20}, "gan": {"hidden": 48, "epochs": 60}},
    "references": {"truth": {"draws": 3}, "gmm": {"max_components": 10}},
    "evaluate": {"fresh": 10_000, "samples": 2_000, "grid": 100},
}


def main() -> int:
    settings.load()  # a clear error for a wrong setting
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in command.listed():
            if not name.startswith("studies/"):
                _copy(name, copy)
        params = copy / "params.yaml"
        content = merge(yaml.safe_load(params.read_text(encoding="utf-8")), SMALL)
        params.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        command.git("init", "--quiet", cwd=copy)
        done = subprocess.run([sys.executable, "-m", "tools.repro"], cwd=copy, env=command.environment(), check=False)
        if done.returncode:
            return done.returncode
    print("\nsmall settings: far from what the models can do. `make repro` runs the real thing.")
    return 0


def _copy(name: str, folder: Path) -> None:
    try:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, folder / name)
    except OSError as error:  # it names the file that is read, where it is the other one that can't be written
        raise UserError(f"{name}: can't be copied to {folder} ({error.strerror or error})") from None


def merge(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``settings`` with the ``changes`` laid over them; sections that are not there are left out."""
    merged = dict(settings)
    for key, value in changes.items():
        if key in merged:
            merged[key] = merge(merged[key], value) if isinstance(value, dict) else value
    return merged


if __name__ == "__main__":
    command.run("quick", main)
