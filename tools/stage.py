"""Reproduce one stage, like `dvc repro --single-item`: ``python -m tools.stage dvc.yaml:rank``.

The stage's own output and DVC's warnings and errors are printed, but not DVC's progress. The exit
status is the outcome.
"""

from __future__ import annotations

import logging
import sys

from dvc.exceptions import DvcException
from dvc.repo import Repo

from tools.command import CACHED, FAILED, RAN, UNCHANGED


def main(name: str) -> int:
    logging.disable(logging.INFO)
    started = []  # the commands that DVC starts
    sys.addaudithook(
        lambda event, _: started.append(event) if event == "subprocess.Popen" else None
    )
    try:
        with Repo(_wait_for_lock=True) as repo:  # parallel stages may hold the lock
            changed = repo.reproduce(name, single_item=True)
    except DvcException as error:
        print(f"{error}: {error.__cause__}" if error.__cause__ else error)
        return FAILED
    if not changed:
        return UNCHANGED
    return RAN if started else CACHED  # DVC starts no process to fetch outputs from its cache


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
