"""``make verify`` distinguishes its three cases, on a simulated pipeline."""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import further

from tools import command, verify

KL, SD, MEMBERS = 0.0743346, 0.0022, 10
TOLERANCE = 3 * math.sqrt(2 / MEMBERS) * SD
IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@example.org")

# Replaces tools/repro.py: writes the committed results, and then executes ``CHANGE``.
PIPELINE = """\
import json, os, pathlib
assert not os.path.exists("figures") and not os.path.exists("metrics")
os.system("git checkout --quiet figures metrics")
def edit(name, **values):
    path = pathlib.Path(f"metrics/{name}.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
exec(os.environ["CHANGE"])
"""


def commit(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    command.git("init", "--quiet", cwd=folder)
    command.git("add", "--all", cwd=folder)
    command.git(*IDENTITY, "commit", "--quiet", "--message", "All", cwd=folder)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with a model, a reference and a model without a density."""
    files = {
        ".gitignore": "__pycache__/\n",
        "tools/__init__.py": "",
        "tools/repro.py": PIPELINE,
        "figures/density.png": "a picture",
        "metrics/ranking.json": json.dumps({"glow": {"gain": 0.01}}),
    }
    for name, kl, sd in (("glow", KL, SD), ("gmm", KL, None), ("gan", None, None)):
        files[f"metrics/{name}.json"] = json.dumps({"kl": kl, "kl_sd": sd, "recall": 0.9})
        files[f"metrics/{name}/members.csv"] = "member\n" + "0\n" * (MEMBERS if sd else 1)
    commit(tmp_path, files)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify, "machines", lambda: {name: {} for name in "abc"})
    monkeypatch.setattr(verify, "unsigned", lambda clone: [])  # the repository has no pipeline
    return tmp_path


@pytest.mark.parametrize(
    ("change", "status", "last"),
    [
        ("", 0, "case 1: every tracked file is the same, byte for byte"),
        further("edit('gan', recall=0.8)", 0, "case 2: other bits"),
        (f"edit('glow', kl={KL + 0.99 * TOLERANCE})", 0, "case 2: other bits"),
        (f"edit('glow', kl={KL - 1.01 * TOLERANCE})", 1, "case 3: FAILED: kl of glow"),
        further(f"edit('gmm', kl={KL + 0.00099})", 0, "case 2: other bits"),
        (f"edit('gmm', kl={KL + 0.00101})", 1, "case 3: FAILED: kl of gmm"),
        ("edit('glow', kl=None)", 1, "case 3: FAILED: kl of glow"),
        further("edit('glow', kl=float('nan'))", 1, "case 3: FAILED: kl of glow"),
        further("edit('gan', kl=0.1)", 1, "case 3: FAILED: kl of gan"),
        ("edit('glow', extra=1)", 1, "case 3: FAILED: metrics/glow.json has other keys"),
        ("os.remove('metrics/glow.json')", 1, "case 3: FAILED: metrics/glow.json is missing"),
        further(
            "os.remove('figures/density.png')", 1, "case 3: FAILED: figures/density.png is missing"
        ),
        ("pathlib.Path('new').touch()", 1, "case 3: FAILED: new is new"),
        ("raise SystemExit(1)", 1, "case 3: FAILED: the pipeline does not run in a clean clone"),
    ],
)
def test_the_last_line_and_the_exit_status_give_the_case(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    change: str,
    status: int,
    last: str,
):
    monkeypatch.setenv("CHANGE", change)
    assert verify.main(["--machines", "1"]) == status
    assert capfd.readouterr().out.splitlines()[-1].startswith(f"verify: {last}")
    assert command.git("status", "--porcelain") == ""  # the run was in a clone


def test_changes_are_shown_and_fail_if_the_bytes_must_be_the_same(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    (repository / "figures/density.png").write_text("not committed", encoding="utf-8")
    monkeypatch.setenv("CHANGE", f"edit('glow', kl={KL + 0.001})")
    assert verify.main(["--same", "--machines", "1"]) == 1
    first, *said, last = capfd.readouterr().out.splitlines()
    assert first.endswith("only the last commit is verified")
    assert [line.split()[0] for line in said if " | " in line] == ["metrics/glow.json"]
    assert f"  kl of glow: {KL} -> {KL + 0.001}, tolerance 0.003" in said
    assert last == "verify: FAILED: the bytes must be the same"


def test_only_the_first_machines_are_simulated(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("CHANGE", "")
    assert verify.main(["--machines", "2"]) == 0
    said = capfd.readouterr().out.splitlines()
    assert [line for line in said if " as " in line] == ["verify: as a", "verify: as b"]


def test_sigterm_ends_the_run(repository: Path, monkeypatch: pytest.MonkeyPatch):
    stop = "signal.signal(15, lambda *_: sys.exit(130)); os.kill(os.getppid(), 15)"
    monkeypatch.setenv("CHANGE", f"import signal, sys, time; {stop}; time.sleep(60)")
    with pytest.raises(KeyboardInterrupt):
        verify.main(["--machines", "1"])


@pytest.mark.slow
def test_code_and_parameters_other_than_those_of_the_lock_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    files = {
        ".dvc/config": "",
        "code/one.py": "1",
        "params.yaml": "epochs: 1\n",
        "dvc.yaml": """\
            stages:
              a: {cmd: echo > out, deps: [code], params: [epochs], outs: [{out: {cache: false}}]}
              b: {cmd: echo > last, deps: [out], outs: [last]}
        """,
    }
    commit(tmp_path, files)
    command.output("dvc", "repro", cwd=tmp_path)
    (tmp_path / "last").unlink()
    assert verify.unsigned(tmp_path) == []

    (tmp_path / "code/one.py").write_text("2", encoding="utf-8")
    assert verify.unsigned(tmp_path) == ["code"]
    (tmp_path / "params.yaml").write_text("epochs: 2\n", encoding="utf-8")
    assert verify.unsigned(tmp_path) == ["code", "params.yaml"]
    command.git("add", "--all", cwd=tmp_path)
    command.git(*IDENTITY, "commit", "--quiet", "--message", "Other code", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    assert verify.main(["--machines", "1"]) == 1
    last = capfd.readouterr().out.splitlines()[-1]
    assert last.startswith("verify: case 3: FAILED")
    assert "holds the hash of another code, params.yaml; run" in last


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="no other machine is stood in for")
def test_each_machine_uses_its_openblas_kernels(monkeypatch: pytest.MonkeyPatch):
    # A setting of the caller, which must not change the machines.
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Sandybridge")
    monkeypatch.setenv("OPENBLAS_VERBOSE", "0")
    cores = []
    for variables in verify.machines().values():
        done = subprocess.run(
            [sys.executable, "-c", "import numpy, scipy.linalg"],
            env={**verify.environment(variables), "OPENBLAS_VERBOSE": "2"},
            check=True,
            capture_output=True,
            text=True,
        )
        cores.append(set(re.findall(r"^Core: (\w+)", done.stdout + done.stderr, flags=re.M)))
    assert cores[1:] == [{"Haswell"}, {"Nehalem"}]
    assert "Sandybridge" not in cores[0]
