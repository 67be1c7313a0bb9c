"""Questions to a known density of six columns, for ``benchmarks/questions.py``.

This file also runs with the flows of older commits, so it imports only what these have.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import multivariate_normal

import flows
from flows.core.arrays import Array
from flows.core.settings import Recipe

DIM, COMPONENTS, ROWS, EVENTS = 6, 4, 100, 200
NAMES = [f"x{d}" for d in range(DIM)]


def truth() -> flows.Mixture:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(COMPONENTS, DIM, DIM))
    covariances = 0.3 * root @ root.transpose(0, 2, 1) + 0.1 * np.eye(DIM)
    weights = rng.dirichlet(np.full(COMPONENTS, 3))
    return flows.Mixture(weights, 2 * rng.normal(size=(COMPONENTS, DIM)), covariances)


def log_known(mixture: flows.Mixture, row: Array) -> float:
    """Return the log-density of the known values of a row ``(D,)`` in closed form."""
    o = np.flatnonzero(~np.isnan(row))
    own = mixture.means[:, o], mixture.covariances[:, o[:, None], o]
    return float(flows.Mixture(mixture.weights, *own).log_prob(row[None, o])[0])


def mass(mixture: flows.Mixture, low: Array, high: Array) -> float:
    """Return the probability of a box."""
    parts = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    return float(sum(w * multivariate_normal(m, s).cdf(high, lower_limit=low) for w, m, s in parts))


def ask() -> None:
    """Print the answers of the density of this process as JSON."""
    mixture, rng = truth(), np.random.default_rng(1)
    density = flows.Density(
        flows.GaussianMixture(mixture.weights, mixture.means, mixture.covariances)
    )
    rows = mixture.sample(ROWS, rng)
    density.log_prob(np.where(np.arange(DIM) < 2, np.nan, rows[:1]))  # sets up the proposal
    found: dict[str, Any] = {"gap": {}, "effective": {}, "seconds": {}}
    for count in (1, 3, 5):
        order = np.argsort(rng.random(rows.shape), axis=1)
        gaps = np.where(order < count, np.nan, rows)
        start = time.process_time()
        log_q = density.log_prob(gaps)
        found["seconds"][f"{count} unknown"] = time.process_time() - start
        exact = np.array([log_known(mixture, row) for row in gaps])
        found["gap"][f"{count} unknown"] = float(np.abs(log_q - exact).mean())
        if count > 1:
            frame = pd.DataFrame(gaps, columns=NAMES).assign(x0=np.nan)
            draws = density.predict(frame, "x0")["effective_draws"]
            found["effective"][f"{count} unknown"] = float(draws.mean())
    inside, start = 0, time.process_time()
    for number in range(EVENTS):
        own = np.random.default_rng(number)
        places = own.permutation(DIM)[: own.integers(1, 4)]
        low, high = np.full(DIM, -np.inf), np.full(DIM, np.inf)
        low[places], high[places] = np.sort(mixture.sample(2, own), axis=0)[:, places]
        event = {NAMES[d]: (float(low[d]), float(high[d])) for d in places}
        answer = density.probability(event, seed=number)
        away = abs(answer.probability - mass(mixture, low, high))
        inside += away <= 1.645 * answer.integration_error
    found["seconds"][f"{EVENTS} events"] = time.process_time() - start
    found["covered"] = inside / EVENTS
    frame = pd.DataFrame(rows, columns=NAMES)
    frame = frame[frame["x0"] <= frame["x1"]].reset_index(drop=True)
    schema = replace(density.schema, require=("x0 <= x1",))
    cut = flows.Density(density.population, schema)
    cut.log_prob(frame.assign(x0=np.nan, x1=np.nan)[:1])  # sets up the proposal
    for unknown in (["x1"], ["x0", "x1"], ["x0", "x1", "x2"]):
        gaps, start = frame.assign(**dict.fromkeys(unknown, np.nan)), time.process_time()
        cut.log_prob(gaps)
        predicted = cut.predict(gaps, "x1")
        key = f"{len(unknown)} unknown, constraint"
        found["seconds"][key] = time.process_time() - start
        found["effective"][key] = float(predicted["effective_draws"].fillna(0).mean())
    with_zeros(found["seconds"])
    print(json.dumps(found))


def with_zeros(seconds: dict[str, float]) -> None:
    """Add the times of questions about rows of which half hold the amount 0.

    Both commits fit the same table with a short recipe; the time of the fit does not count.
    """
    rng = np.random.default_rng(2)
    z = rng.normal(size=400)
    paid = np.where(rng.random(400) < 0.5, 0, np.round(np.exp(rng.normal(3 + z / 2, 1)), 2))
    frame = pd.DataFrame({"z": z, "paid": paid, "x": z + rng.normal(size=400)})
    density = flows.fit(frame, members=5, settings={"recipe": Recipe(most_steps=200)})
    gaps = frame.assign(x=np.nan)
    density.predict(gaps[:1], "x")  # sets up the proposal
    questions: dict[str, Any] = {
        "scores": lambda: density.log_prob(frame),
        "predictions": lambda: density.predict(gaps, "x"),
        "samples": lambda: density.sample(20_000),
    }
    for name, question in questions.items():
        start = time.process_time()
        question()
        seconds[f"{name} with zeros"] = time.process_time() - start
