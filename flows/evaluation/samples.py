"""Sample quality: mode counts on many samples, and two-sample comparisons at equal sizes.

Scores are in the units of the raw data. ``real`` ``(n, D)`` are rows of the data, called reals, and
``fake`` ``(n, D)`` are samples of a model, called fakes. The two-sample scores expect equally many
reals and fakes.
"""

from collections.abc import Callable

import numpy as np
import scipy
from scipy.special import chdtr, gammaincinv

from flows.core.arrays import Array
from flows.mixtures.mixture import Mixture

WITHIN = 3.0  # Mahalanobis distance up to which a sample belongs to a component, in the plane
TIE = 1e-10  # distance that decides between equal distances; less than their rounding

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
    """Return all two-sample scores of two sets of the same size, in the order of ``TWO_SAMPLE``.

    Args:
        real: rows of the data, ``(n, D)``.
        fake: samples of a model, ``(n, D)``.
        neighbours: k of precision, recall, density, coverage and the classifier.
        directions: the unit vectors of ``sliced_wasserstein``, ``(D, L)``.
        bandwidth: the bandwidth of the kernel of the MMD.

    All scores are ``NaN`` if a value of ``fake`` is not finite.
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
    """Return the share of samples ``(n, D)`` in each component, and last in none, ``(K + 1,)``.

    A sample belongs to the component that is nearest in Mahalanobis distance, or to none if this
    distance is above 3. In other than two dimensions, the limit is the distance that contains as
    much of a Gaussian as 3 does in the plane, 98.9%. All shares are ``NaN`` if a sample is not
    finite.
    """
    if not np.isfinite(samples).all():
        return np.full(len(truth.weights) + 1, np.nan)
    whitening = np.linalg.inv(np.linalg.cholesky(truth.covariances))
    components = zip(truth.means, whitening, strict=True)
    away = [np.linalg.norm((samples - mean) @ w.T, axis=1) for mean, w in components]
    distance = np.stack(away)
    dim = samples.shape[1]
    # The distribution function of chi-square in the plane, and its inverse in D dimensions
    share = chdtr(2, WITHIN**2)
    within = WITHIN if dim == 2 else np.sqrt(2 * gammaincinv(dim / 2, share))
    nearest = np.where(distance.min(0) <= within, distance.argmin(0), len(truth.weights))
    return np.bincount(nearest, minlength=len(truth.weights) + 1) / len(samples)


def mode_scores(mass: Array, truth: Mixture) -> dict[str, float]:
    """Return the scores ``MODES`` from the shares ``(K + 1,)`` that ``mode_mass`` gives.

    ``modes``: number of components with at least 1% of the samples and half their own weight.
    ``high_quality``: share of the samples that belong to a component. ``mode_tv``: total variation
    ``1/2 sum |mass - weight|`` over the components and none. All scores are ``NaN`` if a share is
    ``NaN``.

    Examples:
        >>> import numpy as np
        >>> from flows import Mixture
        >>> from flows.evaluation.samples import mode_mass, mode_scores
        >>> truth = Mixture.isotropic(np.array([[-2.0, 0.0], [2.0, 0.0]]), 0.1)
        >>> mass = mode_mass(np.array([[-2.0, 0.0], [-2.1, 0.0], [-1.9, 0.0], [0.0, 0.0]]), truth)
        >>> mass, mode_scores(mass, truth)["modes"]
        (array([0.75, 0.  , 0.25]), 1.0)
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
    """Return scores of fidelity and diversity from balls around the points of both sets.

    The ball of a point reaches its k-th nearest neighbour in its own set, with k = ``neighbours``.
    ``precision``: share of fakes in a ball of a real; ``recall``: share of reals in a ball of a
    fake (Kynkaanniemi et al. 2019, equation 2). ``density``: mean number of balls of reals that
    contain a fake, divided by k; ``coverage``: share of balls of reals that contain a fake (Naeem
    et al. 2020, equations 3 and 4).

    Examples:
        >>> import numpy as np
        >>> from flows.evaluation.samples import neighbour_scores
        >>> real, fake = np.random.default_rng(0).normal(size=(2, 200, 2)) * [[[1.0]], [[0.1]]]
        >>> scores = neighbour_scores(real, fake, neighbours=5)  # fakes from the centre only
        >>> round(scores["precision"], 2), round(scores["recall"], 2)
        (1.0, 0.06)
    """
    between = scipy.spatial.distance.cdist(real, fake)
    # Column k of the sorted distances is the k-th neighbour; column 0 is the point itself
    real_radius = np.sort(scipy.spatial.distance.cdist(real, real), axis=1)[:, neighbours]
    fake_radius = np.sort(scipy.spatial.distance.cdist(fake, fake), axis=1)[:, neighbours]
    in_real_ball = between < real_radius[:, None]
    return {
        "precision": float(in_real_ball.any(0).mean()),
        "recall": float((between < fake_radius[None, :]).any(1).mean()),
        "density": float(in_real_ball.sum(0).mean() / neighbours),
        "coverage": float((between.min(1) < real_radius).mean()),
    }


