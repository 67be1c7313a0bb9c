"""The 8x8 digits, their splits, and how densities and samples of them are scored."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.evaluation import samples
from flows.evaluation.images import bits_per_dimension
from flows.networks.network import Network
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

LEVELS, PIXELS, CLASSES, SHOWN = 17, 64, 10, 14
SCORES = (
    "precision",
    "recall",
    "density",
    "coverage",
    "c2st_auc",
    "class_tv",
    "nearest",
    "close",
    *(f"digit_{k}" for k in range(CLASSES)),
)
Protocol = dict[str, Any]  # of params.yaml
CLOSE = 0.05  # share of the held-out images that are nearer to a training image than what counts as close


def split(kind: str, seed: int, train: int, test: int) -> tuple[Array, Array, Array, Array]:
    """Training images ``(train, 64)`` of whole numbers from 0 to 16, their digits ``(train,)``, and ``test`` images and digits.

    ``contiguous``: the last images of the file, whose 13 writers come in runs, are the test images, so most of their writers are new.
    """
    rng, found = np.random.default_rng(seed), load_digits()
    order = rng.permutation(len(found.data)) if kind == "random" else np.arange(len(found.data))
    learned, held = (
        rng.permutation(order[:-test])[:train],
        order[-test:],
    )  # in random order: who holds some out takes the last
    return found.data[learned], found.target[learned], found.data[held], found.target[held]


@dataclass
class Fitted:
    """``log_q``: log-densities ``(n, M)`` in nats of y ``(n, 64)``, ``None`` where there is none;
    ``draw``: ``(n, M, 64)`` whole images.
    """

    log_q: Callable[[Array], Array] | None = None
    draw: Callable[[int, np.random.Generator], Array] | None = None
    network: Network | None = None


def spread(images: Array, seed: int) -> Array:
    """x + u, with u drawn once."""
    return images + numpy_generator(seed, "folds").random(images.shape)


class Judge:
    """Scores of samples by a small classifier of digits, trained on the training images: 64 -> 64 -> 32 -> 10, ReLU, Adam, weight decay 0.01.

    Its penultimate layer, 32 numbers an image, is the space of features.
    """

    def __init__(self, train: Array, digits: Array, neighbours: int, seed: int) -> None:
        self.train, self.neighbours, self.seed = train, neighbours, seed
        self.network = MLPClassifier((64, 32), alpha=0.01, max_iter=150, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.network.fit(train / (LEVELS - 1), digits)

    def accuracy(self, images: Array, digits: Array) -> float:
        return float(self.network.score(images / (LEVELS - 1), digits))

    def features(self, images: Array) -> Array:
        """The penultimate layer ``(n, 32)`` of images ``(n, 64)``."""
        h = images / (LEVELS - 1)
        for weight, bias in zip(
            self.network.coefs_[:-1], self.network.intercepts_[:-1], strict=True
        ):
            h = np.maximum(h @ weight + bias, 0)
        return h

    def shares(self, images: Array) -> Array:
        """How often each digit is seen, ``(10,)``."""
        return np.bincount(
            self.network.predict(images / (LEVELS - 1)).astype(int), minlength=CLASSES
        ) / len(images)

    def nearest(self, images: Array) -> tuple[Array, Array]:
        """The nearest training image of each, and how far it is: Euclidean, in levels."""
        distance = cdist(images, self.train)
        return self.train[distance.argmin(1)], distance.min(1)

    def scores(self, real: Array, fake: Array) -> dict[str, float]:
        """Of ``fake`` images ``(n, 64)`` against as many held-out ``real`` ones.

        ``precision``, ``recall``, ``density``, ``coverage``: among features. ``c2st_auc``: a forest on pixels. ``class_tv``: total variation between
        the shares of the digits. ``nearest``: mean distance of a fake to the nearest training image; ``close``: share of fakes that are closer to one
        than 95% of the real images are. ``digit_k``: share of the digit k. All ``NaN`` where a fake is not finite.
        """
        if not np.isfinite(fake).all():
            return dict.fromkeys(SCORES, np.nan)
        limit, away, shares = (
            np.quantile(self.nearest(real)[1], CLOSE),
            self.nearest(fake)[1],
            self.shares(fake),
        )
        return {
            **samples.neighbour_scores(self.features(real), self.features(fake), self.neighbours),
            "c2st_auc": samples.classifier_auc(real, fake, self.seed),
            "class_tv": float(0.5 * np.abs(self.shares(real) - shares).sum()),
            **{"nearest": float(away.mean()), "close": float((away < limit).mean())},
            **{f"digit_{k}": float(share) for k, share in enumerate(shares)},
        }

    def mean_scores(
        self, held: Array, orders: Sequence[NDArray[np.intp]], fakes: Array
    ) -> dict[str, float]:
        """Means over sets of ``fakes`` ``(sets size, 64)``, each against the ``held`` images that come first in an order of its own."""
        sets = zip(orders, np.split(fakes, len(orders)), strict=True)
        scores = [self.scores(held[order[: len(fake)]], fake) for order, fake in sets]
        return {key: float(np.mean([each[key] for each in scores])) for key in SCORES}


def densities(
    log_q: Callable[[Array], Array],
    images: Array,
    draws: int,
    seed: int,
    noise: Callable[..., Array],
) -> Array:
    """``log_q`` ``(draws, n, M)`` of images and ``noise(generator, shape)``, the same for all rows."""
    rng = numpy_generator(seed, "fresh")
    return np.stack([log_q(images + noise(rng, images.shape)) for _ in range(draws)])


def estimates(log_q: Array, name: str = "bits") -> dict[str, Array]:
    """Bits per dimension ``(n, ...)`` of log-densities ``(draws, n, ...)``: the bound, and importance weighted."""
    return {
        name + end: bits_per_dimension(log_q, PIXELS, weighted=bool(end)) for end in ("", "_iw")
    }
