"""Print the table of results in Markdown: ``python -m tools.table``.

``--readme`` writes this table, and the results of the studies and benchmarks, into the documents,
between the comments that mark their places.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import storage
from common.labels import label_and_color
from flows.core.errors import UserError
from stages.pipeline import files, schema
from tools import command, markdown

if TYPE_CHECKING:
    import pandas as pd

MARK = "<!-- {}: made by `python -m tools.table --readme` -->"
END = "<!-- end -->"
DOCUMENTS = sorted(
    path for place in (".", "docs", "studies/*") for path in Path().glob(f"{place}/*.md")
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--readme", action="store_true", help="write into the documents")
    if not arguments.parse_args().readme:
        print(table())
        return
    for path, text in {path: updated(path) for path in DOCUMENTS}.items():
        storage.write_bytes(path, text.encode())


def updated(path: Path) -> str:
    """Return the text of a document with new results between its marks.

    Raises ``UserError`` if a start mark has no end mark before the next comment.
    """
    text = path.read_text(encoding="utf-8")
    for name, make in SECTIONS.items():
        before, mark, rest = text.partition(MARK.format(name))
        if mark:
            old, end, after = rest.partition(END)
            if not end or "<!--" in old:
                raise UserError(f"{path}: {END} is missing after {mark}")
            text = f"{before}{mark}\n{make()}\n{END}{after}"
    return text


def table() -> str:
    """Return the table of results, with one row per reference and model.

    The numbers are means, with 95% intervals over test rows or standard deviations (sd) over
    members; for the truth, over draws. For a user's table, the gain over the best reference
    replaces the comparison with the truth.
    """
    params = schema.load()
    references, ranking = [*schema.References.model_fields], {}
    if params.data.target == schema.TABLE:
        references, ranking = schema.TABLE_REFERENCES, storage.read_json(files.RANKING)
    over = next((each["gain_over"] for each in ranking.values()), None)  # only for a user's table
    rows = []
    for name in [*references, *params.models]:
        headline = storage.read_json(files.headline(name))
        members = storage.read_table(files.members(name))
        sds = members.std()
        cells = [(headline["test_nll"], headline["test_nll_ci95"], 2)]
        if over:
            gain = ranking.get(name, {})
            cells += [(gain.get("gain"), gain.get("gain_ci95"), 2)]
        else:
            cells += [(headline["kl"], headline["kl_sd"], 3), (headline["kl_ensemble"], None, 3)]
            cells += [(headline["modes"], sds["modes"], 1)]
            known = headline["modes"] is not None  # else the truth has no components
            between = 1 - members["high_quality"].mean() if known else None
            cells += [(between, sds["high_quality"], 3)]
        cells += [(headline[key], sds[key], 2) for key in ("precision", "recall", "c2st_auc")]
        label = label_and_color(name)[0]
        rows.append([f"**{label}**", *(_number(*cell) for cell in cells)])
    divergence = ["KL (nat) ± sd", "KL of the ensemble", "modes ± sd", "between modes ± sd"]
    if over:
        divergence = [f"gain of the ensemble over {label_and_color(over)[0]} (nat) ± 95% interval"]
    quality = ["precision ± sd", "recall ± sd", "classifier AUC ± sd"]
    head = ["", "test NLL (nat) ± 95% interval", *divergence, *quality]
    return "\n\n".join([markdown.table(head, rows, "lr"), *notes(params)])


def notes(params: schema.Settings) -> list[str]:
    """Return a line on every model whose KL is taken on fewer points, with its standard error."""
    truth = params.data.make_truth()
    if truth is None:
        return []
    shape, lines = truth.sample(1, np.random.default_rng(0)).shape[1:], []
    for name in params.models:
        count = params.evaluate.limited(params.architecture(name).scored(shape)).fresh
        error = storage.read_table(files.members(name))["kl_se"].mean()
        if count < params.evaluate.fresh and not math.isnan(error):
            label = label_and_color(name)[0]
            lines.append(
                f"{label[0].upper()}{label[1:]}: KL on {count:,} fresh points; standard error of a "
                f"member's KL {error:.3f} nat."
            )
    return lines


def _number(value: float | None, spread: float | None, digits: int) -> str:
    if value is None:
        return markdown.NONE
    if spread is None or math.isnan(spread):  # NaN for a single member
        return f"{value:.{digits}f}" if value else "0"
    # Without spaces, so that a narrow page does not break the number
    return f"{value:.{digits}f}\u00b1{spread:.{digits}f}" if value or spread else "0"


def measured(name: str) -> str:
    """Return the tables of time and memory that ``benchmarks.NAME`` wrote."""
    return Path(f"benchmarks/{name}.md").read_text(encoding="utf-8").strip()


def speed() -> str:
    """Return the table of the speeds of all libraries in ``benchmarks/``."""
    from benchmarks import RESULTS, draw  # imported here because `make repro` needs neither

    return draw.summary(storage.read_json(RESULTS))


def seconds() -> str:
    """Return the table of fit times in seconds, for the study of tables.

    Fit times differ between runs, so the committed tables of the study do not contain them.
    """
    from studies.engine import Study  # imported here because `make repro` does not need it
    from studies.tables import report

    return report.seconds(Study("tables"))


def covers() -> str:
    """Return the table of the shares of intervals of few rows that hold the truth."""
    from studies.engine import Study  # imported here because `make repro` does not need it
    from studies.few_rows import report

    answers, _ = report.read(Study("few_rows"))
    return report.sizes(answers[answers["half"] == "test"])


def false_alarms() -> str:
    """Return the table of the alarms of checks, for fits that miss nothing."""
    from studies.alarms import report  # imported here because `make repro` does not need it
    from studies.engine import Study

    return report.level_table(Study("alarms"))


def alarms() -> str:
    """Return the table of the shares of alarms, for fits that miss a part of a table."""
    from studies.alarms import report  # imported here because `make repro` does not need it
    from studies.engine import Study

    return report.power_table(Study("alarms"))


def scores_over_data_sets() -> dict[str, pd.DataFrame]:
    """Return the scores of one network per data set of the study of claims, by model.

    The first data set is the pipeline's. Models without a density are left out.
    """
    from studies.engine import Study  # imported here because `make repro` does not need it

    study = Study("claims")
    models = [
        name
        for name in study.params["equal"]
        if storage.read_json(files.headline(name))["kl"] is not None
    ]
    return {model: study.table("equal", model) for model in models}


def data_sets() -> str:
    """Return the table of the KL on the pipeline's data set and over data sets."""
    rows, found = [], scores_over_data_sets()
    for model, scores in found.items():
        kl, here = scores["kl"], storage.read_json(files.headline(model))
        cells = [_number(here["kl"], here["kl_sd"], 3), _number(kl.mean(), kl.std(), 3)]
        rows.append([label_and_color(model)[0], *cells, f"{kl.min():.3f} to {kl.max():.3f}"])
    count = len(next(iter(found.values())))
    head = ["KL (nat)", "one data set ± sd over members", f"{count} data sets ± sd", "range"]
    return markdown.table(head, rows, "lr")


def data_sets_in_short() -> str:
    """Return the KL of each model over data sets, in one line.

    The number of weights of a model is added if it differs from the number in the pipeline.
    """
    found, each = scores_over_data_sets(), []
    count = len(next(iter(found.values())))
    for model, scores in found.items():
        kl, size = scores["kl"], scores["parameters"][0]
        here = storage.read_table(files.members(model))["parameters"][0]
        text = f"{label_and_color(model)[0]} {_number(kl.mean(), kl.std(), 3)}"
        each.append(text if size == here else f"{text} ({size:,.0f} weights, {here:,} above)")
    return f"KL\u00b1sd over {count} data sets, one network each: {', '.join(each)}."


SECTIONS: dict[str, Callable[[], str]] = {
    "results": table,
    "data sets": data_sets,
    "data sets in short": data_sets_in_short,
    "scale": partial(measured, "scale"),
    "fits": partial(measured, "fits"),
    "speed": speed,
    "seconds": seconds,
    "covers": covers,
    "false alarms": false_alarms,
    "alarms": alarms,
}


if __name__ == "__main__":
    command.run("table", main)
