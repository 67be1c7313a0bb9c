"""The program: one-line errors, pipes, and missing extras."""

from __future__ import annotations

import subprocess
import sys

import pytest
from frames import PRICES, prices
from helpers import SHORT

import flows
from flows.__main__ import main


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the file of a density."""
    path = tmp_path_factory.mktemp("models") / "m.flow"
    flows.fit(prices(), members=3, columns=PRICES, settings=SHORT).save(path)
    return path


def test_errors_are_one_line_with_exit_status_1(model):
    words = [sys.executable, "-m", "flows", "sample", model, "-o", model]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"flows: {model}: is read by this command and ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_closed_pipe_is_not_an_error_and_pipes_get_no_progress_bar(model):
    command = f"{sys.executable} -m flows sample {model} -n 5000 | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("age,bmi,share,price\n", "")


@pytest.mark.parametrize(("package", "is_said"), [("pyarrow.parquet", True), ("flows.x", False)])
def test_only_a_missing_extra_is_named_with_its_installation(monkeypatch, package, is_said):
    def fail(command, **settings):
        raise ImportError("broken", name=package)

    monkeypatch.setattr("flows.tables.command_line.overview.inspect", fail)
    expected = pytest.raises(SystemExit, match=r"this needs pyarrow\.parquet: pip install")
    with expected if is_said else pytest.raises(ImportError, match="broken"):
        main(["inspect", "t.csv"])
