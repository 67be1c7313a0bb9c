"""Sample quality: mode counts on many samples, and two-sample comparisons at equal sizes.

All scores are in the units of the raw data. ``real`` and ``fake`` are ``(n, D)``; the two-sample
scores expect as many of one as of the other.
"""

from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import chi2

from flows.core import seeds
from flows.core.arrays import Array
from flows.evaluation.likelihood import area_under_roc
from flows.mixtures.mixture import Mixture

WITHIN = 3.0  # Mahalanobis distance up to which a sample belongs to a component, in the plane

MODES = ("modes", "high_quality", "mode_tv")
TWO_SAMPLE = (
    "precision",
    "recall",
    "density",
    "coverage",
    "c2st_auc",
    "mmd",
    "energy_distance",
    "sliced_wasserstein",
)


def two_sample_scores(
    real: Array, fake: Array, *, neighbours: int, directions: Array, bandwidth: float
) -> dict[str, float]:
    """Return every comparison of two sets of the same size, in the order of ``TWO_SAMPLE``.

    All are ``NaN`` where a fake is not finite.
    """
    if not np.isfinite(fake).all():
        return dict.fromkeys(TWO_SAMPLE, float("nan"))
    return {
        **neighbour_scores(real, fake, neighbours),
        "c2st_auc": classifier_auc(real, fake, neighbours),
        "mmd": maximum_mean_discrepancy(real, fake, bandwidth),
        "energy_distance": energy_distance(real, fake),
        "sliced_wasserstein": sliced_wasserstein(real, fake, directions),
    }


def mode_mass(samples: Array, truth: Mixture) -> Array:
    """Return the share of the samples ``(n, D)`` in each component, and last in none, ``(K + 1,)``.

    A sample belongs to the component nearest in Mahalanobis distance, or to none where that is
    beyond 3; in other than two dimensions, beyond the distance that holds as much of a Gaussian as
    3 does in the plane, 98.9%. All shares are ``NaN`` where a sample is not finite.
    """
    if not np.isfinite(samples).all():
        return np.full(len(truth.weights) + 1, np.nan)
    whitening = np.linalg.inv(np.linalg.cholesky(truth.covariances))
    components = zip(truth.means, whitening, strict=True)
    away = [np.linalg.norm((samples - mean) @ w.T, axis=1) for mean, w in components]
    distance = np.stack(away)
    dim = samples.shape[1]
    within = WITHIN if dim == 2 else np.sqrt(chi2.ppf(chi2.cdf(WITHIN**2, 2), dim))
    nearest = np.where(distance.min(0) <= within, distance.argmin(0), len(truth.weights))
    return np.bincount(nearest, minlength=len(truth.weights) + 1) / len(samples)


def mode_scores(mass: Array, truth: Mixture) -> dict[str, float]:
    """Return the scores ``MODES`` from the shares ``(K + 1,)`` that ``mode_mass`` gives.

    ``modes``: components with at least 1% of the samples and half their own weight.
    ``high_quality``: share of the samples that belong to a component. ``mode_tv``: total variation
    ``1/2 sum |mass - weight|`` over the components and none. All are ``NaN`` where the shares are.
    """
    if not np.isfinite(mass).all():
        return dict.fromkeys(MODES, float("nan"))
    hit = (mass[:-1] >= 0.01) & (mass[:-1] >= truth.weights / 2)
    return {
        "modes": float(hit.sum()),
        "high_quality": float(1 - mass[-1]),
        "mode_tv": float(0.5 * (np.abs(mass[:-1] - truth.weights).sum() + mass[-1])),
    }


def neighbour_scores(real: Array, fake: Array, neighbours: int) -> dict[str, float]:
    """Return fidelity and diversity by balls that reach each point's k-th neighbour in its own set.

    ``precision``: share of fakes in a real ball; ``recall``: share of reals in a fake ball
    (Kynkaanniemi et al. 2019, equation 2). ``density``: mean number of real balls around a fake,
    over k; ``coverage``: share of real balls that hold a fake (Naeem et al. 2020, equations 3 and
    4).
    """
    between = cdist(real, fake)
    # Column k of the sorted distances is the k-th neighbour, as column 0 is the point itself.
    real_radius = np.sort(cdist(real, real), axis=1)[:, neighbours]
    fake_radius = np.sort(cdist(fake, fake), axis=1)[:, neighbours]
    in_real_ball = between < real_radius[:, None]
    return {
        "precision": float(in_real_ball.any(0).mean()),
        "recall": float((between < fake_radius[None, :]).any(1).mean()),
        "density": float(in_real_ball.sum(0).mean() / neighbours),
        "coverage": float((between.min(1) < real_radius).mean()),
    }


