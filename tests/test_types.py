"""The exports of ``flows``: the same names for type checkers and at run time, with types."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typed_user
from pipeline import ROOT, text

import flows


def test_type_checkers_see_the_names_that_exist_at_run_time():
    """The block for type checkers and the table of lazy imports in ``flows/__init__.py`` agree."""
    blocks = [
        node for node in ast.parse(text("flows/__init__.py")).body if isinstance(node, ast.If)
    ]
    (block,) = (node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {
        (name.name, name.asname): node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert seen == {(name, name): module for name, module in flows._MODULES.items()}
    assert set(flows.__all__) == flows._MODULES.keys() <= {*dir(flows)}
    assert all(getattr(flows, name).__name__ == name for name in flows.__all__)
    with pytest.raises(AttributeError, match=r"'lod'; it has: Architecture, .*, train$"):
        flows.lod  # noqa: B018


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
