"""The command line of a stage."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline import TINY

from flows.core.errors import UserError
from stages import evaluate, prepare, reference, train
from stages.pipeline import runner


def written(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("stage", "known"),
    [
        (train, "realnvp, glow"),
        (evaluate, "realnvp, glow"),
        (reference, "truth, independent, gaussian, gmm, kde, sharpened_kde"),
    ],
    ids=["train", "evaluate", "reference"],
)
def test_an_unknown_name_on_the_command_line_lists_the_known_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage, known: str
):
    written(tmp_path, TINY)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=known) as caught:
        stage.main("nothing")
    assert "nothing" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("stage", "words", "usage"),
    [
        (train, [], "python -m stages.train <model>"),
        (reference, ["gmm", "kde"], "python -m stages.reference <name>"),
        (prepare, ["glow"], "python -m stages.prepare"),
    ],
)
def test_too_few_or_too_many_arguments_show_the_usage(stage, words: list[str], usage: str):
    with pytest.raises(SystemExit, match=usage):
        runner.run(stage.main, [stage.__file__, *words])
