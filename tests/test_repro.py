"""``make repro``: every stage once, as soon as what it needs is there; a line a stage; one run at a time."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tools import command, repro

ROOT = Path(__file__).resolve().parents[1]

# A `dvc` that has no repository. Its stages do what their names say.
FAKE = """#!{python}
import json, os, sys, time
words = sys.argv[1:]
if words[0] == "dag":
    sys.stdout.write(os.environ["GRAPH"])
elif words[0] == "status":
    sys.stdout.write(os.environ["STATUS"])
else:
    stage = words[-1].removeprefix("dvc.yaml:")
    with open("log", "a") as log:
        log.write(f"start {{stage}} {{os.environ['OMP_NUM_THREADS']}}\\n")
    print(f"Running stage '{{stage}}':\\n> python {{stage}}.py")
    time.sleep(60 if "sleeps" in stage else 0.2)
    print("first words\\nkl 0.07" if "talks" in stage else "", flush=True)
    with open("log", "a") as log:
        log.write(f"end {{stage}}\\n")
    if "broken" in stage:
        sys.stderr.write(f"broken: no such luck\\nERROR: failed to reproduce '{{stage}}'\\n")
        sys.exit(255)
    print("Updating lock file 'dvc.lock'\\n\\nTo track the changes with git, run:\\n\\n\\tgit add dvc.lock\\n\\nUse `dvc push` to send your updates.")
