"""``make repro``: parallel stages in the order of dependencies, their output, and the lock."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline import ROOT, running

from tools import command, repro

CHAIN = {"a": [], "b": ["a"], "c": ["b"], "other": ["a"]}


class Simulated:
    """Stages that behave as their names say, on two cores, and their ``log``."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def run(self, needs: dict[str, list[str]], changed: Container[str]) -> bool:
        return repro.side_by_side(needs, changed, self.stage, cores=2)

    def stage(self, name: str, at_once: int) -> repro.Ended:
        self.log.append(f"start {name} {at_once}")
        time.sleep(0.1)
        self.log.append(f"end {name}")
        if "broken" in name:
            return repro.Ended("failed", ["first words", "no such luck"])
        outcome = "unchanged" if "idle" in name else "updated"
        return repro.Ended(outcome, ["first words", f"kl of {name}"], ["10 of 20 epochs"])


def test_two_stages_run_in_parallel_after_their_dependencies():
    needs = {"a": [], "b": [], "c": ["a"], "d": ["c"]}
    stages = Simulated()
    assert stages.run(needs, set(needs))
    log = stages.log
    assert sorted(log[:2]) == ["start a 2", "start b 2"]
    assert log.index("end a") < log.index("start c 2" if "start c 2" in log else "start c 1")
    assert log[-2:] == ["start d 1", "end d"]  # runs alone, with both cores
    assert len(log) == 8


def test_unchanged_stages_start_only_if_a_dependency_changed(
    capsys: pytest.CaptureFixture[str],
):
    stages = Simulated()
    assert stages.run(CHAIN, {"b"})
    said = capsys.readouterr()
    assert said.err == ""  # progress is shown only on a terminal
    assert said.out.splitlines() == [
        "a      unchanged",
        "other  unchanged",
        "b      updated         kl of b",
        "  10 of 20 epochs",
        "  first words",
        "c      updated         kl of c",
        "  10 of 20 epochs",
        "  first words",
    ]
    stages = Simulated()
    assert stages.run({"idle": [], "next": ["idle"]}, {"idle"})
    assert stages.log == ["start idle 1", "end idle"]


def test_a_failed_stage_shows_its_output_and_independent_stages_still_run(
    capsys: pytest.CaptureFixture[str],
):
    stages = Simulated()
    needs = {"broken": [], "needs-it": ["broken"], "last": ["needs-it"], "other": []}
    assert not stages.run(needs, {"broken", "other"})
    assert {line.split()[1] for line in stages.log} == {"broken", "other"}
    said = capsys.readouterr().out
    assert "broken    failed\n  first words\n  no such luck\n" in said
    assert "needs-it  not run\nlast      not run\n" in said
    assert "other     updated" in said


TALK = """\
import time
from tools import repro
def run(stage, at_once):
    time.sleep(1.5)
    return repro.Ended("updated", ["kl 0.07"])
repro.side_by_side({"talks": [], "quiet": ["talks"]}, {"talks"}, run)
"""


@pytest.mark.slow
def test_progress_is_shown_on_a_terminal():
    words = [sys.executable, "-c", TALK]
    output, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    process = subprocess.Popen(words, cwd=ROOT, stdout=end, stderr=end)
    os.close(end)
    said = b""
    with suppress(OSError), os.fdopen(output, "rb", buffering=0) as stream:
        while more := stream.read(1 << 16):  # a closed terminal raises an error
            said += more
    assert process.wait() == 0
    assert re.search(rb"0/2 00:0[12] talks", said)
    # 1.5 s, which may be rounded up or down
    assert re.search(rb"talks  updated \([12] s\)   kl 0.07", said)


HOLD = """\
import time
from tools import command, repro
repro.LOCK.parent.mkdir()
with command.alone(repro.LOCK, repro.BUSY, sign=True):
    print("in", flush=True)
    time.sleep(60)
"""


def test_a_parallel_run_is_rejected_and_the_lock_ends_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / ".dvc").mkdir()
    words = [sys.executable, "-c", HOLD]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "in\n"
        own = f"process {holder.pid}; wait until it ends, or stop it with `kill {holder.pid}`"
        with pytest.raises(command.UserError, match=f"^another `make repro` is .*: {own}$"):
            repro.main("study/dvc.yaml")
        assert holder.poll() is None
        holder.kill()
    assert repro.LOCK.read_text() == str(holder.pid)
    with command.alone(repro.LOCK, repro.BUSY, sign=True):
        assert repro.LOCK.read_text() == str(os.getpid())


def test_no_stage_starts_after_a_signal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(repro, "STOPPED", threading.Event())
    with pytest.raises(KeyboardInterrupt):
        repro.end(signal.SIGTERM, None)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert repro.reproduce("dvc.yaml:train@nsf", 1) == repro.Ended("not run")


