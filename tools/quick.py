"""``make quick``: the whole pipeline with small settings, in a temporary copy that is gone afterwards. Your own files stay as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

SMALL: dict[str, Any] = {
    "train": {"epochs": 60, "members": 2},
    "models": {"realnvp": {"couplings": 8}, "glow": {"couplings": 8}, "vae": {"hidden": 48, "log_every": 20}, "gan": {"hidden": 48, "epochs": 60}},
    "references": {"truth": {"draws": 3}, "gmm": {"max_components": 10}},
    "evaluate": {"fresh": 10_000, "samples": 2_000, "grid": 100},
}


def main() -> int:
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in filter(None, listed.stdout.split("\0")):
            if Path(name).is_file() and not name.startswith("studies/"):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(name, copy / name)
        params = copy / "params.yaml"
        params.write_text(yaml.safe_dump(merge(yaml.safe_load(params.read_text(encoding="utf-8")), SMALL), sort_keys=False), encoding="utf-8")
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        for command in (["git", "init", "--quiet"], [sys.executable, "-m", "tools.repro"]):
            done = subprocess.run(command, cwd=copy, env=environment, check=False)
            if done.returncode:
                return done.returncode
    print("\nsmall settings: far from what the models can do. `make repro` runs the real thing.")
    return 0


def merge(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``settings`` with the ``changes`` laid over them; sections that are not there are left out."""
    merged = dict(settings)
    for key, value in changes.items():
        if key in merged:
            merged[key] = merge(merged[key], value) if isinstance(value, dict) else value
    return merged


if __name__ == "__main__":
    sys.exit(main())
