"""The everyday work with DVC: the commands of docs/dvc-recipes.md in one sitting."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from pipeline import RESULTS, Clone, kill, text

# `make compare` is in test_compare.py, a table in test_pipeline.py.
LEFT_OUT = ("make compare", "dvc remote add --default store s3:", "dvc remote modify")
LEFT_OUT += ("cp ~/rows.csv", "dvc exp run -S data.target=table")
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"^```console\n(.*?)^```", text("docs/dvc-recipes.md"), re.M | re.S)
    for line in block.splitlines()
    if line.startswith("$ ") and not line[2:].startswith(LEFT_OUT)
]


@pytest.mark.slow
def test_every_command_of_the_page_works(finished: Clone, tmp_path: Path) -> None:
    clone, new, log = finished.copy(tmp_path), Clone(tmp_path / "new"), tmp_path / "log"
    clone.dvc("exp", "remove", "--all-commits")  # those of other tests
    for command in COMMANDS:
        command = command.replace("/srv/", f"{tmp_path}/")
        command = command.replace(
            "clone ... new && cd new", f"clone . {new.folder} && cd {new.folder}"
        )
        # Its output goes into a file: the workers of the queue keep it open, and through a pipe a
        # command would wait for them.
        process = clone.start("bash", "-c", command, output=log)
        status, deadline = process.wait(900), time.monotonic() + 900
        if "queue start" in command:
            # A worker that starts at the same moment as another may work and never end.
            while re.search("Queued|Running", clone.dvc("queue", "status")):
                assert time.monotonic() < deadline
                time.sleep(3)
            kill(process)
        assert (status != 0) == ("# CONFLICT" in command), f"{command}\n{log.read_text()}"
    assert clone.git("diff", "--name-only", "deeper") == ".dvc/config\n"
    for each in (clone, new):
        assert each.git("status", "--porcelain") == ""
    assert new.contents(*RESULTS) == clone.contents(*RESULTS)
