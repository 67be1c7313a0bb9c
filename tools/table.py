"""The table of results in Markdown: ``python -m tools.table``. ``--readme`` puts it into README.md, between its two marks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from flows.plotting import LABELS
from stages import files, settings

START, END = "<!-- results: made by `python -m tools.table --readme` -->", "<!-- end of results -->"
SAMPLE_METRICS = ("modes", "precision", "recall", "c2st_auc")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--readme", action="store_true", help="write the table into README.md")
    text = table()
    if not arguments.parse_args().readme:
        print(text)
        return
    readme = Path("README.md")
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    files.write_bytes(readme, f"{before}{START}\n{text}\n{END}{after}".encode())


def table() -> str:
    """A line for every reference and model; numbers as mean, with the standard deviation over members (or the truth's draws)."""
    params = settings.load()
    heads = ["", "test NLL (nat)", "KL (nat)", "KL of the ensemble", "modes", "precision", "recall", "classifier AUC"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "|".join(["---"] + ["---:"] * (len(heads) - 1)) + "|"]
    for name in [*settings.References.model_fields, *params.models]:
        headline, members = files.read_headline(name), files.read_table(files.members(name))
        cells = [
            f"**{LABELS.get(name, name)}**",
            _number(headline["test_nll"], headline["test_nll_ci95"], 2),
            _number(headline["kl"], headline["kl_sd"], 3),
        ]
        cells.append(_number(headline["kl_ensemble"], None, 3))
        cells += [_number(headline[key], _spread(members[key]), 1 if key == "modes" else 2) for key in SAMPLE_METRICS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(column: pd.Series) -> float | None:
    return float(np.std(column, ddof=1)) if len(column) > 1 else None


def _number(value: float | None, spread: float | None, digits: int) -> str:
    if value is None:
        return "\u2013"
    if value == 0 and not spread:
        return "0"
    return f"{value:.{digits}f}" + ("" if spread is None else f" \u00b1 {spread:.{digits}f}")


if __name__ == "__main__":
    try:
        main()
    except settings.UserError as error:
        sys.exit(f"table: {error}")
