"""The report on intervals of few rows: ``results.md``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flows.core.arrays import Array
from flows.tables.questions.few_rows import FACTOR, LEVEL
from studies.engine import SMALL, Study
from studies.few_rows.cells import KINDS
from studies.markdown import frame, number

LOW = 0.88  # cover below which a kind of question is named


def report(study: Study) -> None:
    """Write the tables."""
    found, without = read(study)
    chosen, test = (found[found["half"] == half] for half in ("choose", "test"))
    study.write(
        "results.md",
        study.template().format(
            level=f"{LEVEL:.0%}",
            factor=f"{FACTOR:g}",
            least=f"{LOW:.0%}",
            without=without,
            answers=f"{len(found) + without:,}",
            factors=factors(chosen, study.params["factors"]),
            sizes=sizes(test),
            kinds=kinds(test),
            low=named(test),
        ),
    )


def read(study: Study) -> tuple[pd.DataFrame, int]:
    """Return the answers with intervals, and the number of answers without one.

    There is a row for each question: ``half``, ``rows``, the ``kind`` in words, the ``table``, and
    ``error``, ``of_rows`` and ``of_draws`` (``cells.py``).
    """
    parts = []
    for name, settings in study.cells.items():
        _, half, *_ = name.split("/")
        if half != SMALL:
            about = {"rows": settings["rows"], "of": settings["kind"], "table": name}
            parts.append(study.table(name).assign(half=half, **about))
    found = pd.concat(parts, ignore_index=True)
    words = found["kind"].astype(int).map(dict(enumerate(KINDS)))
    found["kind"] = words.where(found["of"] != "target", words + ", target fit")
    # An estimate of exactly 0 or 1 misses the truth
    is_miss = np.isinf(found["error"])
    found.loc[is_miss, ["of_rows", "of_draws"]] = 0.0
    has_interval = found["of_rows"].notna()
    return found[has_interval], int((~has_interval).sum())


def widths(found: pd.DataFrame, factor: float) -> Array:
    """Return half of the widths of the intervals at a factor, ``(n,)``."""
    return np.hypot(factor * found["of_rows"], found["of_draws"]).to_numpy()


def cover(found: pd.DataFrame, factor: float) -> float:
    """Return the share of intervals that hold the truth."""
    return float((found["error"].abs().to_numpy() <= widths(found, factor)).mean())


def exact(found: pd.DataFrame) -> float:
    """Return the smallest factor at which a share of ``LEVEL`` of the intervals holds the truth."""
    beyond = np.square(found["error"]) - np.square(found["of_draws"])
    needed = np.sqrt(beyond.clip(lower=0)) / found["of_rows"].where(found["of_rows"] > 0)
    needed = needed.where(found["of_rows"] > 0, np.where(beyond > 0, np.inf, 0.0))
    return float(np.quantile(needed, LEVEL, method="higher"))


def factors(chosen: pd.DataFrame, values: list[float]) -> str:
    """Return the cover at each factor on the half that chooses, by the number of rows."""
    parts = {f"{rows:,} rows": own for rows, own in chosen.groupby("rows")} | {"all": chosen}
    cells = {name: [f"{cover(own, value):.1%}" for value in values] for name, own in parts.items()}
    return frame(pd.DataFrame(cells, index=[f"{value:g}" for value in values]), "factor")


def sizes(test: pd.DataFrame) -> str:
    """Return the cover on the other half by the number of rows, and the width."""
    lines = {}
    for rows, own in test.groupby("rows"):
        factor = exact(own)
        ratio = np.median(widths(own, FACTOR)) / np.median(widths(own, factor))
        tables, questions = f"{own['table'].nunique()}", f"{len(own):,}"
        shown = [f"{cover(own, FACTOR):.1%}", number(factor, 2), number(ratio, 2)]
        lines[f"{rows:,}"] = [tables, questions, *shown]
    names = [
        "tables",
        "answers",
        "cover",
        f"factor with exactly {LEVEL:.0%}",
        "median width beside that of this factor",
    ]
    return frame(pd.DataFrame.from_dict(lines, orient="index", columns=names), "rows")


def kinds(test: pd.DataFrame) -> str:
    """Return the cover on the other half by the kind of question, the worst first."""
    shown = by_kind(test).map(lambda x: "" if np.isnan(x) else f"{x:.0%}")
    return frame(shown, "question")


def by_kind(test: pd.DataFrame) -> pd.DataFrame:
    """Return the cover by kind of question, of all tables and by the number of rows."""
    lines = {}
    for kind, own in test.groupby("kind"):
        by_rows = {f"{rows:,} rows": cover(part, FACTOR) for rows, part in own.groupby("rows")}
        lines[kind] = {"all": cover(own, FACTOR), **by_rows}
    found = pd.DataFrame.from_dict(lines, orient="index")
    return found.sort_values("all", kind="stable")


def named(test: pd.DataFrame) -> str:
    """Return the kinds of questions with a low cover."""
    found = by_kind(test)["all"]
    low = [f"{kind} ({share:.0%})" for kind, share in found[found < LOW].items()]
    return "; ".join(low) or "none"
