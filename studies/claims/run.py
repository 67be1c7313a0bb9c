"""``make claims``: the cells of the study side by side, then the analysis. What is up to date is not run again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tools import repro

HERE = Path("studies/claims")


def main() -> int:
    started = time.monotonic()
    all_cells = cells(yaml.safe_load((HERE / "params.yaml").read_text(encoding="utf-8")))
    print(f"claims: {len(all_cells)} cells, half an hour on two cores; each prints a line when it is done", flush=True)
    seconds = repro.side_by_side({cell: [] for cell in all_cells}, f"{HERE}/dvc.yaml")
    rest = subprocess.run(["dvc", "repro", f"{HERE}/dvc.yaml"], check=False)
    if rest.returncode == 0:
        print(f"\n{repro.report(seconds, time.monotonic() - started)}\n\nthe verdicts: {HERE}/claims.md")
    return rest.returncode


def cells(params: dict[str, Any]) -> list[str]:
    """All stages of ``dvc.yaml`` but the analysis, the long ones first so that both cores end together."""
    flows, depths = params["flows"], params["depth"]["couplings"]
    return [
        *(f"equal@{model}" for model in params["equal"]),
        "floor",
        *(f"control@{model}-{couplings}" for couplings in reversed(depths) for model in flows),
        *(f"ablation@{model}-{variant}" for variant in reversed(params["ablation"]["variants"]) for model in flows),
        *(f"curve@{model}-{rows}" for rows in reversed(params["curve"]["rows"]) for model in reversed(params["curve"]["models"])),
        *(f"depth@{model}-{couplings}" for couplings in reversed(depths) for model in flows),
    ]


if __name__ == "__main__":
    sys.exit(main())
