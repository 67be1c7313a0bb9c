"""The table of results in Markdown: ``python -m tools.table``. ``--readme`` puts it, the studies' and the benchmarks' into the documents."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.draw import number
from stages.shared import files, markdown, settings
from tools import command
from tools.names import label

MARK = "<!-- {}: made by `python -m tools.table --readme` -->"
END = "<!-- end -->"
DOCUMENTS = [Path("README.md"), *sorted(Path("docs").glob("*.md")), Path("benchmarks/README.md")]
BENCHMARKS = Path("benchmarks/results.json")
TARGETS = {"ring": "ring", "grid": "grid of 25", "custom": "five unequal, correlated"}
NONE = "\u2013"
SAMPLE_METRICS = ("modes", "precision", "recall", "c2st_auc")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--readme", action="store_true", help="write all tables into the documents")
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
    """A line for every reference and model; numbers as mean, with the standard deviation over members (or the truth's draws)."""
    params = settings.load()
    ranking = files.read_json(files.RANKING) if params.data.target == settings.TABLE else {}
    over = next((each["gain_over"] for each in ranking.values()), None)  # the best floor of a table; else what counts is the truth
    rows = []
    for name in [*settings.References.model_fields, *params.models]:
        headline, members = files.read_json(files.headline(name)), files.read_table(files.members(name))
        cells = [f"**{label(name)}**", _number(headline["test_nll"], headline["test_nll_ci95"], 2)]
        gain = ranking.get(name, {})
        kl = [_number(headline["kl"], headline["kl_sd"], 3), _number(headline["kl_ensemble"], None, 3)]
        cells += [_number(gain.get("gain"), gain.get("gain_ci95"), 2)] if over else kl
        sds = members.std() if len(members) > 1 else dict.fromkeys(members)
        rows.append(cells + [_number(headline[key], sds[key], 1 if key == "modes" else 2) for key in SAMPLE_METRICS[over is not None :]])
    divergence = [f"gain of the ensemble on {label(over)} (nat)"] if over else ["KL (nat)", "KL of the ensemble", "modes"]
    head = ["", "test NLL (nat)", *divergence, "precision", "recall", "classifier AUC"]
    return markdown.table(head, rows, "lr")


def study() -> str:
    """A line for every list of ``studies/tuning`` that is only reported: what the default recipe gives on other data."""
    from studies.tuning import tables  # here: `make repro` needs none of it
    from studies.tuning.settings import changed

    now = settings.read_yaml(settings.PARAMS)
    by_case: dict[str, list[list[str]]] = {}  # of a case, the models one below the other
    for content, results in tables.read_lists().values():
        for case, changes in content.cases.items() if content.only_reported else ():
            model, result, params = content.model, results.loc[case], changed(now, changes)
            flow = params["models"][model]
            data = f"{TARGETS[params['data']['target']]}, {tables.seeds_text(content)}"
            numbers = [f"{result[key]:.3f}" for key in ("kl", "kl_ensemble", "kl_kde")]
            by_case.setdefault(case, []).append([label(model), f"{flow['couplings']} {flow.get('transform', 'spline')}", data, *numbers])
    head = ["flow", "couplings", "data", "KL (nat)", "KL of the ensemble", "kernel density"]
    return markdown.table(head, [row for rows in by_case.values() for row in rows], "lllr")


def tuning() -> str:
    """The head of the table of the search in ``studies/tuning``: the settings as they are, and the best three."""
    made = Path("studies/tuning/results/searches/realnvp.md").read_text(encoding="utf-8").splitlines()
    return "\n".join([line for line in made if line.startswith("|")][:6])


def speed() -> str:
    """A line for every library of ``benchmarks/``: time of an epoch of ten networks and of one, and time to quality with two recipes."""
    results = json.loads(BENCHMARKS.read_text(encoding="utf-8"))
    rows = []
    for library in dict.fromkeys(row["library"] for row in results["quality"]):
        # Everyone with as many threads as suit it best.
        timed = [row for row in results["epoch"] if (row["library"], row["hidden"], row["batch"]) == (library, 64, 128)]
        fastest = (min((row["ms"] for row in timed if row["networks"] == networks), default=None) for networks in (10, 1))
        reached = {row["recipe"]: row["seconds"] for row in results["quality"] if row["library"] == library}
        until = (NONE if recipe not in reached else "never" if reached[recipe] is None else number(reached[recipe]) for recipe in ("ours", "usual"))
        rows.append([library, *(NONE if ms is None else f"{ms:.1f}" for ms in fastest), *until])
    head = ["", "ten networks (ms per epoch)", "one network (ms per epoch)"]
    return markdown.table([*head, f"seconds to KL {results['settings']['quality_kl']}, our recipe", "its usual recipe"], rows, "lr")


def stages() -> str:
    """Where the pipeline's seconds go, and what a busy neighbour costs: a line a stage."""
    timed = json.loads(BENCHMARKS.with_name("stages.json").read_text(encoding="utf-8"))
    del timed["cores"]
    rows = [[f"`{stage}`", f"{took['alone']:.1f}", f"{took['beside']:.1f}", f"{took['ratio']:.2f}"] for stage, took in timed.items()]
    return markdown.table(["stage", "alone (s)", "beside a neighbour (s)", "ratio"], rows, "lr")


def claims(heading: str) -> str:
    """A section of what ``studies/claims`` found, without its picture."""
    made = Path("studies/claims/claims.md").read_text(encoding="utf-8")
    section = made.partition(f"\n## {heading}")[2].partition("\n\n")[2].partition("\n## ")[0]
    return "\n".join(line for line in section.splitlines() if not line.startswith("![")).strip()


def study_tables(name: str) -> str:
    """What a study found."""
    return Path("studies", name, "tables.md").read_text(encoding="utf-8").strip()


def seconds() -> str:
    """How long a fit took there: no two runs take the same, so its own tables don't have it."""
    from studies.tables import analyse  # here: `make repro` needs none of it

    return analyse.seconds()


def recipe() -> str:
    """What each part of the found recipe is worth: a line a variant, a column a table."""
    from studies.tuning.found import TABLES  # here: `make repro` needs none of it

    held_out = [pd.read_csv(f"studies/tuning/results/found/{name}.csv", index_col="variant")["held_out"] for name in TABLES]
    rows = [[str(variant), *(f"{value:.2f}".replace("-", "\u2212") for value in row)] for variant, *row in pd.concat(held_out, axis=1).itertuples()]
    return markdown.table(["", *TABLES], rows, "lr")


def tails() -> str:
    """A line a model: how far the worst member is from the truth, over random mixtures."""
    rows = []
    for name in ("realnvp", "glow", "nsf", "found"):
        each = pd.read_csv(f"studies/tuning/results/tails/{name}.csv")
        title = f"{label('nsf')}, found recipe" if name == "found" else label(name)
        dims = " to ".join(map(str, sorted({each["dim"].min(), each["dim"].max()})))
        rows.append([title, f"{len(each)} in {dims} dimensions", f"{each['kl'].mean():.2f}", f"{each['kl_worst'].max():.2f}"])
    return markdown.table(["", "mixtures", "KL, mean (nat)", "of the worst member"], rows, "lr")


SECTIONS: dict[str, Callable[[], str]] = {
    "results": table,
    "study": study,
    "tuning": tuning,
    "speed": speed,
    "stages": stages,
    "claims": partial(claims, "Verdicts"),
    "control": partial(claims, "Depth"),
    "baselines": partial(claims, "Models of equal size"),
    "tables": partial(study_tables, "tables"),
    "digits": partial(study_tables, "digits"),
    "seconds": seconds,
    "recipe": recipe,
    "tails": tails,
}


def _number(value: float | None, spread: float | None, digits: int) -> str:
    if value is None:
        return NONE
    if value == 0 and not spread:
        return "0"
    return f"{value:.{digits}f}" + ("" if spread is None else f" \u00b1 {spread:.{digits}f}")


if __name__ == "__main__":
    command.run("table", main)
