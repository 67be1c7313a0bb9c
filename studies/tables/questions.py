"""Questions about the rows of a table: their unknown values given the rest, and their odd values.

A cell of the study compares one fit and its peers in three tasks:

- the log-density of some columns given the others;
- filling hidden values: the errors, and the quality of the distribution;
- guessing which value of a row was swapped for another row's.

Units are the standard deviations of the training rows. A score has one number per method, in the
order of ``METHODS``, and is ``NaN`` for methods without an answer.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer

from flows import fit
from flows.core import seeds
from flows.core.arrays import Array
from flows.mixtures.fitting import fit_gaussian
from flows.mixtures.mixture import Mixture
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.posterior import ENOUGH
from flows.tables.posterior.region import Region
from flows.tables.questions.question import Answer
from flows.tables.questions.score import Score
from flows.tables.questions.surprise import Surprise
from studies.tables import odd_cells, peers, sources
from studies.tables.conditional_peers import ClosedForm
from studies.verdicts import standard_error

CLOSED = ("margins", "mixture", "gaussian", "truth")
IMPUTERS = {
    "IterativeImputer": IterativeImputer(max_iter=20, random_state=0),
    "KNNImputer": KNNImputer(),
    "IterativeImputer, forests": IterativeImputer(
        RandomForestRegressor(50, random_state=0), max_iter=5, random_state=0
    ),
}
DETECTORS = {
    "ECOD": odd_cells.ecod,
    "COPOD": odd_cells.copod,
    "isolation forest": odd_cells.isolation,
}
METHODS = ("nsf", *CLOSED, *IMPUTERS, *DETECTORS)
UNKNOWN = ("one", "two", "half", "rest")  # numbers of unknown columns; the rest is all but one
HIDDEN = 0.2  # share of the values that are hidden and filled
LEVELS = np.arange(1, 20) / 20  # levels of quantiles, for 90% intervals, medians and the CRPS
FAR = 10  # distance of a typo, in ranges of its column


class Asked(NamedTuple):
    """Our density and the peers with closed forms, fitted to ``train`` of one ``split``."""

    ours: ArrayDensity
    closed: dict[str, ClosedForm]
    train: Array
    split: int

    def rng(self, question: int) -> np.random.Generator:
        """Return the random stream of a question."""
        return seeds.numpy_generator(self.split, "metric", question)


def score(
    table: str, split: int, train: int, members: int, rows: int, odd: int
) -> dict[str, Array]:
    """Fit all methods to one split; score them on ``rows`` test rows and ``odd`` swapped values."""
    source = sources.load(table)
    learned, test = sources.split(source.rows, split, train)
    mean, deviation = learned.mean(axis=0), learned.std(axis=0)
    learned, test = (learned - mean) / deviation, (test - mean) / deviation
    one = partial(fit_gaussian, correlated=True)
    closed = {
        "margins": ClosedForm.fit(learned, peers.mixture, margins=True),
        "mixture": ClosedForm.fit(learned, peers.mixture),
        "gaussian": ClosedForm.fit(learned, one),
    }
    if truth := source.truth:
        covariances = truth.covariances / np.outer(deviation, deviation)
        exact = Mixture(truth.weights, (truth.means - mean) / deviation, covariances)
        closed["truth"] = ClosedForm.fit(learned, lambda _: exact)
    ours = ArrayDensity(fit(learned, members=members).population)
    asked = Asked(ours, closed, learned, split)
    found = pd.DataFrame(index=METHODS, dtype=float)
    conditionals(found, asked, test[:rows])
    imputation(found, asked, test[:rows])
    odd_ones(found, asked, test[:odd], odd)
    return {str(name): column.to_numpy() for name, column in found.items()}


def chosen(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask ``(n, D)`` of ``count`` random columns per row."""
    return rng.random(shape).argsort(axis=1) < count


