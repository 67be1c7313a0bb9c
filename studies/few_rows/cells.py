"""The cells of the study of intervals of few rows: questions about known densities.

A cell draws a table, fits it with the defaults, asks questions, and compares the answers with the
truth. Each row is a question: ``kind`` is the number of its kind in ``KINDS``, ``error`` is
(truth - answer), ``of_rows`` the half-width of the interval at the factor 1 without the error of
draws, and ``of_draws`` the half-width of the error of draws. For probabilities, all are on the
scale of the logit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from scipy.special import logit, logsumexp
from scipy.stats import norm

import flows
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.tables.questions import few_rows
from flows.tables.questions.score import Score
from flows.workers import PACKAGES as PACKAGES
from studies.engine import SMALL, Cell, Family, quiet
from studies.few_rows.tables import LABELS, NAMES, Ranges, Truth, inside, summary, summary_of_last

KINDS = [
    "probability",
    "probability of a tail",
    "probability of two columns",
    "probability given ranges",
    "probability given a rare range",
    "probability given values",
    "probability of a label given ranges",
    "probability of a label given values",
    "mean given a range",
    "standard deviation given a range",
    "quantile given a range",
    "mean given values",
    "standard deviation given values",
    "quantile given values",
    "log-density of a row",
]
ROWS = 3  # rows of values that questions are about
OF_SUMMARY = {"mean": "mean", "sd": "standard deviation"}
Line = tuple[str, float, float, float]  # kind, truth, answer and the upper end of the interval


def ranges_of(big: pd.DataFrame) -> list[tuple[str, Ranges, Ranges]]:
    """Return events and conditions, by their kind."""

    def q(name: str, level: float) -> float:
        return float(big[name].quantile(level))

    return [
        ("probability", {"a": (q("a", 0.5), None)}, {}),
        ("probability of a tail", {"b": (q("b", 0.9), None)}, {}),
        (
            "probability of two columns",
            {"a": (q("a", 0.4), None), "c": (None, q("c", 0.6))},
            {},
        ),
        ("probability given ranges", {"a": (q("a", 0.5), None)}, {"b": (q("b", 0.5), None)}),
        (
            "probability given ranges",
            {"c": (q("c", 0.3), q("c", 0.8))},
            {"b": (None, q("b", 0.5)), "d": (q("d", 0.3), None)},
        ),
        ("probability given a rare range", {"d": (q("d", 0.5), None)}, {"a": (q("a", 0.95), None)}),
    ]


def of_ranges(density: flows.Density, big: pd.DataFrame) -> Iterator[Line]:
    """Yield answers about events, and about columns, given ranges."""
    for kind, event, given in ranges_of(big):
        truth = inside(big[inside(big, given)], event).mean()
        found = density.probability(event, given=given)
        yield kind, truth, found.probability, found.high
    for name, other, level in (("c", "b", 0.5), ("a", "d", 0.7)):
        given = {other: (float(big[other].quantile(level)), None)}
        part = big[inside(big, given)]
        found = density.predict(given=given, column=name, interval=few_rows.LEVEL).iloc[0]
        for each, truth in summary(part[name]).items():
            kind = f"{OF_SUMMARY.get(each, 'quantile')} given a range"
            yield kind, truth, found[each], found[f"{each}_high"]
        if "label" in big:
            found = density.predict(given=given, column="label", interval=few_rows.LEVEL).iloc[0]
            truth = float((part["label"] == LABELS[0]).mean())
            own = found[LABELS[0]], found[f"{LABELS[0]}_high"]
            yield "probability of a label given ranges", truth, *own


def of_rows(density: flows.Density, truth: Truth, rows: pd.DataFrame) -> Iterator[Line]:
    """Yield answers about rows whose values are known."""
    has_labels, targets = "label" in rows, density.targets
    for k in range(len(rows)):
        one, row = rows[k : k + 1], rows.iloc[k]
        parts = truth.log_parts(row)
        if has_labels:
            shares = truth.label_shares(row)
            found = density.predict(one, "label", interval=few_rows.LEVEL).iloc[0]
            own = found[LABELS[0]], found[f"{LABELS[0]}_high"]
            yield "probability of a label given values", shares[0], *own
            log_p = logsumexp(parts) + np.log(shares[LABELS.index(row["label"])])
        else:
            weights, means, deviations = truth.last_given(row)
            found = density.predict(one, "d", interval=few_rows.LEVEL).iloc[0]
            for name, value in summary_of_last(truth, row).items():
                kind = f"{OF_SUMMARY.get(name, 'quantile')} given values"
                yield kind, value, found[name], found[f"{name}_high"]
            event, given = {"d": (row["d"], None)}, row[NAMES[:3]].to_dict()
            p = weights @ norm.sf((row["d"] - means) / deviations)
            answer = density.probability(event, given=given)
            yield "probability given values", p, answer.probability, answer.high
            log_p = logsumexp(parts)
            if targets:
                z = (row["d"] - means) / deviations
                log_p = np.log(weights @ (norm.pdf(z) / deviations))
        found = density.ask(Score(interval=few_rows.LEVEL), one).iloc[0]
        yield "log-density of a row", log_p, found["log_density"], found["log_density_high"]


def cover(kind: str, rows: int, draws: int, seed: int) -> dict[str, Array]:
    """Ask about a fit of a table of a known density."""
    truth = Truth.random(numpy_generator(seed, "split"), is_skewed=seed % 2 == 1)
    has_labels = kind == "labels"
    frame = truth.draw(rows, numpy_generator(seed, "generate"), has_labels=has_labels)
    big = truth.draw(draws, numpy_generator(seed, "fresh"), has_labels=has_labels)
    with quiet():
        density = flows.fit(frame, target="d" if kind == "target" else None, seed=seed)
        found = []
        for factor in (0.0, 1.0):  # without the error of few rows, and with it
            with mock.patch.object(few_rows, "FACTOR", factor):
                lines = [] if kind == "target" else [*of_ranges(density, big)]
                lines += of_rows(density, truth, big[:ROWS])
            found.append(lines)
    kinds = np.array([KINDS.index(line[0]) for line in found[0]])
    values = np.array([[line[1:] for line in lines] for lines in found], np.float64)
    is_probability = np.array([line[0].startswith("probability") for line in found[0]])
    with np.errstate(divide="ignore"):
        values = np.where(is_probability[:, None], logit(values.clip(0, 1)), values)
    known, answer, high = values.transpose(2, 0, 1)
    of_draws, whole = high - answer
    return {
        "kind": kinds,
        "error": known[1] - answer[1],
        "of_rows": np.sqrt(np.maximum(whole**2 - of_draws**2, 0)),
        "of_draws": of_draws,
    }


# Last bits depend on the processor, and so do the decisions of a recipe
FAMILIES = {"cover": Family(cover, tolerance={"*": 0.5})}


def cells(params: dict[str, Any]) -> Iterator[Cell]:
    """Yield a cell for each table, named by its half, the number of rows and the seed."""
    kinds, first = params["kinds"], 0
    for half, count in params["tables"].items():
        for rows in params["rows"]:
            for seed in range(first, first + count):
                kind = kinds[seed % len(kinds)]
                own = {"kind": kind, "rows": rows, "draws": params["draws"], "seed": seed}
                yield f"cover/{half}/{rows}/{seed}", own
        first += count
    yield f"cover/{SMALL}", {**params[SMALL], "seed": first}
