"""The same treatment for every density: margins, folds, an ensemble, and stacking.

The automatic recipe treats our networks like this. Here, another kind of density is a candidate of
the same recipe, so that a difference between the two is due to the density. The density has the
setting with the best held-out score, without margins and with them; both are fitted to the five
folds and stacked.

``fit`` returns the density on three levels, so that the gain of each part can be measured:

- ``plain``: the density without margins, fitted to all rows;
- ``margins``: the density without margins or with them, by the held-out score, fitted to all rows;
- ``treated``: the stacked ensemble.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.neighbors import KernelDensity
from torch import Tensor

from flows import NSF, build
from flows.core.arrays import Array, as_points, as_rows, subsample
from flows.core.settings import FOLDS
from flows.mixtures.bandwidth import LIMITS, rescaled
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population, ensemble_log_prob
from flows.networks.preprocessing import Preprocessing
from flows.networks.to_real import ToReal
from flows.recipe.fold import Fold, Learned, PreparedFold
from flows.recipe.mixture_candidate import MixtureCandidate, Setting
from flows.recipe.noise import NeighbourNoise
from flows.recipe.recipe import learn
from studies.tables import peers
from studies.tables.peers import Density

LEVELS = ("plain", "margins", "treated")
SEED = 0  # of the folds, as the default of flows.fit
FACTORS = (0.7, 1.0, 1.4)  # of the bandwidths of a kernel density
NOISES = (1.2, 0.8, 0.5, 0.35, 0.2)  # levels, and ridges: of the density of the noise
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)


def fit(candidate: MixtureCandidate, train: Array) -> list[Density]:
    """Fit a candidate to rows ``(n, D)``; return a density per level of ``LEVELS``.

    The densities are of rows in their own units. The density of ``treated`` returns the ensemble
    and its members, ``(n, 1 + M)``. Raises ``ValueError`` if no setting can be fitted.
    """
    learned = Learned(train, ToReal(), seed=SEED)
    ensemble, record = learn(learned, [candidate])
    assert record.scores is not None
    if not np.isfinite(record.scores).all():
        raise ValueError(f"no setting can be fitted to {len(train)} rows")
    whole = Fold(learned, np.full(len(train), -1), 0)  # nothing is held out
    kept = [member.settings for member in record.members[::FOLDS]]  # one per preprocessing
    settings = {each["preprocessing"]: each for each in kept}
    best = kept[int(record.scores.mean(axis=0).argmax())]["preprocessing"]

    def level(name: str) -> Density:
        member = candidate.fit_fold(whole, name, settings[name], is_last=True)
        return lambda rows: member.score(rows)[:, 0]

    def treated(rows: Array) -> Array:
        members = ensemble.score(rows)
        mixed = ensemble_log_prob(members, ensemble.member_weights)
        return np.column_stack([mixed, members])

    return [level("raw"), level(best), treated]


# The kinds of densities


class PointDensity(Population):
    """A density of preprocessed points as a population with one member.

    Args:
        log_q: returns the log-densities ``(n,)`` of points ``(n, D)``.
        preprocessing: the map from rows to points.
    """

    def __init__(self, log_q: Callable[[Array], Array], preprocessing: Preprocessing) -> None:
        super().__init__(1, (preprocessing.dim,), {})
        self.log_q, self.preprocessing = log_q, preprocessing

    @torch.no_grad()
    def log_prob(self, value: Any) -> Tensor:
        value = self.points(value).double()
        z, log_det = self.preprocessing(self.features_first(value))
        log_q = torch.from_numpy(self.log_q(as_rows(z))) + log_det[0]
        return log_q.reshape(value.shape[:-1])

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64


class Kernels(MixtureCandidate):
    """Kernel densities with a multiple of the bandwidths of ``column_bandwidths``."""

    def fit_fold(self, fold: Fold, name: str, setting: Setting, *, is_last: bool) -> Population:
        prepared = fold.prepared(name)
        points, bandwidths = prepared.points.double().numpy().T, bandwidths_of(prepared)
        kernel = KernelDensity(bandwidth=setting["factor"]).fit(points / bandwidths)

        def log_q(z: Array) -> Array:
            scores: Array = kernel.score_samples(z / bandwidths)
            return scores - np.log(bandwidths).sum()

        return PointDensity(log_q, prepared.by_column())

    def search(self, score: Callable[..., float], *others: Any) -> Setting:
        return max(({"factor": factor} for factor in FACTORS), key=score)


@cache
def bandwidths_of(prepared: PreparedFold) -> Array:
    """Return the bandwidths of a fold, which all settings share."""
    return column_bandwidths(prepared.points.double().numpy().T)


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


class Noises(MixtureCandidate):
    """The densities that ``NeighbourNoise`` draws from, with a ridge (``noise_density``)."""

    def fit_fold(self, fold: Fold, name: str, setting: Setting, *, is_last: bool) -> Population:
        prepared = fold.prepared(name)
        mixture = noise_density(prepared.of_neighbours, setting["noise"], setting["ridge"])
        return GaussianMixture.of(mixture, prepared.by_column())

    def search(self, score: Callable[..., float], *others: Any) -> Setting:
        settings = [{"noise": level, "ridge": ridge} for level in NOISES for ridge in RIDGES]
        return max(settings, key=score)


def noise_density(noise: NeighbourNoise, level: float, ridge: float) -> Mixture:
    """Return the density that ``NeighbourNoise`` draws from, at a level h and with a ridge e::

        q(x) = 1/n sum_i N(x; x_i + (h^2 / 2) m_i, h^2 C_i + e I)

    m_i and C_i are the mean and the second moments of the differences to the nearest neighbours.
    """
    points = noise.points.astype(np.float64)
    differences = noise.reference[noise.nearest].astype(np.float64) - points[:, None]
    mean = differences.sum(axis=1) / noise.count  # the point itself, with difference 0, is one more
    moments = np.einsum("nkc,nkd->ncd", differences, differences) / noise.count
    covariances = level**2 * moments + ridge * np.eye(points.shape[1])
    return Mixture(np.full(len(points), 1 / len(points)), points + level**2 / 2 * mean, covariances)


def networks(train: Array) -> list[Density]:
    """Fit one NSF to rows ``(n, D)``, as another library's flow; return a density per level.

    The levels are ``plain`` and ``margins``. Training stops early, by the score of a held-out
    tenth, which also decides whether the fit of ``margins`` has margins.
    """

    def fitted(margins: bool) -> Density:
        torch.manual_seed(SEED)
        maps = Preprocessing(train.shape[1:], 1)
        if margins:
            maps.add_margins()
        maps.fit(train[:, None], margins=margins)
        points = as_rows(maps(as_points(train))[0]).copy()
        network = build(NSF(), train.shape[1:], seed=SEED)
        density = peers.early_stopped(network, lambda z: network.log_prob(z)[:, 0], points)
        member = PointDensity(density, maps)
        return lambda rows: member.score(rows)[:, 0]

    held_out = peers.held(train, 0.1)[1]
    both = [fitted(margins) for margins in (False, True)]
    return [both[0], max(both, key=lambda density: density(held_out).mean())]


METHODS: dict[str, MixtureCandidate] = {
    "mixture": MixtureCandidate(),
    "kernel": Kernels(),
    "noise": Noises(),
}