def test_a_signal_reaches_a_stage_that_is_just_starting(monkeypatch: pytest.MonkeyPatch):
    """The signal arrives while the stage is started, and its process group is not yet known."""
    monkeypatch.setattr(repro, "STOPPED", threading.Event())
    starting, popen = threading.Event(), subprocess.Popen

    def slow(words: list[str], **options: Any) -> subprocess.Popen[str]:
        process = popen([sys.executable, "-c", "import time; time.sleep(60)"], **options)
        starting.set()
        time.sleep(0.3)
        return process

    monkeypatch.setattr(subprocess, "Popen", slow)
    ended = list[repro.Ended]()
    thread = threading.Thread(target=lambda: ended.append(repro.reproduce("slow", 1)))
    thread.start()
    assert starting.wait(30)
    with pytest.raises(KeyboardInterrupt):
        repro.end(signal.SIGTERM, None)
    thread.join(30)
    assert [each.outcome for each in ended] == ["failed"]


# With DVC itself


# The command replaces its shell, because a shell may continue after an interrupt.
SLEEP = f'exec {sys.executable} -c \'import time; open("started", "w").close(); time.sleep(60)\''
STUDY = {
    "first": {"cmd": "echo one > one; echo first done", "deps": ["word"], "outs": ["one"]},
    "second": {"cmd": "cp one two", "deps": ["one"], "outs": ["two"]},
    "side": {
        "cmd": "cat word; test $(cat word) != bad && cp word three",
        "deps": ["word"],
        "outs": ["three"],
    },
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with the pipeline ``STUDY``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "study").mkdir()
    (tmp_path / "study/dvc.yaml").write_text(yaml.safe_dump({"stages": STUDY}), encoding="utf-8")
    command.git("init", "--quiet")
    command.output("dvc", "init")
    return tmp_path / "study"


@pytest.mark.slow
def test_outcomes_are_printed_with_only_the_output_of_the_stages(
    study: Path, capsys: pytest.CaptureFixture[str]
):
    def told(word: str, status: int = 0) -> dict[str, list[str]]:
        """Write ``word`` to the input file, run, and return the printed words of each stage."""
        (study / "word").write_text(f"{word}\n", encoding="utf-8")
        assert repro.main("study/dvc.yaml") == status
        parts = capsys.readouterr().out.split("study/dvc.yaml:")
        return {stage: said for stage, *said in map(str.split, parts[1:])}

    assert told("good") == {
        "first": ["updated", "first", "done"],
        "second": ["updated"],
        "side": ["updated", "good"],
    }
    assert told("good") == {stage: ["unchanged"] for stage in STUDY}
    side = told("bad", status=1)["side"]
    assert side[:5] == ["failed", "bad", "failed", "to", "reproduce"]
    assert told("good")["first"] == ["updated"]  # from the cache


@pytest.mark.slow
def test_errors_of_dvc_are_one_line(study: Path):
    (study / "dvc.yaml").write_text("stages: 3\n", encoding="utf-8")
    with pytest.raises(command.UserError, match=r"dvc\.yaml' validation failed; see `dvc status"):
        repro.main("study/dvc.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_also_ends_the_stages_and_prints_one_line(study: Path, number: signal.Signals):
    stages = {"sleeps": {"cmd": SLEEP}}
    (study / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    run = subprocess.Popen(
        [sys.executable, "-m", "tools.repro", "study/dvc.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # In the background of a shell, tests ignore interrupts, and with `nohup` also SIGHUP;
        # subprocesses would inherit this.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    while not (study / "started").exists():
        assert run.poll() is None
        time.sleep(0.01)
    with repro.LOCK.open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    run.send_signal(number)  # only to this process
    said = "repro: stopped; run the same command again to continue\n"
    assert run.communicate(timeout=90) == ("", said)
    assert run.returncode == 130
    assert running(run.pid) == []
    with command.alone(repro.LOCK, repro.BUSY, sign=True):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "is_to_all"), [(signal.SIGTERM, False), (signal.SIGINT, True)], ids=["make", "^C"]
)
def test_a_stop_of_make_ends_all_stages_and_starts_no_more(
    study: Path, number: signal.Signals, is_to_all: bool
):
    """A signal to make alone, as of `kill`, or to its process group, as of a terminal."""
    top = study.parent
    stages = {
        "sleeps": {"cmd": SLEEP, "outs": ["started"]},
        "next": {"cmd": "touch next", "deps": ["started"]},
    }
    (top / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    (top / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (top / "requirements.txt").touch()
    (top / ".venv/bin").mkdir(parents=True)
    python = top / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (top / ".venv/ready").touch()
    run = subprocess.Popen(
        ["make", "--file", ROOT / "Makefile", "repro"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (top / "started").exists():
        assert run.poll() is None
        time.sleep(0.01)
    os.killpg(run.pid, number) if is_to_all else run.send_signal(number)
    assert "repro: stopped; run the same command again" in run.communicate(timeout=90)[1]
    assert run.returncode != 0
    assert running(run.pid) == []
    assert not (top / "next").exists()


@pytest.mark.slow
def test_the_stages_of_a_run_that_was_killed_do_not_hold_its_lock(study: Path):
    stages = {"sleeps": {"cmd": SLEEP}}
    (study / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    thread = threading.Thread(target=repro.reproduce, args=("study/dvc.yaml:sleeps", 1))
    with command.alone(repro.LOCK, repro.BUSY, sign=True):
        thread.start()
        while not (study / "started").exists():
            time.sleep(0.01)
    with command.alone(repro.LOCK, repro.BUSY, sign=True):
        assert thread.is_alive()
    for group in repro.GROUPS:
        os.killpg(group, signal.SIGKILL)
    thread.join()
