"""``make repro`` starts every stage once, as soon as what it needs is there."""

from __future__ import annotations

import os
import sys
import time

import pytest

from stages import settings
from tools import repro

FAKE = """#!{python}
import os, sys, time
name = sys.argv[-1].removeprefix("dvc.yaml:")
with open({log!r}, "a") as log:
    log.write(f"start {{name}} {{os.environ['OMP_NUM_THREADS']}}\\n")
time.sleep(0.2)
with open({log!r}, "a") as log:
    log.write(f"end {{name}}\\n")
sys.exit("broken" in name)
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A `dvc` that only writes down what it was asked for, on a machine with two cores."""
    path = tmp_path / "log"
    fake = tmp_path / "bin" / "dvc"
    fake.parent.mkdir()
    fake.write_text(FAKE.format(python=sys.executable, log=str(path)))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    return lambda: [line.split() for line in path.read_text().splitlines()]


def test_two_at_once_each_with_its_share_and_after_what_it_needs(log):
    started = time.monotonic()
    seconds = repro.side_by_side({"a": [], "b": [], "c": ["a"], "d": ["c"]})
    assert list(seconds) == ["a", "b", "c", "d"]
    assert all(taken >= 0.2 for taken in seconds.values())
    assert time.monotonic() - started < sum(seconds.values())
    lines = log()
    assert sorted(line[1] for line in lines if line[0] == "start") == ["a", "b", "c", "d"]
    assert all(line[2] == "1" for line in lines if line[0] == "start")
    assert lines.index(["end", "a"]) < lines.index(["start", "c", "1"])
    assert lines.index(["end", "c"]) < lines.index(["start", "d", "1"])
    assert lines.index(["start", "b", "1"]) < lines.index(["end", "a"])


def test_what_needs_a_failed_stage_is_left_for_dvc_to_report(log):
    assert list(repro.side_by_side({"broken": [], "needs-it": ["broken"], "other": []})) == ["broken", "other"]
    assert not [line for line in log() if line[1] == "needs-it"]


def test_every_stage_is_there_once_and_the_long_ones_first():
    params = settings.load()
    cells = repro.cells(params)
    assert next(iter(cells)) == "reference@truth"
    assert set(cells) == {f"{stage}@{model}" for stage in ("train", "evaluate") for model in params.models} | {
        f"reference@{name}" for name in settings.References.model_fields
    }
    assert cells["evaluate@glow"] == ["train@glow"]


def test_the_report_says_where_the_time_went():
    lines = repro.report({"train@glow": 12.34, "plot": 5.0}, 15.0).splitlines()
    assert lines[1].split() == ["train@glow", "12.3", "s"]
    assert lines[-1].endswith("15.0 s")
