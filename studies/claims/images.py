"""Scores of a variant of a flow over images: one population, with one member per split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from flows.bijections import ActNorm
from flows.bijections.chain import Chain
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.networks.network_population import NetworkPopulation
from studies.digits import digits, networks


def variant(
    model: str,
    training: dict[str, Any],
    protocol: dict[str, Any],
    settings: dict[str, Any] | None = None,
    shape: tuple[int, ...] = (1, 8, 8),
    actnorm: bool = True,
    smooth: bool = False,
) -> dict[str, Array]:
    """Train a variant and return its scores, one number per replicate.

    Args:
        model: name of the model.
        training: training settings.
        protocol: the section of that name in ``params.yaml``.
        settings: settings of the architecture that differ from its defaults.
        shape: shape of an image.
        actnorm: whether a Glow keeps its ActNorms.
        smooth: add noise to the pixels that makes their density smooth (``smooth_noise``); samples
            are not scored then.
    """
    first, members = protocol["first"], range(protocol["replicates"])
    size = protocol["train"], protocol["test"]
    parts = [digits.split("random", first + r, *size) for r in members]
    train, test = (np.stack([part[k] for part in parts], axis=1) for k in (0, 2))  # (n, R, 64)
    population = networks.build(model, shape, settings, members, first)
    if not actnorm:
        without_actnorm(population)
    if smooth:
        smoothed(population)
    fitted = networks.fit(model, population, training, train, None, first)
    rows: dict[str, Any] = {}
    if fitted.log_q:
        noise = smooth_noise if smooth else np.random.Generator.random
        log_q = digits.densities(fitted.log_q, test, protocol["draws"], first, noise)
        rows |= {key: bits.mean(0) for key, bits in digits.estimates(log_q).items()}
    if fitted.draw and not smooth:
        sets, rng = protocol["samples"], numpy_generator(first, "sample")
        fakes = fitted.draw(len(test) // 2 * sets, rng)
        scores = []
        for r, (learned, labels, held, _) in enumerate(parts):
            judge = digits.Judge(learned, labels, protocol["neighbours"], first + r)
            halves = np.random.default_rng(first + r)
            orders = [halves.permutation(len(held)) for _ in range(sets)]
            scores.append(judge.mean_scores(held, orders, fakes[:, r]))
        rows |= dict(pd.DataFrame(scores))
    return rows


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return sums of four uniform numbers on [0, 2), whose density is a cubic B-spline of width 8.

    The density of whole numbers plus this noise has no steps: these B-splines, 1 apart, add up to a
    constant if the whole numbers are equally likely.
    """
    return 2 * rng.random((4, *shape)).sum(axis=0)


def without_actnorm(population: NetworkPopulation) -> None:
    """Remove the ActNorms from all chains of ``population``."""
    for part in population.modules():
        if isinstance(part, Chain):
            kept = (each for each in part.bijections if not isinstance(each, ActNorm))
            part.bijections = nn.ModuleList(kept)


def smoothed(population: NetworkPopulation) -> None:
    """Let ``population`` add ``smooth_noise`` to the pixels instead of the uniform u."""

    def visit(points: Tensor, generators: list[np.random.Generator]) -> Tensor:
        noise = np.stack([smooth_noise(g, tuple(points.shape[1:])) for g in generators])
        scaled = torch.from_numpy(noise) / population.preprocessing.standardize.deviation
        return (points + scaled).to(points.dtype)

    population.visit = visit  # type: ignore[method-assign, assignment]
