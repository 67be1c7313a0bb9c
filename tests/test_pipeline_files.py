"""What the pipeline files say of themselves, without running them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline import ROOT, expand, paths

PIPELINES = sorted(str(path.relative_to(ROOT)) for path in [ROOT / "dvc.yaml", *ROOT.glob("benchmarks/dvc.yaml"), *ROOT.glob("studies/*/dvc.yaml")])


def read(path: str | Path) -> dict[str, Any]:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PIPELINES)
def test_every_stage_says_what_it_does(path: str):
    bodies = {name: stage.get("do", stage) for name, stage in read(path)["stages"].items()}
    assert bodies
    assert [name for name, body in bodies.items() if not body.get("desc")] == []
    described = [body["desc"] for body in bodies.values()]
    assert len(set(described)) == len(described)


def test_every_model_of_the_settings_is_an_artifact_and_no_other():
    params, pipeline = read("params.yaml"), read("dvc.yaml")
    artifacts = pipeline["artifacts"]
    assert list(artifacts) == list(params["models"])
    outputs = {path for stage in expand(pipeline, params).values() for path in paths(stage.get("outs", []))}
    for name, artifact in artifacts.items():
        assert artifact["path"] == f"models/{name}.safetensors"
        assert artifact["path"] in outputs
        assert artifact["type"] == "model"
        assert artifact["desc"]
        assert artifact["labels"]
    labelled = {name for name, artifact in artifacts.items() if "normalizing-flow" in artifact["labels"]}
    assert labelled == {name for name, model in params["models"].items() if "couplings" in model}


def test_the_hooks_of_pre_commit_need_no_network():
    repositories = read(".pre-commit-config.yaml")["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    assert [repository["repo"] for repository in repositories] == ["local"]
    assert [hook["id"] for hook in hooks if hook["language"] != "system" or ".venv/bin" not in hook["entry"]] == []
