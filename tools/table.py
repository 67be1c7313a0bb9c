"""The table of results in Markdown: ``python -m tools.table``.

``--readme`` puts it, the studies' and the benchmarks' into the documents.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.draw import number
from stages.pipeline import files, settings
from tools import command, markdown
from tools.names import label

MARK = "<!-- {}: made by `python -m tools.table --readme` -->"
END = "<!-- end -->"
DOCUMENTS = [
    Path("README.md"),
    Path("benchmarks/README.md"),
    *sorted(Path("docs").glob("*.md")),
    *sorted(Path("studies").glob("*/README.md")),
]
BENCHMARKS = Path("benchmarks/results.json")
NONE = "\u2013"
SAMPLE_METRICS = ("modes", "precision", "recall", "c2st_auc")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--readme", action="store_true", help="write all tables into the documents"
    )
    if not arguments.parse_args().readme:
        print(table())
        return
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for name, make in SECTIONS.items():
            before, mark, rest = text.partition(MARK.format(name))
            if mark:
                text = f"{before}{mark}\n{make()}\n{END}{rest.partition(END)[2]}"
        files.write_bytes(path, text.encode())


def table() -> str:
    """A line for every reference and model.

    Numbers as mean, with the standard deviation over members (or the truth's draws).
    """
    params = settings.load()
    ranking = files.read_json(files.RANKING) if params.data.target == settings.TABLE else {}
    over = next(
        (each["gain_over"] for each in ranking.values()), None
    )  # the best floor of a table; else what counts is the truth
    rows = []
    for name in [*settings.References.model_fields, *params.models]:
        headline, members = (
            files.read_json(files.headline(name)),
            files.read_table(files.members(name)),
        )
        cells = [f"**{label(name)}**", _number(headline["test_nll"], headline["test_nll_ci95"], 2)]
        gain = ranking.get(name, {})
        kl = [
            _number(headline["kl"], headline["kl_sd"], 3),
            _number(headline["kl_ensemble"], None, 3),
        ]
        cells += [_number(gain.get("gain"), gain.get("gain_ci95"), 2)] if over else kl
        sds = members.std() if len(members) > 1 else dict.fromkeys(members)
        rows.append(
            cells
            + [
                _number(headline[key], sds[key], 1 if key == "modes" else 2)
                for key in SAMPLE_METRICS[over is not None :]
            ]
        )
    divergence = (
        [f"gain of the ensemble on {label(over)} (nat)"]
        if over
        else ["KL (nat)", "KL of the ensemble", "modes"]
    )
    head = ["", "test NLL (nat)", *divergence, "precision", "recall", "classifier AUC"]
    return markdown.table(head, rows, "lr")


def speed() -> str:
    """A line for every library of ``benchmarks/``.

    Time of an epoch of ten networks and of one, and time to quality with two recipes.
    """
    results = json.loads(BENCHMARKS.read_text(encoding="utf-8"))
    rows = []
    for library in dict.fromkeys(row["library"] for row in results["quality"]):
        # Everyone with as many threads as suit it best.
        timed = [
            row
            for row in results["epoch"]
            if (row["library"], row["hidden"], row["batch"]) == (library, 64, 128)
        ]
        fastest = (
            min((row["ms"] for row in timed if row["networks"] == networks), default=None)
            for networks in (10, 1)
        )
        reached = {
            row["recipe"]: row["seconds"] for row in results["quality"] if row["library"] == library
        }
        until = (
            NONE
            if recipe not in reached
            else "never"
            if reached[recipe] is None
            else number(reached[recipe])
            for recipe in ("ours", "usual")
        )
        rows.append([library, *(NONE if ms is None else f"{ms:.1f}" for ms in fastest), *until])
    head = ["", "ten networks (ms per epoch)", "one network (ms per epoch)"]
    return markdown.table(
        [
            *head,
            f"seconds to KL {results['settings']['quality_kl']}, our recipe",
            "its usual recipe",
        ],
        rows,
        "lr",
    )


def claims(heading: str) -> str:
    """A section of what ``studies/claims`` found, without its picture."""
    made = Path("studies/claims/claims.md").read_text(encoding="utf-8")
    section = made.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    return "\n".join(line for line in section.splitlines() if not line.startswith("![")).strip()


def study_tables(name: str) -> str:
    """What a study found."""
    return Path("studies", name, "tables.md").read_text(encoding="utf-8").strip()


def seconds() -> str:
    """How long a fit of the study of tables took.

    No two runs take the same, so its own tables don't have it.
    """
    from studies.engine import Study  # here: `make repro` needs none of it
    from studies.tables import report

    return report.seconds(Study("tables"))


SECTIONS: dict[str, Callable[[], str]] = {
    "results": table,
    "speed": speed,
    "claims": partial(claims, "Verdicts"),
    "control": partial(claims, "Depth"),
    "baselines": partial(claims, "Models of equal size, at the pipeline's settings"),
    "other data": partial(claims, "The same recipe on other data"),
    "mixtures": partial(claims, "Random mixtures"),
    "tables": partial(study_tables, "tables"),
    "digits": partial(study_tables, "digits"),
    "seconds": seconds,
}


def _number(value: float | None, spread: float | None, digits: int) -> str:
    if value is None:
        return NONE
    if value == 0 and not spread:
        return "0"
    return f"{value:.{digits}f}" + ("" if spread is None else f" \u00b1 {spread:.{digits}f}")


if __name__ == "__main__":
    command.run("table", main)
