"""Random forests of two classes, the same on every machine: what each says of the points of its fold after the others."""

import math

import numpy as np
import torch

from flows.core.arrays import Array
from flows.kernels.build import call, library
from flows.kernels.interface import Forests, filled


def forest_scores(points: Array, labels: Array, fold: Array, *, trees: int, seed: int) -> Array:
    """How sure the forest that has not seen a point's fold is that it is of class 1, ``(n,)`` from 0 to 1.

    ``points`` ``(n, D)``, finite in single precision; ``labels`` ``(n,)``, 0 or 1; ``fold`` ``(n,)``, 0 to F - 1. A split tries ``floor(sqrt(D))``
    features. Without a compiler, scikit-learn's forests take their place: other random numbers, the same method.
    """
    count, dim = points.shape
    if library() is None:
        return _by_sklearn(points, labels, fold, trees, seed)
    x, score = (
        torch.tensor(points, dtype=torch.float32).contiguous(),
        torch.empty(count, dtype=torch.float64),
    )
    whole = {"labels": labels, "fold": fold, "order": x.numpy().argsort(axis=0, kind="stable").T}
    arrays = {
        name: torch.tensor(array, dtype=torch.int32).contiguous() for name, array in whole.items()
    }
    numbers = {
        "count": count,
        "dim": dim,
        "folds": int(fold.max()) + 1,
        "trees": trees,
        "tries": math.isqrt(dim),
        "seed": seed,
    }
    call("forest_scores", filled(Forests, **numbers, points=x, score=score, **arrays))
    return score.numpy() / trees


def _by_sklearn(points: Array, labels: Array, fold: Array, trees: int, seed: int) -> Array:
    from sklearn.ensemble import RandomForestClassifier

    score = np.empty(len(points))
    for held in range(fold.max() + 1):
        forest = RandomForestClassifier(n_estimators=trees, random_state=seed).fit(
            points[fold != held], labels[fold != held]
        )
        score[fold == held] = forest.predict_proba(points[fold == held])[:, 1]
    return score