def classifier_auc(real: Array, fake: Array, neighbours: int) -> float:
    """Return the classifier two-sample score by nearest neighbours.

    It is the area under the ROC curve of a classifier that tells ``real`` from ``fake``, ``(n, D)``
    each, by the share of reals among the ``neighbours`` nearest of the other points of both sets.
    It is 1 where the sets are apart.

    Equal distributions score a little less than 0.5, as a real has n - 1 reals and n fakes around
    it: with 5 neighbours in the plane 0.480 on average at n = 50, 0.495 at 200, 0.500 at 2,000.
    Single scores scatter around it by 0.073, 0.037 and 0.012. The more columns there are, the less
    the score depends on the fakes' width, as all points are nearest to those of the narrower set:
    Gaussian fakes twice as wide as the reals score 0.87 in 10 columns, 0.62 in 30, and 0.51 in 64.

    Columns are in units of the standard deviation of ``real``, so that they may have any unit; one
    that is constant there keeps its own. Ties in distance are broken by one random order of all
    points. The mean over all orders would be worse where rows repeat: it takes the chance out of
    the shares but leaves them lower for the reals, and a single column of yes and no, drawn twice,
    scores 0.26 in place of 0.49.

    Source: Lopez-Paz and Oquab 2017; each point is left out in turn, in place of a held-out half.
    """
    count, varies = len(real), np.ptp(real, axis=0) > 0
    order = seeds.numpy_generator(0, "metric").permutation(count + len(fake))
    points = np.concatenate([real, fake])[order] / np.where(varies, real.std(axis=0), 1.0)
    is_real = order < count
    # Nine decimals, so that what is equal on paper is equal on every machine
    distance = cdist(points, points).round(9)
    np.fill_diagonal(distance, np.inf)
    farthest = np.partition(distance, neighbours - 1, axis=1)[:, neighbours - 1, None]
    nearer, equal = distance < farthest, distance == farthest
    places = neighbours - nearer.sum(axis=1, keepdims=True)
    nearest = nearer | (equal & (equal.cumsum(axis=1) <= places))
    score = nearest[:, is_real].sum(axis=1)
    return area_under_roc(score[is_real], score[~is_real])


def maximum_mean_discrepancy(real: Array, fake: Array, bandwidth: float) -> float:
    """Return the unbiased squared MMD with the kernel ``exp(-|x - y|^2 / (2 bandwidth^2))``.

    It is 0 on average for equal distributions. Source: Gretton et al. 2012, equation 3.
    """

    def kernel(a: Array, b: Array) -> Array:
        return np.exp(-cdist(a, b, "sqeuclidean") / (2 * bandwidth**2))

    return _discrepancy(real, fake, kernel)


def kernel_bandwidth(real: Array, truth: Mixture | None) -> float:
    """Return the bandwidth of the MMD.

    It is twice the mean standard deviation of the truth's modes or, where they are unknown, the
    median distance within ``real``, which does not depend on the width of modes.
    """
    if truth is None:
        return float(np.median(cdist(real, real)[np.triu_indices(len(real), 1)]))
    variances = np.trace(truth.covariances, axis1=1, axis2=2) / truth.means.shape[1]
    return float(2 * np.sqrt(variances).mean())


def energy_distance(real: Array, fake: Array) -> float:
    """Return the unbiased ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``.

    It is 0 on average for equal distributions. Source: Szekely and Rizzo 2013, equation 5.
    """
    return -_discrepancy(real, fake, cdist)


def _discrepancy(real: Array, fake: Array, kernel: Callable[[Array, Array], Array]) -> float:
    """Return the unbiased ``E k(X, X') + E k(Y, Y') - 2 E k(X, Y)``.

    Pairs of a point with itself are left out.
    """
    own = kernel(real, real), kernel(fake, fake)
    within = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in own)
    return float(within - 2 * kernel(real, fake).mean())


def unit_directions(count: int, dim: int, rng: np.random.Generator) -> Array:
    """Draw ``count`` uniform directions, as the columns of ``(dim, count)``.

    They are drawn once, so that every model is compared along the same ones.
    """
    directions = rng.standard_normal((dim, count))
    return directions / np.linalg.norm(directions, axis=0)


def sliced_wasserstein(real: Array, fake: Array, directions: Array) -> float:
    """Return the sliced 2-Wasserstein distance over the given ``directions`` ``(D, L)``.

    It is in the units of the data; on a line the k-th point goes to the k-th. Source: Bonneel et
    al. 2015.
    """
    moves = np.sort(real @ directions, axis=0) - np.sort(fake @ directions, axis=0)
    return float(np.sqrt(np.square(moves).mean()))
