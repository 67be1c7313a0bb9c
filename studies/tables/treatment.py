"""The same treatment for every density: margins, folds, an ensemble, and stacking.

The automatic recipe treats our networks like this. Here, another kind of density gets the same
treatment, on the same folds, so that a difference between the two is due to the density:

- *Folds.* A candidate is a setting of the density, without margins or with them. It is fitted to
  four fifths of the rows, the scaler and the margins included, and scored on the held-out fifth.
- *Ensemble.* Two candidates are kept, with five models each. ``stacking.py`` selects and weights
  them by the held-out rows of all folds.

``fit`` returns the density on three levels, so that the gain of each part can be measured:

- ``plain``: the candidate without margins with the best held-out score, fitted to all rows;
- ``margins``: the candidate with the best held-out score, fitted to all rows;
- ``treated``: the stacked ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.neighbors import KernelDensity

from flows import NSF, build
from flows.core.arrays import Array, Whole, as_points, as_rows, subsample
from flows.core.settings import FOLDS
from flows.mixtures.bandwidth import LIMITS, rescaled
from flows.mixtures.fitting import COMPONENTS, RIDGES, fit_mixture
from flows.mixtures.mixture import Mixture
from flows.networks.population import ensemble_log_prob
from flows.networks.preprocessing import Preprocessing
from flows.recipe import stacking
from flows.recipe.noise import NeighbourNoise
from flows.recipe.recipe import cut_into_folds, groups_of
from studies.tables import peers
from studies.tables.peers import Density

LEVELS = ("plain", "margins", "treated")
KEPT = 2  # candidates in an ensemble, as in an ensemble of ten networks
SEED = 0  # of the folds, as the default of flows.fit


@dataclass(frozen=True)
class Method:
    """A kind of density, which is fitted with several settings.

    Args:
        fit: takes rows ``(n, D)`` and settings; returns a density per setting, in this order.
        settings: the settings to choose from.
        last: keywords of ``fit`` for the fits that are kept.
    """

    fit: Callable[..., Iterable[Density]]
    settings: Sequence[Any]
    last: Mapping[str, Any] = field(default_factory=dict)


class Points:
    """The map from rows to the points that a density is fitted to.

    The map scales the rows, and optionally makes every column about normal (margins).

    Args:
        rows: the rows ``(n, D)`` that the map is fitted to.
        margins: whether there are margins.
    """

    def __init__(self, rows: Array, margins: bool) -> None:
        self.map = Preprocessing(rows.shape[1:], 1)
        if margins:
            self.map.add_margins()
        self.map.fit(rows[:, None], margins=margins)
        self.learned = self(rows)[0]

    @torch.no_grad()
    def __call__(self, rows: Array) -> tuple[Array, Array]:
        """Return the points ``(n, D)`` of rows, and the log-determinants of the map, ``(n,)``."""
        z, log_det = self.map(as_points(rows))
        return as_rows(z).copy(), log_det[0].expand(len(rows)).numpy()

    def density(self, of_points: Density) -> Density:
        """Return the density of rows for a density of points."""

        def log_q(rows: Array) -> Array:
            z, log_det = self(rows)
            return of_points(z) + log_det

        return log_q


def fit(method: Method, train: Array) -> list[Density]:
    """Fit a method to rows ``(n, D)``; return a density per level of ``LEVELS``.

    The densities are of rows in their own units. The density of ``treated`` returns the ensemble
    and its members, ``(n, 1 + M)``. Raises ``ValueError`` if no setting can be fitted.
    """
    fold_of = cut_into_folds(groups_of(train), SEED)
    candidates = [*product((False, True), method.settings)]
    scores = np.empty((len(train), len(candidates)))
    for number in range(FOLDS):
        learned, held_out = train[fold_of != number], fold_of == number
        for margins in (False, True):
            points = Points(learned, margins)
            z, log_det = points(train[held_out])
            fitted = method.fit(points.learned, method.settings)
            own = [c for c, candidate in enumerate(candidates) if candidate[0] == margins]
            for c, density in zip(own, fitted, strict=True):
                scores[held_out, c] = density(z) + log_det
    finite = np.flatnonzero(np.isfinite(scores).all(axis=0)).tolist()
    plain = [c for c in finite if not candidates[c][0]]
    if not plain:
        raise ValueError(f"no setting can be fitted to {len(train)} rows: {method.settings}")

    def best(places: Sequence[int]) -> Density:
        margins, setting = candidates[max(places, key=lambda c: scores[:, c].mean())]
        return last_fit(method, setting, train, margins)

    kept = [candidates[finite[c]] for c in stacking.chosen(scores[:, finite], KEPT)]
    return [best(plain), best(finite), stacked(method, kept, train, fold_of)]


def last_fit(method: Method, setting: Any, rows: Array, margins: bool) -> Density:
    """Fit a candidate that is kept; return the density of rows."""
    points = Points(rows, margins)
    (density,) = method.fit(points.learned, [setting], **method.last)
    return points.density(density)


def stacked(
    method: Method, kept: Sequence[tuple[bool, Any]], train: Array, fold_of: Whole
) -> Density:
    """Return the ensemble of the candidates, with one model per candidate and fold."""
    models = [
        [last_fit(method, setting, train[fold_of != number], margins) for number in range(FOLDS)]
        for margins, setting in kept
    ]
    scores = np.empty((len(train), len(kept)))
    for number, held_out in enumerate(fold_of == np.arange(FOLDS)[:, None]):
        scores[held_out] = np.stack([own[number](train[held_out]) for own in models], axis=1)
    weights = np.repeat(stacking.weights(scores) / FOLDS, FOLDS)

    def log_q(rows: Array) -> Array:
        members = np.stack([model(rows) for own in models for model in own], axis=1)
        return np.column_stack([ensemble_log_prob(members, weights), members])

    return log_q


# The kinds of densities


def mixtures(
    points: Array, settings: Sequence[tuple[int, float]], starts: int = 1
) -> Iterator[Density]:
    """Fit mixtures of Gaussians with these numbers of components and ridges."""
    for components, ridge in settings:
        try:
            yield fit_mixture(points, components, ridge=ridge, starts=starts).log_prob
        except ValueError:  # a covariance is singular despite the ridge, or there are few rows
            yield lambda rows: np.full(len(rows), -np.inf)


def kernels(points: Array, factors: Sequence[float]) -> Iterator[Density]:
    """Fit kernel densities with ``factors`` times the bandwidths of ``column_bandwidths``."""
    bandwidths = column_bandwidths(points)
    log_scale = np.log(bandwidths).sum()
    for factor in factors:
        kernel = KernelDensity(bandwidth=factor).fit(points / bandwidths)

        def log_q(z: Array, kernel: KernelDensity = kernel) -> Array:
            return kernel.score_samples(z / bandwidths) - log_scale

        yield log_q


def column_bandwidths(points: Array, most: int = 1_000) -> Array:
    """Return a bandwidth h_d per column of ``points`` ``(n, D)``, ``(D,)``::

        h = argmax  1/n sum_i log 1/(n-1) sum_{j != i} prod_d N(x_id; x_jd, h_d^2)

    This is the leave-one-out likelihood, and each h_d is within ``LIMITS``. A subsample of at most
    ``most`` points is used, and the result is rescaled to all points as in
    ``flows/mixtures/bandwidth.py``.
    """
    few = subsample(points, most)

    def loss(log_h: Array) -> tuple[float, Array]:
        scaled = few / np.exp(log_h)
        log_kernels = -0.5 * cdist(scaled, scaled, "sqeuclidean")
        np.fill_diagonal(log_kernels, -np.inf)
        log_sum = logsumexp(log_kernels, axis=1)
        shares = np.exp(log_kernels - log_sum[:, None])
        # sum_j shares_ij (x_id - x_jd)^2 / h_d^2
        spread = scaled**2 - 2 * scaled * (shares @ scaled) + shares @ scaled**2
        return log_h.sum() - log_sum.mean(), 1 - spread.mean(axis=0)

    start = np.full(points.shape[1], np.log(np.sqrt(LIMITS[0] * LIMITS[1])))
    bounds = [tuple(np.log(LIMITS))] * points.shape[1]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return rescaled(np.exp(found.x), few, points)


def noises(points: Array, settings: Sequence[tuple[float, float]]) -> Iterator[Density]:
    """Return the densities that ``NeighbourNoise`` draws from, at these levels h and ridges e::

        q(x) = 1/n sum_i N(x; x_i + (h^2 / 2) m_i, h^2 C_i + e I)

    m_i and C_i are the mean and the second moments of the differences to the nearest neighbours.
    """
    noise = NeighbourNoise(points)
    differences = noise.reference[noise.nearest].astype(np.float64) - points[:, None]
    mean = differences.sum(axis=1) / noise.count  # the point itself, with difference 0, is one more
    moments = np.einsum("nkc,nkd->ncd", differences, differences) / noise.count
    weights = np.full(len(points), 1 / len(points))
    for level, ridge in settings:
        covariances = level**2 * moments + ridge * np.eye(points.shape[1])
        yield Mixture(weights, points + level**2 / 2 * mean, covariances).log_prob


def networks(train: Array) -> list[Density]:
    """Fit one NSF to rows ``(n, D)``, as another library's flow; return a density per level.

    The levels are ``plain`` and ``margins``. Training stops early, by the score of a held-out
    tenth, which also decides whether the fit of ``margins`` has margins.
    """

    def fitted(margins: bool) -> Density:
        torch.manual_seed(SEED)
        points = Points(train, margins)
        network = build(NSF(), train.shape[1:], seed=SEED)
        density = peers.early_stopped(network, lambda z: network.log_prob(z)[:, 0], points.learned)
        return points.density(density)

    held_out = peers.held(train, 0.1)[1]
    both = [fitted(margins) for margins in (False, True)]
    return [both[0], max(both, key=lambda density: density(held_out).mean())]


METHODS = {
    "mixture": Method(mixtures, [*product(COMPONENTS[:9], RIDGES)], {"starts": 5}),
    "kernel": Method(kernels, (0.7, 1.0, 1.4)),
    "noise": Method(noises, [*product((1.2, 0.8, 0.5, 0.35, 0.2), (1e-4, 1e-3, 1e-2, 1e-1))]),
}