def conditionals(found: pd.DataFrame, asked: Asked, rows: Array) -> None:
    """Score ``log q(x_u | x_o)``, with different columns u for every row.

    ``se`` is the standard error over rows of our mean, and of our gain over each peer; ``noise`` is
    the standard error of our mean from our draws alone; ``rough`` is the share of rows with few
    effective draws.
    """
    dim = rows.shape[1]
    for k, (name, count) in enumerate(zip(UNKNOWN, (1, 2, dim // 2, dim - 1), strict=True)):
        unknown = chosen(rows.shape, count, asked.rng(k))
        names, whole = np.array(asked.ours.names), Region.of_rows(rows)
        each = [
            Score(names[~u].tolist()).answer(asked.ours, whole.take(slice(i, i + 1)))
            for i, u in enumerate(unknown)
        ]
        ours = Answer.joined(each)
        log_ours, error, effective = ours["log_density"], ours["error"], ours.effective
        log_q = {
            method: peer.log_conditional(rows, unknown) for method, peer in asked.closed.items()
        }
        log_q["nsf"] = log_ours
        for method, own in log_q.items():
            gain = own if method == "nsf" else log_q["nsf"] - own
            found.loc[method, name] = own.mean()
            found.loc[method, f"{name}_se"] = standard_error(gain)
        found.loc["nsf", f"{name}_noise"] = np.linalg.norm(error) / len(rows)
        found.loc["nsf", f"{name}_rough"] = (effective < ENOUGH).mean()


def imputation(found: pd.DataFrame, asked: Asked, rows: Array) -> None:
    """Score the filled values of hidden cells: the errors of means and medians, and quantiles.

    The mean is over quantiles, so that far tails do not count; the CRPS is twice the mean quantile
    loss. An imputer without quantiles has the same value at all levels.
    """
    hidden = asked.rng(len(UNKNOWN)).random(rows.shape) < HIDDEN
    gaps = np.where(hidden, np.nan, rows)
    answers = {method: peer.quantiles(gaps, LEVELS) for method, peer in asked.closed.items()}
    answers["nsf"] = our_quantiles(asked.ours, gaps)
    for method, imputer in IMPUTERS.items():
        with warnings.catch_warnings():  # too few rounds
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Fitted to training rows and gaps together: without a gap it would learn nothing
            filled = clone(imputer).fit_transform(np.concatenate([asked.train, gaps]))[-len(rows) :]
        answers[method] = filled[hidden][:, None].repeat(len(LEVELS), axis=1)
    for method, quantiles in answers.items():
        error = rows[hidden][:, None] - quantiles
        found.loc[method, "rmse"] = np.sqrt(np.square(error.mean(axis=1)).mean())
        found.loc[method, "absolute"] = np.abs(error[:, LEVELS == 0.5]).mean()
        found.loc[method, "crps"] = 2 * np.maximum(LEVELS * error, (LEVELS - 1) * error).mean()
        if method not in IMPUTERS:
            found.loc[method, "cover"] = ((error[:, 0] >= 0) & (error[:, -1] <= 0)).mean()


def our_quantiles(density: ArrayDensity, rows: Array) -> Array:
    """Return the quantiles of every gap, ``(gaps, levels)``, row by row."""
    found = np.empty((*rows.shape, len(LEVELS)))
    for k, posterior in density.posteriors(Region.of_rows(rows)):
        for d in np.flatnonzero(np.isnan(rows[k])).tolist():
            found[k, d] = posterior.quantiles(d, LEVELS)
    return found[np.isnan(rows)]


def odd_ones(found: pd.DataFrame, asked: Asked, rows: Array, count: int) -> None:
    """Score the first guess of the odd value: ``hit`` is the share of correct guesses.

    One value of every row is swapped for another row's; for ``far`` it is also moved further.
    If there are fewer than ``count`` rows, they are reused with other columns.
    """
    rng, n = asked.rng(len(UNKNOWN) + 1), len(rows)
    others = rows[(np.arange(count) + rng.integers(1, n, count)) % n]
    rows = np.resize(rows, (count, rows.shape[1]))
    odd = chosen(rows.shape, 1, rng)
    scorers: dict[str, Any] = {method: peer.surprise for method, peer in asked.closed.items()}
    scorers["nsf"] = lambda rows: Surprise().answer(asked.ours, Region.of_rows(rows))["surprise"]
    for method, scorer in {"gaussian": odd_cells.gaussian, **DETECTORS}.items():
        scorers[method] = partial(scorer, asked.train)
    for name, moved in (("hit", 0.0), ("far", FAR * np.ptp(asked.train, axis=0))):
        swapped = np.where(odd, others + moved, rows)
        for method, scorer in scorers.items():
            first = scorer(swapped).argmax(axis=1)
            found.loc[method, name] = odd[np.arange(count), first].mean()
