"""The conditional densities that ours are compared with.

Each fit takes standardised training rows: x ``(n, D)`` and a target y ``(n,)``. Settings are the
defaults of the package, or are chosen on held-out training rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
from scipy import stats
from scipy.integrate import cumulative_trapezoid
from scipy.special import logsumexp, ndtr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, train_test_split

from flows.core.arrays import Array


class Distribution(Protocol):
    """The distributions of y given m rows; ``scipy.stats.norm`` with means ``(m, 1)`` is one.

    Both methods take k values per row, ``(m, k)``, and return ``(m, k)``.
    """

    def logpdf(self, y: Array) -> Array: ...

    def cdf(self, y: Array) -> Array: ...


Peer = Callable[[Array], Distribution]  # takes rows x (m, D)
Fit = Callable[[Array, Array], Peer]
FOLDS, HELD_OUT = 5, 0.2
# Quantile forest
LEAVES = (1, 3, 5, 10, 20)  # smallest leaves to choose from
BANDWIDTHS = np.geomspace(0.05, 1, 12)
LEVELS = (np.arange(100) + 0.5) / 100  # of the quantiles that the kernels are placed on
# NGBoost
TREES, PATIENCE = 2000, 50
# FlexCode
BASIS, TREES_PER_BASIS, DEPTH, POINTS = 30, 100, 8, 1000
BUMPS, SHARPNESS = np.linspace(0, 0.2, 5), np.linspace(0.5, 2, 7)


@dataclass(frozen=True)
class Kernels:
    """The mean of normal densities around ``centers`` ``(m, c)``, with the deviation ``width``."""

    centers: Array
    width: float

    def logpdf(self, y: Array) -> Array:
        each = [logsumexp(-0.5 * self._z(values) ** 2, axis=1) for values in y.T]
        count = self.centers.shape[1]
        return np.stack(each, axis=1) - np.log(count * self.width * np.sqrt(2 * np.pi))

    def cdf(self, y: Array) -> Array:
        return np.stack([ndtr(self._z(values)).mean(axis=1) for values in y.T], axis=1)

    def _z(self, values: Array) -> Array:
        return np.asarray((values[:, None] - self.centers) / self.width)


@dataclass(frozen=True)
class OnGrid:
    """Densities ``(m, POINTS)`` at equally spaced points ``(POINTS,)``, 0 beyond the points."""

    points: Array
    density: Array

    def logpdf(self, y: Array) -> Array:
        pairs = zip(y, self.density, strict=True)
        with np.errstate(divide="ignore"):
            return np.log([np.interp(v, self.points, q, left=0, right=0) for v, q in pairs])

    def cdf(self, y: Array) -> Array:
        below = cumulative_trapezoid(self.density, self.points, initial=0)
        return np.array([np.interp(v, self.points, f) for v, f in zip(y, below, strict=True)])


def linear(x: Array, y: Array) -> Peer:
    """Fit a linear mean and a constant deviation, by least squares."""
    model = LinearRegression().fit(x, y)
    freedom = len(y) - model.rank_ - 1
    deviation = np.sqrt(np.sum((y - model.predict(x)) ** 2) / freedom)
    return lambda rows: stats.norm(model.predict(rows)[:, None], deviation)


def forest(x: Array, y: Array) -> Peer:
    """Fit a quantile regression forest (Meinshausen 2006), with a density from kernels.

    The density is the mean of normal densities around the quantiles of 100 levels. The smallest
    leaf and the bandwidth are those with the best likelihood in cross-validation.
    """
    from quantile_forest import RandomForestQuantileRegressor

    def quantiles(rows: Array, values: Array, leaf: int) -> Callable[[Array], Array]:
        model = RandomForestQuantileRegressor(min_samples_leaf=leaf, random_state=0, n_jobs=1)
        model.fit(rows, values)
        return lambda new: np.asarray(model.predict(new, quantiles=[*LEVELS]))

    scores: dict[tuple[int, float], float] = dict.fromkeys(product(LEAVES, BANDWIDTHS), 0.0)
    for learned, held_out in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        for leaf in LEAVES:
            centers = quantiles(x[learned], y[learned], leaf)(x[held_out])
            for width in BANDWIDTHS:
                found = Kernels(centers, width).logpdf(y[held_out][:, None])
                scores[leaf, width] += found.sum()
    leaf, width = max(scores, key=lambda key: scores[key])
    centers_of = quantiles(x, y, leaf)
    return lambda rows: Kernels(centers_of(rows), width)


def boosting(x: Array, y: Array) -> Peer:
    """Fit NGBoost (Duan et al. 2020) with normal densities.

    The number of trees is the best one on a held-out fifth; the model is then fitted to all rows.
    """
    from ngboost import NGBRegressor

    learned, held_out = train_test_split(np.arange(len(y)), test_size=HELD_OUT, random_state=0)
    trial = NGBRegressor(n_estimators=TREES, random_state=0, verbose=False)
    own = (x[learned], y[learned])
    trial.fit(*own, X_val=x[held_out], Y_val=y[held_out], early_stopping_rounds=PATIENCE)
    trees = TREES if trial.best_val_loss_itr is None else trial.best_val_loss_itr + 1
    model = NGBRegressor(n_estimators=trees, random_state=0, verbose=False).fit(x, y)

    def normal(rows: Array) -> Distribution:
        found = model.pred_dist(rows)
        return stats.norm(found.loc[:, None], found.scale[:, None])

    return normal


def process(x: Array, y: Array) -> Peer:
    """Fit a Gaussian process with an RBF kernel, one length per column, and noise."""
    kernel = ConstantKernel() * RBF(np.ones(x.shape[1])) + WhiteKernel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a column without effect has a length at its bound
        model = GaussianProcessRegressor(kernel, random_state=0).fit(x, y)

    def normal(rows: Array) -> Distribution:
        mean, deviation = model.predict(rows, return_std=True)
        return stats.norm(mean[:, None], deviation[:, None])

    return normal


def flexcode(x: Array, y: Array) -> Peer:
    """Fit FlexCode (Izbicki and Lee 2017): cosines, whose coefficients random forests predict.

    The cosines, the removal of bumps and the sharpening are chosen by the CDE loss on a held-out
    fifth; the forests are then fitted to all rows. The density is 0 outside the range of the
    training values, wider by 5% at each end.
    """
    from flexcode import FlexCodeModel
    from flexcode.regression_models import RandomForest
    from joblib import parallel_config

    more = 0.05 * np.ptp(y)
    low, width = y.min() - more, np.ptp(y) + 2 * more
    unit = (y - low) / width  # FlexCode tunes correctly on the unit interval only
    count = min(BASIS, max(15, int(np.sqrt(len(y)))))
    settings = {"n_estimators": TREES_PER_BASIS, "max_depth": DEPTH, "random_state": 0}

    def build(cosines: int) -> FlexCodeModel:
        options = {"z_min": 0.0, "z_max": 1.0, "regression_params": settings}
        return FlexCodeModel(RandomForest, cosines, **options)

    learned, held_out = train_test_split(np.arange(len(y)), test_size=HELD_OUT, random_state=0)
    with parallel_config(backend="sequential"):
        trial = build(count)
        trial.fit(x[learned], unit[learned])
        trial.tune(x[held_out], unit[held_out], BUMPS, SHARPNESS)
        model = build(max(trial.best_basis) + 1)
        for chosen in ("best_basis", "bump_threshold", "sharpen_alpha"):
            setattr(model, chosen, getattr(trial, chosen))
        model.fit(x, unit)

    def on_grid(rows: Array) -> OnGrid:
        with parallel_config(backend="sequential"):
            density, points = model.predict(rows, POINTS)
        return OnGrid(low + width * points[:, 0], density / width)

    return on_grid


FITS: dict[str, Fit] = {
    "linear": linear,
    "forest": forest,
    "boosting": boosting,
    "process": process,
    "flexcode": flexcode,
}
