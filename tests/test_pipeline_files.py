"""What the pipeline files say of themselves, without running them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline import ROOT, expand, paths

PIPELINES = sorted(
    str(path.relative_to(ROOT))
    for path in [
        ROOT / "dvc.yaml",
        *ROOT.glob("benchmarks/dvc.yaml"),
        *ROOT.glob("studies/*/dvc.yaml"),
    ]
)


def read(path: str | Path) -> dict[str, Any]:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PIPELINES)
def test_every_stage_says_what_it_does(path: str):
    bodies = {name: stage.get("do", stage) for name, stage in read(path)["stages"].items()}
    assert bodies
    assert [name for name, body in bodies.items() if not body.get("desc")] == []
    described = [body["desc"] for body in bodies.values()]
    assert len(set(described)) == len(described)


def test_every_model_of_the_settings_has_its_line_in_the_pipeline():
    params, pipeline = read("params.yaml"), read("dvc.yaml")
    assert sorted(pipeline["vars"][0]["code"]) == sorted(params["models"])


def test_every_artifact_is_a_model_that_a_stage_writes():
    params, pipeline = read("params.yaml"), read("dvc.yaml")
    outputs = {
        path for stage in expand(pipeline, params).values() for path in paths(stage.get("outs", []))
    }
    for name, artifact in pipeline["artifacts"].items():
        assert artifact["path"] == f"models/{name}.safetensors"
        assert artifact["path"] in outputs
        assert artifact["type"] == "model"
        assert artifact["desc"]


def test_nothing_switches_off_the_run_cache_of_the_pipeline():
    """A file that is in Git would under `outs`, and `persist` would anywhere.

    Going back to old settings would then train again.
    """
    for name, stage in expand(read("dvc.yaml"), read("params.yaml")).items():
        assert all(isinstance(entry, str) for entry in stage.get("outs", [])), name
        in_git = [
            options
            for kind in ("metrics", "plots")
            for entry in stage.get(kind, [])
            for options in entry.values()
        ]
        assert all(options["cache"] is False and "persist" not in options for options in in_git), (
            name
        )


def test_no_rule_of_what_git_and_dvc_ignore_names_a_model():
    rules = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in (".gitignore", ".dvcignore")
    )
    assert not [name for name in read("params.yaml")["models"] if name in rules]
    assert {".venv", "/models/"} <= set(
        rules.splitlines()
    )  # without a slash at its end, `.venv` may be a link


def test_the_hooks_of_pre_commit_need_no_network():
    repositories = read(".pre-commit-config.yaml")["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    assert [repository["repo"] for repository in repositories] == ["local"]
    assert [
        hook["id"]
        for hook in hooks
        if hook["language"] != "system" or ".venv/bin" not in hook["entry"]
    ] == []
