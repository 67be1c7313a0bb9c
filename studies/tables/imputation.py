"""Draws of hidden numbers, compared with imputers that draw, on tables with labels and gaps.

Numbers of the first test rows of a split are hidden at random, with the stream ``metric`` of the
split. Each method draws the hidden numbers given the other values of their rows. The score is the
CRPS, in standard deviations of the training rows. For m independent draws X of a value x, an
estimate without bias is (Zamo and Naveau 2018)::

    mean_i |X_i - x| - 1 / (2 m (m - 1)) sum_ij |X_i - X_j|
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from flows.core import seeds
from flows.core.arrays import Array
from flows.core.rows import Rows
from studies.engine import quiet
from studies.tables import latent_classes, realistic_scores
from studies.tables.realistic_scores import OURS, Split

HIDDEN = 0.2  # share of the numbers that are hidden
DRAWS, FOREST_DRAWS = 20, 5  # miceforest takes minutes for 20
# Our draws of a row are stratified, in random order: few of many are about independent
STRATIFIED = 200
ROUNDS, FOREST_ROUNDS = 10, 4  # of chained equations
PEERS = ("stacked", "mixture", "gaussian")
IMPUTERS = ("IterativeImputer, posterior", "miceforest")
METHODS = (OURS, *PEERS, *IMPUTERS)

Draw = Callable[[Split, Rows], Array]  # draws of the numbers of rows with gaps, (m, n, D)


def score(table: str, split: int, train: int, members: int, rows: int) -> dict[str, Array]:
    """Hide numbers of at most ``rows`` test rows, and score the draws of all methods.

    ``crps`` is the CRPS, and ``absolute`` the absolute error of the median of the draws; both are
    means over the hidden numbers, and have one number per method, in the order of ``METHODS``.
    ``hidden`` counts the numbers.
    """
    parts = realistic_scores.load(table, split, train, rows)
    x = parts.test.numbers
    hidden = (seeds.numpy_generator(split, "metric").random(x.shape) < HIDDEN) & ~np.isnan(x)
    gaps = parts.test._replace(numbers=np.where(hidden, np.nan, x))

    def ours(parts: Split, gaps: Rows) -> Array:
        density = realistic_scores.ours(parts, members)
        with quiet():
            drawn = density.impute(parts.frame(gaps), draws=STRATIFIED)[:DRAWS]
        return np.stack([each[parts.numbers].to_numpy(np.float64) for each in drawn])

    methods: dict[str, Draw] = {OURS: ours, **{name: peer(name) for name in PEERS}}
    methods |= dict(zip(IMPUTERS, (chained, forest), strict=True))
    found = pd.DataFrame(index=METHODS, columns=["crps", "absolute"], dtype=float)
    for method, draw in methods.items():
        drawn = draw(parts, gaps)[:, hidden]
        found.loc[method, "crps"] = crps(drawn, x[hidden]).mean()
        found.loc[method, "absolute"] = np.abs(np.median(drawn, axis=0) - x[hidden]).mean()
    columns = {str(name): column.to_numpy() for name, column in found.items()}
    return {**columns, "hidden": np.full(len(METHODS), hidden.sum())}


def crps(drawn: Array, x: Array) -> Array:
    """Return the CRPS of draws ``(m, n)`` of values ``x`` ``(n,)``."""
    m = len(drawn)
    rank = 2 * np.arange(1, m + 1) - m - 1
    spread = rank @ np.sort(drawn, axis=0) / (m * (m - 1))  # half the mean distance of two draws
    found: Array = np.abs(drawn - x).mean(axis=0) - spread
    return found


def peer(name: str) -> Draw:
    """Return how a density of ``latent_classes`` draws from its exact conditional."""

    def draw(parts: Split, gaps: Rows) -> Array:
        fitted, rng = latent_classes.FITS[name](parts.train), np.random.default_rng(0)
        return np.stack([fitted.draw(gaps, rng) for _ in range(DRAWS)])

    return draw


def together(parts: Split, gaps: Rows) -> Rows:
    """Return the training rows, and the rows with gaps after them: imputers learn from both."""
    numbers = np.concatenate([parts.train.numbers, gaps.numbers])
    return Rows(numbers, np.concatenate([parts.train.codes, gaps.codes]), gaps.sizes)


def chained(parts: Split, gaps: Rows) -> Array:
    """Draw with scikit-learn's Bayesian ridge regressions; a label is a set of indicators.

    The indicators of a missing label are 0.
    """
    rows = together(parts, gaps)
    table, (n, dim) = np.column_stack([rows.numbers, *rows.indicators()]), gaps.numbers.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rounds do not converge, because they draw
        drawn = [
            IterativeImputer(
                sample_posterior=True, max_iter=ROUNDS, random_state=seed
            ).fit_transform(table)[-n:, :dim]
            for seed in range(DRAWS)
        ]
    return np.stack(drawn)


def forest(parts: Split, gaps: Rows) -> Array:
    """Draw with miceforest: chained boosted trees and predictive mean matching."""
    import miceforest

    rows = together(parts, gaps)
    numbers = {f"x{d}": column for d, column in enumerate(rows.numbers.T)}
    labels = {
        f"c{d}": pd.Categorical.from_codes(codes, [*map(str, range(size))])
        for d, (codes, size) in enumerate(zip(rows.codes.T, rows.sizes, strict=True))
    }
    frame = pd.DataFrame({**numbers, **labels})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kernel = miceforest.ImputationKernel(
            frame, variable_schema=[*numbers], num_datasets=FOREST_DRAWS, random_state=0
        )
        kernel.mice(FOREST_ROUNDS, num_threads=1)
    drawn = [kernel.complete_data(k)[[*numbers]].to_numpy() for k in range(FOREST_DRAWS)]
    return np.stack(drawn)[:, -len(gaps.numbers) :]
