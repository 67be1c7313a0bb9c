"""Compare answers and their stated errors with brute force, for default fits.

Run as ``python -m benchmarks.errors``. Each fit answers ``QUESTIONS`` questions about rows near its
table and far from it: log-densities of known values, and probabilities of events. The answers are
compared with sums over grids of all unknown numbers, which use the members' densities of complete
rows alone; for targets, with shares of the members' draws. Writes ``errors.json``, for each fit and
all together:

- ``exact``: the number of answers without random draws, and the largest error of a log-density or
  log-probability beyond its 90% interval, in nats;
- ``covered``: the share of the other answers whose 90% interval holds the brute force, and their
  number.

A run takes about 25 minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp

import flows
from common import storage
from flows.core.arrays import Array, Mask, rounded
from tools import command

OUTPUT = Path(__file__).with_name("errors.json")
ROWS, QUESTIONS, FAR = 300, 36, 1 / 3  # a third of the questions are about far rows
# Cells of each of 1 or 2 unknown numbers, in a first grid and in two finer ones
COARSE, FINE = {1: 4_000, 2: 160}, {1: (20_000, 60_000), 2: (150, 230)}
REACH = 5_000.0  # the ends of the first grid
DRAWS = 1_000_000  # of each member, for the probability of a constraint
TARGET_DRAWS = 200_000  # of each member, for the probability of an event of targets
# The largest error of a brute force, and the least log-density: other questions do not count
MOST_ERROR, LEAST = 0.01, -60.0
NORMAL = 1.645  # half the width of a 90% interval, in standard errors


@dataclass(frozen=True)
class Case:
    """A table to fit, with the rows that a constraint allows.

    Args:
        table: returns the table.
        options: the options of the fit.
        allowed: tells which rows of a frame the constraint allows.
    """

    table: Callable[[np.random.Generator], pd.DataFrame]
    options: Mapping[str, Any]
    allowed: Callable[[pd.DataFrame], Any]


def numbers(r: np.random.Generator) -> pd.DataFrame:
    c = r.normal(size=ROWS)
    a = r.normal(size=ROWS) + 0.5 * c
    return pd.DataFrame({"a": a, "b": a + np.abs(r.normal(size=ROWS)) * (1 + c**2), "c": c})


def labels(r: np.random.Generator) -> pd.DataFrame:
    frame, group = numbers(r)[["a", "b"]], r.integers(0, 3, ROWS)
    shift = np.array([0, 2, 5])[group]
    return frame.add(shift, axis=0).assign(group=np.array(["u", "v", "w"])[group])


def targets(r: np.random.Generator) -> pd.DataFrame:
    x = r.normal(size=ROWS)
    a = np.minimum(x + r.normal(size=ROWS), 3.5)
    return pd.DataFrame({"x": x, "a": a, "b": np.minimum(a + r.exponential(1, ROWS), 4)})


def anything(frame: pd.DataFrame) -> Mask:
    return np.ones(len(frame), bool)


def increase(frame: pd.DataFrame) -> Any:
    return frame["a"] <= frame["b"]


CASES = {
    "numbers": Case(numbers, {}, anything),
    "numbers, a <= b": Case(numbers, {"require": ["a <= b"]}, increase),
    "labels": Case(labels, {}, anything),
    "labels, a <= b": Case(labels, {"require": ["a <= b"]}, increase),
    "targets": Case(targets, {"target": ["a", "b"]}, anything),
    "targets, a <= b <= 4": Case(
        targets,
        {"target": ["a", "b"], "require": ["a <= b", "b <= 4"]},
        lambda frame: increase(frame) & (frame["b"] <= 4),
    ),
}


class Truth:
    """Sums over grids, for one fit.

    Args:
        density: the fit.
        case: its table.
    """

    def __init__(self, density: flows.Density, case: Case) -> None:
        self.case, self.array = case, density._array
        self.names, self.columns = self.array.names, self.array.columns
        self.weights = self.array.population.member_weights.numpy()
        self.log_mass = np.zeros(self.array.population.members)
        if self.array.constraints and not self.array.targets:
            drawn = np.concatenate(
                [
                    self.array.population.draw(10_000, np.random.default_rng(k))
                    for k in range(DRAWS // 10_000)
                ]
            )
            inside = np.stack([self.allowed(each) for each in drawn.transpose(1, 0, 2)])
            # The ensemble's draws are accepted or rejected, whichever member they are from
            self.log_mass += np.log(self.weights @ inside.mean(axis=1))

    def allowed(self, rows: Array) -> Mask:
        return np.array(self.case.allowed(pd.DataFrame(rows, columns=self.names)))

    def log_q(self, rows: Array) -> Array:
        """Return the members' log-densities of complete rows without constraints, ``(n, M)``."""
        return self.array.population.score(rows) - self.log_mass

    def answer(self, row: Array, event: Mapping[int, tuple[float, float]]) -> tuple[float, float]:
        """Return the log-density of the known values and an event, and its standard error, in nats.

        Args:
            row: the row ``(D,)``, ``NaN`` for unknown values.
            event: the ranges of unknown numbers.
        """
        weights = self.weights
        if not self.array.targets:
            rough, fine = (float(logsumexp(each, b=weights)) for each in self.grids(row, event))
            return fine, abs(fine - rough)
        share, se = self.shares(row, event)
        return float(np.log(weights @ share)), float(
            np.hypot.reduce(weights * se) / (weights @ share)
        )

    def shares(self, row: Array, event: Mapping[int, tuple[float, float]]) -> tuple[Array, Array]:
        """Return the probabilities of an event of targets, and the standard errors, ``(M,)``."""
        population: Any = self.array.population
        flow = population.flow
        x = row[None, : flow.context]
        met, both = np.zeros((2, flow.members))
        for k in range(TARGET_DRAWS // 10_000):
            y = flow.sample((10_000,), np.random.default_rng(k), x)[:, 0].numpy()
            rows = np.concatenate([np.tile(x, (*y.shape[:2], 1)), y], axis=2)
            inside = self.allowed(rows.reshape(-1, len(row))).reshape(y.shape[:2])
            met += inside.sum(axis=0)
            for d, (low, high) in event.items():
                inside &= (low <= rows[..., d]) & (rows[..., d] <= high)
            both += inside.sum(axis=0)
        share = both / met
        return share, np.sqrt(share * (1 - share) / met)

    def grids(self, row: Array, event: Mapping[int, tuple[float, float]]) -> list[Array]:
        """Return the members' integrals inside the event, ``(M,)``, from two fine grids."""
        unknown = np.flatnonzero(np.isnan(row)).tolist()
        codes = [d for d in unknown if self.columns[d].labels]
        places = [d for d in unknown if d not in codes]
        if not places:
            return [self.sums(row, codes, places, [], event)[0]] * 2
        line = np.linspace(-np.arcsinh(REACH), np.arcsinh(REACH), COARSE[len(places)] + 1)
        axes = [self.within(np.sinh(line), event.get(d)) for d in places]
        log_terms = self.sums(row, codes, places, axes, event)[1]
        shares = np.exp(log_terms - logsumexp(log_terms))
        found = []
        for count in FINE[len(axes)]:
            finer = []
            for k, axis in enumerate(axes):
                share = shares.sum(axis=tuple(j for j in range(len(axes)) if j != k))
                beside = np.pad(share, 1)
                share = (beside[:-2] + share + beside[2:]) / 3 + 1 / len(share)
                levels = np.concatenate([[0], share.cumsum()])
                finer.append(np.interp(np.linspace(0, levels[-1], count + 1), levels, axis))
            found.append(self.sums(row, codes, places, finer, event)[0])
        return found

    @staticmethod
    def within(axis: Array, ends: tuple[float, float] | None) -> Array:
        """Return the ends of cells of an axis inside a range."""
        low, high = ends or (-np.inf, np.inf)
        return np.unique(axis.clip(low, high))

    @property
    def is_number(self) -> Mask:
        return np.array([not column.labels for column in self.columns])

    def sums(
        self,
        row: Array,
        codes: Sequence[int],
        places: Sequence[int],
        axes: Sequence[Array],
        event: Mapping[int, tuple[float, float]],
    ) -> tuple[Array, Array]:
        """Return the members' integrals ``(M,)``, and the logarithms of the ensemble's terms."""
        cells = [*np.meshgrid(*((axis[1:] + axis[:-1]) / 2 for axis in axes), indexing="ij")]
        widths = np.meshgrid(*map(np.diff, axes), indexing="ij")
        log_cell = sum((np.log(each) for each in widths), np.zeros(()))
        total, terms = list[Array](), np.full(log_cell.size, -np.inf)
        for labels_of in product(*(range(len(self.columns[d].labels)) for d in codes)):
            rows = np.tile(row, (log_cell.size, 1))
            for d, x in zip(places, cells, strict=True):
                rows[:, d] = x.ravel()
            rows[:, codes] = labels_of
            inside = self.allowed(rows)
            for d, (low, high) in event.items():
                inside &= (low <= rows[:, d]) & (rows[:, d] <= high)
            log_q = np.full((len(rows), self.array.population.members), -np.inf)
            log_q[inside] = self.log_q(rows[inside])
            log_q += log_cell.ravel()[:, None]
            total.append(logsumexp(log_q, axis=0))
            terms = np.logaddexp(terms, logsumexp(log_q, axis=1))
        return logsumexp(total, axis=0), terms.reshape(log_cell.shape)


def questions(truth: Truth, frame: pd.DataFrame, rng: np.random.Generator) -> Any:
    """Yield rows with unknown values, and events, of which the constraint allows some value."""
    array, count = truth.array, 0
    while count < QUESTIONS:
        [row] = truth_rows(array, frame.sample(1, random_state=rng))
        is_far = rng.random() < FAR
        if is_far:
            row = np.where(truth.is_number, row * rng.uniform(2, 4) + rng.normal(0, 3), row)
            if not truth.allowed(row[None])[0]:
                continue
        free = np.flatnonzero(~array.inputs)
        count_hidden = len(free) if array.targets else rng.integers(1, len(free))
        hidden = rng.permutation(free)[:count_hidden]
        gaps = row.copy()
        gaps[hidden] = np.nan
        event: dict[int, tuple[float, float]] = {}
        if array.targets or rng.random() < 0.5:
            for d in hidden:
                if truth.is_number[d] and (not event or rng.random() < 0.5):
                    low, high = sorted(row[d] + rng.normal(0, 1, 2))
                    event[int(d)] = (low, high) if rng.random() < 0.5 else (low, np.inf)
            if not event:
                continue
        count += 1
        yield gaps, event


def truth_rows(array: Any, frame: pd.DataFrame) -> Array:
    return np.column_stack(
        [
            frame[name].map(list(column.labels).index) if column.labels else frame[name]
            for name, column in zip(array.names, array.columns, strict=True)
        ]
    ).astype(np.float64)


def ask(
    density: flows.Density, row: Array, event: Mapping[int, Any], seed: int
) -> tuple[float, float, bool]:
    """Return the log-density or log-probability, its stated error, and whether it has draws."""
    array = density._array
    given = {
        name: column.labels[int(x)] if column.labels else float(x)
        for name, column, x in zip(array.names, array.columns, row, strict=True)
        if not np.isnan(x)
    }
    if not event:
        log_q, se = density.log_prob_and_error(
            pd.DataFrame([{**dict.fromkeys(array.names), **given}])
        )
        return float(log_q[0]), float(se[0]), bool(np.isnan(row).sum() > 1)
    ranges = {
        array.names[d]: (low, None if np.isinf(high) else high) for d, (low, high) in event.items()
    }
    found = density.probability(ranges, given=given, seed=seed)
    p = found.probability
    error = found.integration_error / p if p > 0 else np.inf
    return float(np.log(p)), error, found.draws > 0


def compared(name: str, case: Case) -> list[dict[str, float]]:
    """Return the error of each answer about a fit, and its stated error."""
    rng = np.random.default_rng(sorted(CASES).index(name))
    frame = case.table(rng)
    density = flows.fit(frame, **case.options)
    truth, found = Truth(density, case), []
    for seed, (row, event) in enumerate(questions(truth, frame, rng)):
        log_p, stated, is_drawn = ask(density, row, event, seed)
        expected, own = truth.answer(row, event)
        if event and not truth.array.targets:
            whole, own_whole = truth.answer(row, {})
            expected, own = expected - whole, max(own, own_whole)
        if not (own <= MOST_ERROR and expected >= LEAST):  # or not a number
            continue
        stated = float(np.hypot(stated, own))
        found.append({"error": log_p - expected, "stated": stated, "is_drawn": is_drawn})
        print(
            name,
            rounded(log_p, 5),
            rounded(expected, 5),
            rounded(stated, 2),
            event,
            row,
            flush=True,
        )
    return found


def summary(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    errors = np.array([abs(row["error"]) for row in rows])
    stated = np.array([row["stated"] for row in rows])
    drawn = np.array([row["is_drawn"] for row in rows], dtype=bool)
    inside = errors <= NORMAL * stated
    beyond = np.maximum(errors - NORMAL * stated, 0)
    return {
        "exact": int((~drawn).sum()),
        "largest exact error": float(rounded(beyond[~drawn].max(initial=0), 2)),
        "others": int(drawn.sum()),
        "covered": float(rounded(inside[drawn].mean(), 3)) if drawn.any() else None,
    }


def main(arguments: Sequence[str] | None = None, output: Path = OUTPUT) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.errors")
    parser.add_argument("--fits", nargs="+", choices=CASES, default=[*CASES], help="the fits")
    options = parser.parse_args(arguments)
    rows = {name: compared(name, CASES[name]) for name in options.fits}
    found = {name: summary(own) for name, own in rows.items()}
    found["all"] = summary([each for own in rows.values() for each in own])
    storage.write_json(output, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    command.run("errors", main)
