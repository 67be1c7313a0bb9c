"""True conditional densities p(y | x), with the rows and the splits of a published comparison.

Source: arXiv 2603.26611 and its repository, github.com/rizbicki/tabDensityComparisons. The columns
of x ``(n, d)`` are standard normal. With the noise e ~ N(0, 1)::

    bimodal          y ~ 1/2 N(x0 + x1, 1/4) + 1/2 N(x1 - x0, 1/4)
    heteroscedastic  y = x beta + (1/2 + |x0|) e,  beta ~ N(0, 1/4) per column
    skewed           y = x1 + g,  g ~ Gamma(shape 2 + |x0|, scale 1/2)
    linear           y = x beta + e,  beta ~ N(0, 1) per column
    nonlinear        y = sin(2 x0) + x1^2 + x2 / 2 + (3 + 3 |cos x0|) / 10 e
    interaction      y = x0 x1 + x1 x2 / 2 + 3 x0 / 10 + (3 + 5 |x0 x1|) / 10 e

A set is a truth with a number of columns, such as ``bimodal_5``. Its rows are fixed: a set of n
rows has the first n of ``DRAWN`` rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import logsumexp
from sklearn.model_selection import train_test_split

from flows.core.arrays import Array, Whole
from flows.core.errors import UserError

TRUTHS = ("bimodal", "heteroscedastic", "skewed", "linear", "nonlinear", "interaction")
COLUMNS = (5, 10)
DRAWN = 25_000  # rows that are drawn; their order in the random stream depends on the number
PARAMETERS, ROWS = 42, 1042  # seeds
TEST = 0.25  # share of the test rows


@dataclass(frozen=True)
class Truth:
    """The truth ``name`` with ``columns`` columns of x."""

    name: str
    columns: int

    @property
    def beta(self) -> Array:
        scale = {"heteroscedastic": 0.5, "linear": 1.0}[self.name]
        return scale * np.random.RandomState(PARAMETERS).randn(self.columns)

    def components(self, x: Array) -> list[Any]:
        """Return the distributions of y given each row of x ``(m, d)``, equally weighted.

        Each is a distribution of SciPy with parameters of shape ``(m, 1)``.
        """
        first, second, third = x[:, :3].T[:, :, None]
        match self.name:
            case "bimodal":
                return [stats.norm(second + first, 0.5), stats.norm(second - first, 0.5)]
            case "heteroscedastic":
                return [stats.norm((x @ self.beta)[:, None], 0.5 + np.abs(first))]
            case "skewed":
                return [stats.gamma(2 + np.abs(first), second, 0.5)]
            case "linear":
                return [stats.norm((x @ self.beta)[:, None], 1)]
            case "nonlinear":
                mean = np.sin(2 * first) + second**2 + third / 2
                return [stats.norm(mean, 0.3 + 0.3 * np.abs(np.cos(first)))]
            case _:
                mean = first * second + second * third / 2 + 0.3 * first
                return [stats.norm(mean, 0.3 + 0.5 * np.abs(first * second))]

    def log_prob(self, x: Array, y: Array) -> Array:
        """Return log p(y | x) in nats, ``(m, k)``, of values ``y`` ``(m, k)`` for rows ``x``."""
        with np.errstate(divide="ignore"):  # of a gamma distribution, below its smallest value
            each = [part.logpdf(y) for part in self.components(x)]
        return np.asarray(logsumexp(each, axis=0) - np.log(len(each)))

    def sample(self, x: Array, generator: np.random.Generator) -> Array:
        """Return one y per row of ``x``, ``(m,)``."""
        drawn = [part.rvs((len(x), 1), generator) for part in self.components(x)]
        which = generator.integers(len(drawn), size=len(x))
        return np.asarray(np.stack(drawn)[which, np.arange(len(x)), 0])

    def rows(self) -> tuple[Array, Array]:
        """Return the fixed rows: x ``(DRAWN, d)`` and y ``(DRAWN,)``."""
        state = np.random.RandomState(ROWS)
        x = state.randn(DRAWN, self.columns)
        parts = self.components(x)
        if self.name == "skewed":
            shape, shift, scale = (np.ravel(each) for each in parts[0].args)
            return x, shift + state.gamma(shape, scale)
        is_first = state.binomial(1, 0.5, DRAWN) if self.name == "bimodal" else None
        location = [(np.ravel(a), np.ravel(b)) for a, b in (part.args for part in parts)]
        drawn = [mean + deviation * state.randn(DRAWN) for mean, deviation in location]
        return x, drawn[0] if is_first is None else np.where(is_first, *drawn)


@cache
def load(name: str) -> tuple[Truth, Array, Array]:
    """Return the truth of a set such as ``bimodal_5``, and its fixed rows x and y.

    Raises ``UserError`` if there is no such set.
    """
    if name not in NAMES:
        raise UserError(f"there is no set {name!r}; the sets are: {', '.join(NAMES)}")
    kind, columns = name.split("_")
    truth = Truth(kind, int(columns))
    return truth, *truth.rows()


def split(rows: int, number: int) -> Sequence[Whole]:
    """Return the numbers of the training rows and of the test rows of split ``number``."""
    return train_test_split(np.arange(rows), test_size=TEST, random_state=number)  # type: ignore[no-any-return]


NAMES = tuple(f"{name}_{columns}" for name in TRUTHS for columns in COLUMNS)
