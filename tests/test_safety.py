"""What goes wrong in everyday use is one clear line, leaves nothing half written, and a `dvc repro` afterwards ends in the good bytes.

Runs that are killed are in test_pipeline.py, damaged files in test_files.py, and bad settings in test_settings.py.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import RESULTS, Clone, kill, stages_run

pytestmark = pytest.mark.slow


@pytest.fixture
def mended(clone: Clone) -> Iterator[dict[str, bytes]]:
    """The bytes of a finished run. At the end of the test they must be there again, and the tree clean."""
    before = clone.contents(*RESULTS)
    yield before
    after = clone.contents(*RESULTS)
    assert [
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    ] == []
    assert clone.git("status", "--porcelain") == ""


@pytest.fixture
def good(clone: Clone, mended: dict[str, bytes]) -> Iterator[dict[str, bytes]]:
    """The bytes of a finished run. After the test, `dvc repro` must give them again, and a clean tree."""
    yield mended
    clone.dvc("repro")


def failed(clone: Clone, *words: str) -> str:
    """What a command that fails says."""
    done = clone.run(*words, check=False, merge=True)
    assert done.returncode > 0, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def line(output: str, *words: str) -> str:
    """The one line that holds all the ``words``."""
    found = {each for each in output.splitlines() if all(word in each for word in words)}
    assert len(found) == 1, output
    return found.pop()


# Two at once


def test_a_second_make_repro_is_refused_in_one_line_and_starts_nothing(
    clone: Clone, mended: dict[str, bytes]
):
    with (clone.folder / ".dvc/tmp/make-repro").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        done = clone.run(sys.executable, "-m", "tools.repro", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"repro: another one is at work in this checkout; .*\n", done.stderr)


# Settings with a typo


def test_a_typo_in_the_settings_is_named_and_nothing_that_is_tracked_is_lost(
    clone: Clone, mended: dict[str, bytes]
):
    before = clone.contents(*RESULTS)
    clone.edit("  vae:\n    hidden: 8", "  vae:\n    hidden: eight")
    output = failed(clone, "dvc", "repro")
    assert line(output, "train:", "params.yaml: models.vae.hidden = 'eight'")
    assert "failed to reproduce 'train@vae'" in output
    after = clone.contents(*RESULTS)
    # DVC takes the model away before it starts the stage, and its cache gives it back. What Git holds is kept while a stage runs.
    assert [name for name in before if before[name] != after.get(name)] == [
        "models/vae.safetensors"
    ]
    assert clone.git("status", "--porcelain") == " M params.yaml\n"
    clone.git("checkout", "--quiet", "params.yaml")
    assert stages_run(clone.dvc("repro")) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "  epochs: 4\n",
            "  epoch: 4\n",
            ["params.yaml: train.epoch is not a known key; allowed in train: recipe"],
        ),
        ("  vae:\n", "  vea:\n", ["params.yaml", "models.vea"]),
        ("train:\n", "train\n", ["params.yaml", "YAML"]),
    ],
    ids=["key", "model", "colon"],
)
def test_make_repro_names_a_typo_before_anything_runs(
    clone: Clone, mended: dict[str, bytes], old: str, new: str, words: list[str]
):
    clone.edit(old, new)
    output = failed(clone, sys.executable, "-m", "tools.repro")
    clone.edit(new, old)
    assert line(output, *words) == output.strip()


# `make repro` itself


def test_make_repro_without_dvc_says_what_is_missing_in_one_line(tmp_path: Path, clone: Clone):
    done = clone.run("env", f"PATH={tmp_path}", sys.executable, "-m", "tools.repro", check=False)
    assert done.returncode == 1
    assert done.stderr == "repro: dvc: No such file or directory\n"


def test_an_interrupt_from_the_keyboard_is_one_line(clone: Clone, good: dict[str, bytes]):
    history = clone.folder / "metrics/glow/history.csv"
    history.unlink()
    clone.edit(
        "epochs: 150", "epochs: 1000000"
    )  # however busy the machine is, it's still training when the interrupt comes
    output = clone.folder.parent / "output"
    other = clone.start("dvc", "repro", "--single-item", "train@glow", output=output)
    try:
        while not history.is_file() or not history.stat().st_size:
            assert other.poll() is None, output.read_text(encoding="utf-8")
            time.sleep(0.01)
        os.killpg(other.pid, signal.SIGINT)
        assert other.wait(60) > 0
    finally:
        kill(other)
        clone.edit("epochs: 1000000", "epochs: 150")
    text = output.read_text(encoding="utf-8")
    assert "train: stopped" in text
    assert "Traceback" not in text
    assert not list(clone.folder.glob("models/*.tmp"))