"""

Log = Callable[[], list[list[str]]]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """In an empty folder, on a machine with two cores, with the `dvc` of ``FAKE``. Gives what that wrote down."""
    fake = tmp_path / "bin" / "dvc"
    fake.parent.mkdir()
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o755)
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    return lambda: (
        [line.split() for line in (tmp_path / "log").read_text().splitlines()]
        if (tmp_path / "log").exists()
        else []
    )


def pipeline(
    monkeypatch: pytest.MonkeyPatch, needs: dict[str, list[str]], changed: list[str]
) -> None:
    """What `dvc dag` and `dvc status` say, and ``study/dvc.yaml`` on the command line."""
    nodes = [f'"{stage}";' for stage in needs] + [
        f'"{need}" -> "{stage}";' for stage, its in needs.items() for need in its
    ]
    monkeypatch.setenv("GRAPH", "\n".join(["strict digraph {", *nodes, "}"]))
    monkeypatch.setenv(
        "STATUS", json.dumps({stage: [{"changed outs": {"x": "deleted"}}] for stage in changed})
    )
    monkeypatch.setattr(sys, "argv", ["repro", "study/dvc.yaml"])


def started(log: Log) -> list[str]:
    return [line[1] for line in log() if line[0] == "start"]


def test_two_at_once_each_with_its_share_and_after_what_it_needs(log: Log):
    needs = {"a": [], "b": [], "c": ["a"], "d": ["c"]}
    assert repro.side_by_side(needs, set(needs), repro.Screen(5))
    lines = log()
    order = [f"{what} {stage}" for what, stage, *_ in lines]
    assert sorted(order) == sorted(
        f"{what} {stage}" for what in ("start", "end") for stage in needs
    )
    assert order.index("end a") < order.index("start c")
    assert max(order.index("start a"), order.index("start b")) < min(
        order.index("end a"), order.index("end b")
    )
    assert [share for _, stage, *share in lines if stage in "ab" and share] == [["1"], ["1"]]
    assert lines[-2:] == [["start", "d", "2"], ["end", "d"]]  # alone, so it has both cores


def test_what_did_not_change_is_not_started_unless_it_needs_what_was(
    log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pipeline(monkeypatch, {"a": [], "b": ["a"], "c": ["b"], "other": ["a"]}, changed=["b"])
    assert repro.main() == 0
    assert started(log) == ["b", "c"]
    assert capsys.readouterr().out.splitlines() == [
        "a      unchanged",
        "other  unchanged",
        "b      ran",
        "c      ran",
    ]


def test_a_line_a_stage_with_its_result_and_no_advice(
    log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pipeline(monkeypatch, {"talks": [], "quiet": ["talks"]}, changed=["talks"])
    assert repro.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        "talks  ran             kl 0.07",
        "  first words",
        "quiet  ran",
    ]


def test_of_a_stage_that_fails_all_is_shown_and_what_does_not_need_it_still_runs(
    log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pipeline(
        monkeypatch,
        {"broken": [], "needs-it": ["broken"], "last": ["needs-it"], "other": []},
        changed=["broken", "other"],
    )
    assert repro.main() == 1
    assert sorted(started(log)) == ["broken", "other"]
    said = capsys.readouterr().out
    assert (
        "broken    failed\n  broken: no such luck\n  ERROR: failed to reproduce 'broken'\n" in said
    )
    assert "needs-it  not run\nlast      not run\n" in said
    assert "other     ran\n" in said


def test_what_dvc_refuses_is_said_and_nothing_is_started(log: Log, tmp_path: Path):
    (tmp_path / "bin/dvc").write_text("#!/bin/sh\necho 'ERROR: dvc.lock is invalid' >&2; exit 1\n")
    with pytest.raises(command.UserError, match=r"^ERROR: dvc\.lock is invalid$"):
        repro.look("dvc.yaml")


def on_a_terminal(words: list[str], width: int = 80) -> str:
    output, end = pty.openpty()
    termios.tcsetwinsize(end, (24, width))
    process = subprocess.Popen(words, stdout=end, stderr=end)
    os.close(end)
    said = b""
    with (
        suppress(OSError),
        os.fdopen(output, "rb", buffering=0) as stream,
    ):  # the end of a terminal is an error
        while more := stream.read(1 << 16):
            said += more
    assert process.wait() == 0
    return said.decode().replace("\r\n", "\n")


def test_progress_is_on_a_terminal_alone(log: Log, monkeypatch: pytest.MonkeyPatch):
    pipeline(monkeypatch, {"talks": [], "b": ["talks"]}, changed=["talks"])
    words = [sys.executable, "-m", "tools.repro", "study/dvc.yaml"]
    said = on_a_terminal(words, 40)
    assert re.search(r"^talks  \d s\n\x1b\[1A\x1b\[Jtalks  ran", said, flags=re.M)
    lines = [line.split("\x1b[J")[-1] for line in said.splitlines()]
    assert [re.sub(r"\d s", "1 s", line) for line in lines if "kl" in line] == [
        "talks  ran (1 s)               kl 0.07"
    ]
    assert max(map(len, lines)) < 40
    quiet = subprocess.run(words, capture_output=True, text=True, check=True)
    assert quiet.stdout.splitlines() == [
        "talks  ran             kl 0.07",
        "  first words",
        "b      ran",
    ]
    assert quiet.stderr == ""


def test_what_a_stage_said_is_found_between_dvcs_own_words():
    plain = "Running stage 'train@glow':\n> python -m stages.train glow\nglow: a word\nUpdating lock file 'dvc.lock'\n"
    assert repro.told(plain) == ("ran", ["glow: a word"])
    assert repro.told(
        "Stage 'plot' didn't change, skipping\nData and pipelines are up to date.\n"
    ) == ("unchanged", [])
    assert repro.told("Stage 'train@glow' is cached - skipping run, checking out outputs\n") == (
        "from the cache",
        [],
    )


HOLD = "import time; from tools import repro\nwith repro.alone(): print('in', flush=True); time.sleep(60)"


def test_a_second_run_is_one_line_and_the_lock_is_gone_with_its_holder(
    log: Log, monkeypatch: pytest.MonkeyPatch
):
    pipeline(monkeypatch, {"a": []}, changed=["a"])
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    try:
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(SystemExit) as caught:
            command.run("repro", repro.main)
        assert (
            caught.value.code
            == "repro: another one is at work in this checkout; wait for it to end"
        )
        assert holder.poll() is None
        assert started(log) == []
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert repro.main() == 0
    assert started(log) == ["a"]


def test_an_interrupt_from_the_keyboard_ends_the_stages_too_and_is_one_line(
    log: Log, monkeypatch: pytest.MonkeyPatch
):
    pipeline(monkeypatch, {"sleeps": []}, changed=["sleeps"])
    words = [sys.executable, "-m", "tools.repro", "study/dvc.yaml"]
    # Where the tests run in the background of a shell, they ignore interrupts, and so would all that they start.
    listen = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    run = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listen,
    )
    while not log():
        assert run.poll() is None
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGINT)
    assert run.communicate(timeout=30) == (
        "",
        "repro: stopped; start it again and it goes on where it was\n",
    )
    assert run.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)


def test_the_stages_of_a_run_do_not_hold_its_lock(log: Log, tmp_path: Path):
    """Or a run that was killed would lock out the next until its orphans have ended."""
    with ThreadPoolExecutor(1) as threads:
        with repro.alone():
            running = threads.submit(repro.reproduce, "a", 1)
            while not log():
                time.sleep(0.01)
        with (tmp_path / repro.LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert running.running()


PIPELINE = {
    "stages": {
        "first": {
            "cmd": "echo one > one.txt; echo first done",
            "deps": ["word.txt"],
            "outs": ["one.txt"],
        },
        "second": {"cmd": "cp one.txt two.txt", "deps": ["one.txt"], "outs": ["two.txt"]},
        "side": {
            "cmd": "echo $(cat word.txt); test $(cat word.txt) != bad && cp word.txt three.txt",
            "deps": ["word.txt"],
            "outs": ["three.txt"],
        },
    }
}


@pytest.mark.slow
def test_with_dvc_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", command.environment()["PATH"])
    monkeypatch.setattr(sys, "argv", ["repro", "study/dvc.yaml"])
    (tmp_path / "study").mkdir()
    (tmp_path / "study/dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    command.git("init", "--quiet")
    subprocess.run(["dvc", "init", "--quiet"], check=True)

    def words(word: str, status: int = 0) -> dict[str, list[str]]:
        """What is said of each stage."""
        (tmp_path / "study/word.txt").write_text(word)
        assert repro.main() == status
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        return {stage.removeprefix("study/dvc.yaml:"): said for stage, *said in lines}

    assert words("good") == {
        "first": ["ran", "first", "done"],
        "second": ["ran"],
        "side": ["ran", "good"],
    }
    assert words("good") == {stage: ["unchanged"] for stage in PIPELINE["stages"]}
    assert words("bad", status=1)["side"] == ["failed"]
    assert words("good")["first"] == ["from", "the", "cache"]
