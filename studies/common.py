"""What the cells of a study share, in one small file: ``python -m studies.common studies/claims common`` from the top folder.

Code and numbers that every cell depends on would stand in the lock once a cell, a hundred lines each. So a stage ``common`` depends on
them, and writes what they are: a digest of each file or folder of code, and the numbers. The cells depend on what it wrote.
"""

from __future__ import annotations

import hashlib
import json
import sys
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from flows.core.atomic import replacing


def main(folder: str, stage: str) -> None:
    home = Path(folder)
    declared = read(home / "dvc.yaml")["stages"][stage]
    code = {dep: digest(home / dep) for dep in declared["deps"] if not (home / dep).samefile(__file__)}
    numbers: dict[str, Any] = {}
    for each in declared.get("params", []):
        for file, keys in (each if isinstance(each, dict) else {"params.yaml": [each]}).items():
            content = read(home / file)
            numbers |= {key: reduce(getitem, key.split("."), content) for key in keys}
    with replacing(home / f"{stage}.json") as file:
        file.write_text(json.dumps({"code": code, "numbers": numbers}, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def digest(place: Path) -> str:
    """Of a file, or of all source files of a folder with their names."""
    files = [path for path in [place, *sorted(place.rglob("*"))] if path.suffix in (".py", ".c", ".h")]
    whole = hashlib.md5(usedforsecurity=False)
    for path in files:
        whole.update(f"{path.relative_to(place)}\0".encode() + path.read_bytes())
    return whole.hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
