"""The data of replicates, and the scores of their samples.

A replicate is a data set with a seed of its own.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd

from common import splits
from flows.core import seeds
from flows.core.arrays import Array
from flows.core.truth import Truth
from flows.evaluation import samples
from flows.mixtures.mixture import Mixture
from flows.networks import building, registry
from flows.networks.network_population import NetworkPopulation
from studies.engine import Scores

Settings = dict[str, Any]


def seeds_of(protocol: Settings) -> range:
    """Return the data seeds of the replicates."""
    return range(protocol["first"], protocol["first"] + protocol["replicates"])


def data(truth: Truth, protocol: Settings, rows: int) -> tuple[Array, Array]:
    """Return ``rows`` training rows ``(rows, R, D)`` and the test rows of every replicate.

    The split is the one of ``prepare`` with its default seed.
    """
    held = protocol["test"]
    draw = partial(splits.draw_split, truth, rows + held, held, split_seed=0)
    drawn = [draw(seed=seed) for seed in seeds_of(protocol)]
    train, test = (np.stack(part, axis=1) for part in zip(*drawn, strict=True))
    return train, test


def fresh(truth: Truth, protocol: Settings, count: int | None = None) -> Array:
    """Return fresh points, ``count`` or as many as the protocol says: the same for all cells."""
    generator = seeds.numpy_generator(protocol["first"], "fresh")
    return truth.sample(count or protocol["fresh"], generator)


def built(model: str, settings: Settings, members: int, seed: int) -> NetworkPopulation:
    """Build a population over points of the plane."""
    architecture = registry.architecture(model, settings)
    return building.build(architecture, (2,), members=members, seed=seed)


def sample_stream(protocol: Settings, name: str) -> np.random.Generator:
    """Return the random stream of the samples of the model ``name``."""
    return seeds.numpy_generator(protocol["first"], "sample", crc32(name.encode()))


def sample_scores(
    truth: Truth, points: Array, protocol: Settings, comparisons: list[str], modes: list[str]
) -> Scores:
    """Return the scores ``(R,)`` of the samples of every replicate.

    Args:
        truth: the true density.
        points: the samples, ``(n, R, 2)``.
        protocol: the section of that name in ``params.yaml``.
        comparisons: the names of the scores that compare samples with fresh points. They are means
            over ``draws`` sets of samples, each with its own fresh points.
        modes: the names of the scores of modes, which use all samples, if the truth has modes.
    """
    held, draws = protocol["test"], protocol["draws"]
    # The directions and the bandwidth only affect scores that are not reported.
    given = {"neighbours": protocol["neighbours"], "directions": np.eye(2), "bandwidth": 1.0}
    sets = [slice(k * held, (k + 1) * held) for k in range(draws)]
    rows = []
    for seed, own in zip(seeds_of(protocol), points.swapaxes(0, 1), strict=True):
        real = truth.sample(draws * held, seeds.numpy_generator(seed, "metric"))
        each = [samples.two_sample_scores(real[k], own[k], **given) for k in sets]
        scores = dict(pd.DataFrame(each)[comparisons].mean(skipna=False))
        if isinstance(truth, Mixture):
            found = samples.mode_scores(samples.mode_mass(own, truth), truth)
            scores |= {key: found[key] for key in modes}
        rows.append(scores)
    return dict(pd.DataFrame(rows))
