"""Fits of five tables have the same bytes on simulated processors.

``python tests/test_same_bytes.py FOLDER`` fits the tables with the whole recipe, for other
machines.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import flows

SHORT = "short"  # the second argument of the program


def tables() -> dict[str, tuple[pd.DataFrame, dict[str, Any]]]:
    """Return the tables, and the options of their fits."""
    rng, n = np.random.default_rng(7), 300
    z, kind = rng.normal(size=(n, 3)), rng.integers(0, 3, n)
    numbers = pd.DataFrame({"a": np.exp(z[:, 0]), "b": z[:, 0] ** 2 + z[:, 1], "c": 10 * z[:, 2]})
    numbers = numbers.round({"a": 6, "c": 0})  # the last bits of exp depend on the processor
    labels = pd.DataFrame(
        {
            "kind": np.array(["x", "y", "z"])[kind],
            "other": np.where(rng.random(n) < 0.3, "p", "q"),
            "a": z[:, 0] + 2 * kind,
            "b": z[:, 1] * (1 + kind),
        }
    )
    gaps = numbers.mask(rng.random(numbers.shape) < 0.15)
    gaps["kind"] = labels["kind"].where(rng.random(n) > 0.1)
    x = rng.uniform(-2, 2, n)
    y = x**2 + 0.3 * z[:, 1] * (1 + 0.5 * np.abs(x))
    target = pd.DataFrame({"x": x, "w": z[:, 0], "y": y})
    wide = rng.normal(size=(n, 6)) @ rng.normal(size=(6, 60)) + 0.5 * rng.normal(size=(n, 60))
    return {
        "numbers": (numbers, {}),
        "labels": (labels, {}),
        "gaps": (gaps, {"missing": "learn"}),
        "target": (target, {"target": "y"}),
        "wide": (pd.DataFrame(wide.round(6)).add_prefix("c"), {}),
    }


def main(folder: str, recipe: str = "") -> None:
    """Fit all tables, save the densities in a folder, and print their hashes."""
    from helpers import SHORT_RECIPE

    for name, (frame, options) in tables().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", flows.TableNotice)
            found = flows.fit(frame, settings=SHORT_RECIPE if recipe else {}, **options)
        path = Path(folder, f"{name}.flow")
        found.save(path)
        print(hashlib.sha256(path.read_bytes()).hexdigest()[:16], name, flush=True)


@pytest.mark.slow
def test_fits_have_the_same_bytes_on_simulated_processors(tmp_path: Path):
    from tools.verify import environment, machines

    own, *others = machines().values()
    if not others:
        pytest.skip("only x86-64 simulates other processors")
    # As little of PyTorch's and MKL's own code for this processor as possible
    plain = {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"}
    two = {"OMP_NUM_THREADS": "2"}  # tests have one thread
    every = [own | two, *others, others[0] | plain]
    running = []
    for k, variables in enumerate(every):
        (tmp_path / str(k)).mkdir()
        command = [sys.executable, __file__, str(tmp_path / str(k)), SHORT]
        settings = environment(variables) | {"PYTHONPATH": ":".join(sys.path)}
        running.append(subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in running]
    assert all(process.returncode == 0 for process in running)
    assert said[0].count("\n") == len(tables())
    assert said == said[:1] * len(every)


if __name__ == "__main__":
    main(*sys.argv[1:])
