"""Reproduce one stage, like `dvc repro --single-item`: ``python -m tools.stage dvc.yaml:rank``.

The output of the stage, and warnings and errors of DVC, are printed, but not DVC's progress.
"""

from __future__ import annotations

import logging
import sys

UNCHANGED = 10  # the exit status if the stage is up to date


def main(name: str) -> int:
    from dvc.exceptions import DvcException  # imported here because the import is slow
    from dvc.repo import Repo

    logging.disable(logging.INFO)
    try:
        with Repo(_wait_for_lock=True) as repo:  # parallel stages may hold the lock
            return 0 if repo.reproduce(name, single_item=True) else UNCHANGED
    except DvcException as error:
        print(f"{error}: {error.__cause__}" if error.__cause__ else error)
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
