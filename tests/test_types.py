"""The exports of ``flows``: the same names for type checkers and at run time, with types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typed_user
from pipeline import ROOT

import flows
from flows.core.version import VERSION


def test_every_name_of_the_library_is_imported_when_it_is_used():
    assert {"fit", "load", "train", "NSF"} <= {*flows.__all__} <= {*dir(flows)}
    assert all(getattr(flows, name).__name__ == name for name in flows.__all__)
    with pytest.raises(AttributeError, match="flows attribute lod"):
        flows.lod  # noqa: B018


def test_the_version_is_a_text_and_no_further_name_comes_with_it():
    assert flows.__version__ == VERSION
    assert not {"VERSION", "__version__"} & {*flows.__all__}


def test_the_code_of_a_user_runs_with_the_stated_types(tmp_path: Path):
    typed_user.page(tmp_path)


@pytest.mark.slow
def test_the_code_of_a_user_passes_mypy_strict(tmp_path: Path):
    words = ("--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={tmp_path}")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words, "tests/typed_user.py"],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
