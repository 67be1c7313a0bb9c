"""The pipelines beside the main one: what a stage imports is what DVC watches for it. (Of the main one, `test_pipeline.py` sees every stage run.)"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FLOWS, ALL = "realnvp glow", "realnvp glow vae gan"
STAGES = [  # a stage, what it runs, and the models that it loads by name
    ("studies/tuning", "search", "studies.tuning.search", ALL),
    ("studies/tuning", "compare", "studies.tuning.search", ALL),
    ("studies/tuning", "summarize", "studies.tuning.summarize", ALL),
    ("studies/claims", "depth", "studies.claims.score", FLOWS),
    ("studies/claims", "control", "studies.claims.score", FLOWS),
    ("studies/claims", "curve", "studies.claims.score", FLOWS),
    ("studies/claims", "ablation", "studies.claims.score", FLOWS),
    ("studies/claims", "floor", "studies.claims.score", FLOWS),
    ("studies/claims", "equal", "studies.claims.score, stages.settings", ALL),
    ("studies/claims", "analyse", "studies.claims.analyse", ""),
    ("benchmarks", "draw", "benchmarks.draw", ""),
]


@pytest.mark.parametrize(("folder", "stage", "modules", "models"), STAGES)
def test_declared_dependencies_are_the_modules_that_a_stage_imports(folder: str, stage: str, modules: str, models: str) -> None:
    program = (
        f"import sys, flows, {modules}\n"
        f"for name in {models.split()}: flows.model_class(name)\n"
        "print(*[m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)], sep='\\n')"
    )
    listed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    imported = {name for name in listed if Path(name).is_relative_to(ROOT) and ".venv" not in name}
    described = yaml.safe_load((ROOT / folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    places = [(ROOT / folder / described.get("wdir", "") / dep).resolve() for dep in described["deps"]]
    declared = {str(path) for place in places for path in (place.rglob("*.py") if place.is_dir() else [place]) if path.suffix == ".py"}
    # An empty __init__.py says nothing.
    assert sorted(name for name in imported ^ declared if Path(name).stat().st_size) == []


@pytest.mark.parametrize("folder", sorted({folder for folder, *_ in STAGES}))
def test_every_stage_of_a_study_is_looked_at(folder: str) -> None:
    stages = yaml.safe_load((ROOT / folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert {name for name, stage in stages.items() if "deps" in stage} == {stage for place, stage, *_ in STAGES if place == folder}