def classifier_auc(real: Array, fake: Array, neighbours: int) -> float:
    """Return the score of a classifier two-sample test, with nearest neighbours as classifier.

    The score is the area under the ROC curve of a classifier that separates ``real`` from ``fake``,
    ``(n, D)`` each. The output of the classifier for a point is its mean distance to the k nearest
    fakes, divided by its mean distance to the k nearest reals, with k = ``neighbours`` < n. The
    area is the share of all pairs of a real and a fake in which the real has the larger output.
    Both points of a pair are left out of the neighbours of both, so equal distributions score 0.5
    on average. The score is 1 if the sets are separate.

    With k = 5, the score of 200 points against 200 of the same Gaussian has a standard deviation of
    0.04, in 2 to 64 columns. Gaussian fakes twice as wide as the reals score 0.75 in 2 columns,
    0.95 in 10, and 1.00 in 30 and 64. ``docs/choices.md`` compares other classifiers.

    Columns are divided by the standard deviation of ``real``, so they may have any units; a column
    that is constant in ``real`` is not scaled. With fewer points than columns, these deviations fit
    the reals better than the fakes: equal distributions score 0.54 with 20 points in 64 columns.

    If the mean distances are equal, or both 0 because points have copies, the set with more points
    up to the k-th distance is the nearer one.

    Source: Lopez-Paz and Oquab 2017, with leave-pair-out (Airola et al. 2011) instead of a held-out
    half.

    Examples:
        >>> import numpy as np
        >>> from flows.evaluation.samples import classifier_auc
        >>> real, fake = np.random.default_rng(0).normal(size=(2, 200, 2))
        >>> round(classifier_auc(real, fake, 5), 2), classifier_auc(real, fake + 10, 5)
        (0.5, 1.0)
    """
    scale = np.where(np.ptp(real, axis=0) > 0, real.std(axis=0), 1.0)
    real, fake = real / scale, fake / scale

    def distances(a: Array, b: Array) -> Array:
        # Nine decimals, so that distances that are equal in theory are equal on every machine
        return scipy.spatial.distance.cdist(a, b).round(9)

    def within(points: Array) -> Array:
        """Return the sum for each point over its own set without the point, ``(n,)``."""
        distance = distances(points, points)
        np.fill_diagonal(distance, np.inf)
        nearest = _smallest(distance, neighbours)
        return nearest.sum(axis=1) + TIE * neighbours / _count(distance, nearest[:, -1:])

    def across(distance: Array) -> Array:
        """Return in [i, j] the sum for point i of one set over the other set without point j."""
        nearest = _smallest(distance, neighbours + 1)
        last, following = nearest[:, [-2]], nearest[:, [-1]]
        farther = nearest[:, :-1].sum(axis=1) + TIE * neighbours / _count(distance, last)
        nearer = nearest.sum(axis=1) + TIE * neighbours / (_count(distance, following) - 1)
        return np.where(distance <= last, nearer[:, None] - distance, farther[:, None])

    between = distances(real, fake)
    # In [i, j], the output of the classifier for real i divided by its output for fake j, rounded
    # so that equal outputs tie
    ratio = across(between) * across(between.T).T / np.outer(within(real), within(fake))
    return float(0.5 + np.sign((ratio - 1).round(13)).mean() / 2)


def _count(distance: Array, limit: Array) -> Array:
    """Return the number of values in each row up to the limit of the row, ``(n,)``."""
    return (distance <= limit).sum(axis=1)


def _smallest(distance: Array, count: int) -> Array:
    """Return the ``count`` smallest values of each row in order, ``(n, count)``."""
    return np.sort(np.partition(distance, count - 1, axis=1)[:, :count], axis=1)


def maximum_mean_discrepancy(real: Array, fake: Array, bandwidth: float) -> float:
    """Return the unbiased squared MMD with the kernel ``exp(-|x - y|^2 / (2 bandwidth^2))``.

    Its expectation is 0 for equal distributions. Source: Gretton et al. 2012, equation 3.
    """

    def kernel(a: Array, b: Array) -> Array:
        return np.exp(-scipy.spatial.distance.cdist(a, b, "sqeuclidean") / (2 * bandwidth**2))

    return _discrepancy(real, fake, kernel)


def kernel_bandwidth(real: Array, truth: Mixture | None) -> float:
    """Return the bandwidth of the MMD.

    It is twice the mean standard deviation of the components of ``truth`` or, without a ``truth``,
    the median distance within ``real``, which does not depend on the width of modes.
    """
    if truth is None:
        return float(
            np.median(scipy.spatial.distance.cdist(real, real)[np.triu_indices(len(real), 1)])
        )
    variances = np.trace(truth.covariances, axis1=1, axis2=2) / truth.means.shape[1]
    return float(2 * np.sqrt(variances).mean())


def energy_distance(real: Array, fake: Array) -> float:
    """Return the unbiased estimate of ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``.

    Its expectation is 0 for equal distributions. Source: Szekely and Rizzo 2013, equation 5.
    """
    return -_discrepancy(real, fake, scipy.spatial.distance.cdist)


def _discrepancy(real: Array, fake: Array, kernel: Callable[[Array, Array], Array]) -> float:
    """Return the unbiased estimate of ``E k(X, X') + E k(Y, Y') - 2 E k(X, Y)``.

    Pairs of a point with itself are left out.
    """
    own = kernel(real, real), kernel(fake, fake)
    within = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in own)
    return float(within - 2 * kernel(real, fake).mean())


def unit_directions(count: int, dim: int, rng: np.random.Generator) -> Array:
    """Draw ``count`` uniform directions, as the columns of ``(dim, count)``.

    They are drawn once, so that every model is compared along the same directions.
    """
    directions = rng.standard_normal((dim, count))
    return directions / np.linalg.norm(directions, axis=0)


def sliced_wasserstein(real: Array, fake: Array, directions: Array) -> float:
    """Return the sliced 2-Wasserstein distance over ``directions`` ``(D, L)``.

    It is in the units of the data. Along each direction, the k-th smallest real is matched with the
    k-th smallest fake. Source: Bonneel et al. 2015.
    """
    moves = np.sort(real @ directions, axis=0) - np.sort(fake @ directions, axis=0)
    return float(np.sqrt(np.square(moves).mean()))
