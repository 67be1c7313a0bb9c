"""The 8x8 digits, their splits, and the scores of densities and samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.evaluation import samples
from flows.evaluation.bits import bits_per_dimension
from flows.networks.network_population import NetworkPopulation

LEVELS, PIXELS, CLASSES, SHOWN = 17, 64, 10, 14
Protocol = dict[str, Any]  # the part of that name in params.yaml
LogDensity = Callable[[Array], Array]  # (n, M) in nats of y (n, 64)
CLOSE = 0.05  # a close sample is nearer to a training image than 95% of held-out images are


def split(kind: str, seed: int, train: int, test: int) -> tuple[Array, Array, Array, Array]:
    """Return training images and their digits, then test images and their digits.

    Images are ``(n, 64)`` of whole numbers from 0 to 16, digits ``(n,)``, with n = ``train`` or
    ``test``. ``kind`` is ``random``, or ``contiguous``: then the test images are the last images of
    the file. The images of each of the 13 writers come in runs, so most test writers are new.
    """
    rng, found = np.random.default_rng(seed), load_digits()
    order = rng.permutation(len(found.data)) if kind == "random" else np.arange(len(found.data))
    # In random order, because models hold out the last training images
    learned = rng.permutation(order[:-test])[:train]
    tested = order[-test:]
    return found.data[learned], found.target[learned], found.data[tested], found.target[tested]


@dataclass
class Fitted:
    """A fitted model.

    Args:
        log_q: takes y ``(n, 64)``; returns log-densities ``(n, M)`` in nats. ``None`` if the model
            has no density.
        draw: takes n and a generator; returns samples ``(n, M, 64)`` of whole numbers. ``None`` if
            the model has no sampler.
        population: the population, for models that are networks of this library.
    """

    log_q: LogDensity | None = None
    draw: Callable[[int, np.random.Generator], Array] | None = None
    population: NetworkPopulation | None = None


def dequantised(images: Array, seed: int) -> Array:
    """Return x + u, with u uniform on [0, 1), drawn once."""
    return images + numpy_generator(seed, "folds").random(images.shape)


class Judge:
    """A judge of samples: a small classifier of digits, trained on the training images.

    It is a perceptron 64 -> 64 -> 32 -> 10 with ReLU, trained by Adam with weight decay 0.01. Its
    penultimate layer, 32 numbers per image, is the feature space of the scores.
    """

    def __init__(self, train: Array, digits: Array, neighbours: int, seed: int) -> None:
        self.train, self.neighbours = train, neighbours
        self.network = MLPClassifier((64, 32), alpha=0.01, max_iter=150, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.network.fit(train / (LEVELS - 1), digits)

    def accuracy(self, images: Array, digits: Array) -> float:
        """Return the share of images that are classified correctly."""
        return float(self.network.score(images / (LEVELS - 1), digits))

    def features(self, images: Array) -> Array:
        """Return the penultimate layer ``(n, 32)`` of images ``(n, 64)``."""
        h = images / (LEVELS - 1)
        weights, biases = self.network.coefs_[:-1], self.network.intercepts_[:-1]
        for weight, bias in zip(weights, biases, strict=True):
            h = np.maximum(h @ weight + bias, 0)
        return h

    def shares(self, images: Array) -> Array:
        """Return the share ``(10,)`` of images that are classified as each digit."""
        seen = self.network.predict(images / (LEVELS - 1)).astype(int)
        return np.bincount(seen, minlength=CLASSES) / len(images)

    def nearest(self, images: Array) -> tuple[Array, Array]:
        """Return the nearest training image of each image, and its Euclidean distance in levels."""
        distance = cdist(images, self.train)
        return self.train[distance.argmin(1)], distance.min(1)

    def scores(self, real: Array, fake: Array) -> dict[str, float]:
        """Score ``fake`` images ``(n, 64)`` against equally many held-out ``real`` ones.

        - ``precision``, ``recall``, ``density``, ``coverage``: in the feature space.
        - ``c2st_auc``: by nearest neighbours on pixels.
        - ``class_tv``: total variation between the shares of the digits.
        - ``nearest``: mean distance of a fake to the nearest training image.
        - ``close``: share of fakes closer to a training image than 95% of the real images are.
        - ``digit_k``: share of the digit k.

        All are ``NaN`` if a fake is not finite.
        """
        if not np.isfinite(fake).all():
            return dict.fromkeys(self.scores(real, real), np.nan)  # the same names
        limit = np.quantile(self.nearest(real)[1], CLOSE)
        away = self.nearest(fake)[1]
        shares = self.shares(fake)
        return {
            **samples.neighbour_scores(self.features(real), self.features(fake), self.neighbours),
            "c2st_auc": samples.classifier_auc(real, fake, self.neighbours),
            "class_tv": float(0.5 * np.abs(self.shares(real) - shares).sum()),
            "nearest": float(away.mean()),
            "close": float((away < limit).mean()),
            **{f"digit_{k}": float(share) for k, share in enumerate(shares)},
        }

    def mean_scores(
        self, test: Array, orders: Sequence[NDArray[np.intp]], fakes: Array
    ) -> pd.Series:
        """Return the mean scores over sets of ``fakes`` ``(sets * size, 64)``.

        Set k is compared with the first ``size`` images of ``test`` in the order ``orders[k]``.
        """
        sets = zip(orders, np.split(fakes, len(orders)), strict=True)
        scores = [self.scores(test[order[: len(fake)]], fake) for order, fake in sets]
        return pd.DataFrame(scores).mean(skipna=False)


def densities(
    log_q: LogDensity, images: Array, draws: int, seed: int, noise: Callable[..., Array]
) -> Array:
    """Return ``log_q`` ``(draws, n, M)`` of images ``(n, ...)`` plus ``noise(generator, shape)``.

    The noise depends only on the seed and the shape, so all models are scored with the same noise.
    """
    rng = numpy_generator(seed, "fresh")
    return np.stack([log_q(images + noise(rng, images.shape)) for _ in range(draws)])


def estimates(log_q: Array, name: str = "bits") -> dict[str, Array]:
    """Return bits per dimension ``(n, ...)`` of log-densities ``(draws, n, ...)``.

    ``name`` is the variational bound, and ``name_iw`` the importance-weighted estimate.
    """
    return {
        name: bits_per_dimension(log_q, PIXELS, weighted=False),
        f"{name}_iw": bits_per_dimension(log_q, PIXELS, weighted=True),
    }
