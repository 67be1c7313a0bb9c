"""One row of the results table.

Every metric, for every member, by the same code for every model and reference.

What a metric can't do without (a density, a truth, its components) may not be there. Then the
metric is ``NaN`` in the table of members and ``None`` in the headline; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import torch

from flows.core import seeds
from flows.core.arrays import Array
from flows.core.mixture import Mixture, Truth
from flows.core.population import Population
from flows.data.preparation import to_real
from flows.data.problem import Problem
from flows.evaluation import calibration, likelihood, samples, statistics

HEADLINE = (
    "test_nll",
    "test_nll_ci95",
    "kl",
    "kl_sd",
    "kl_ensemble",
    "modes",
    "precision",
    "recall",
    "c2st_auc",
)
COMPARED = 2_000  # test rows, at most, that samples are compared with: the cost is quadratic
METRICS = (
    *("test_nll", "test_excess_nll", "kl", "kl_reverse", "c2st_exact", "non_finite"),
    *samples.MODES,
    *samples.TWO_SAMPLE,
)
ERRORS = ("hdr_error", "radius_error")


@dataclass(frozen=True)
class EvaluationSettings:
    """How much is drawn for an evaluation.

    ``fresh`` points from the truth for the divergences, ``samples`` from each member for the modes,
    ``neighbours`` k of precision, its kin and the classifier, ``projections`` of the sliced
    Wasserstein distance, and the ``seed`` of it all.
    """

    fresh: int = 100_000
    samples: int = 10_000
    neighbours: int = 5
    projections: int = 128
    seed: int = 0


@dataclass(frozen=True)
class Report:
    """``headline``: a number or ``None`` per key of ``HEADLINE``.

    ``members``: metric -> a value per row (a member, or a repeated draw).

    ``curves``: what has several numbers a row: ``mode_mass`` ``(rows, K + 1)``, ``hdr`` ``(rows,
    L)`` of a density and ``radius`` ``(rows, L)`` of a flow, at the levels of ``calibration``.
    ``by_row``: of every test row, of a density, ``test_log_density`` ``(n, members)``, and
    ``test_log_density_ensemble`` ``(n,)``.
    """

    headline: dict[str, float | None]
    members: dict[str, Array]
    curves: dict[str, Array]
    by_row: dict[str, Array] = field(default_factory=dict)


def evaluate(
    model: Population,
    problem: Problem,
    settings: EvaluationSettings,
    *,
    name: str,
    draws: int = 1,
    columns: Mapping[str, Any] | None = None,
) -> Report:
    """Score ``model`` on ``problem``.

    ``name`` picks the model's own random stream for its samples. ``draws`` repeats the sample
    metrics of a model with a single member on so many independent draws, a row each: for the truth
    that is the floor and its spread. ``columns`` adds what is known from training (a value, or one
    per member) to the table.
    """
    own = _own_samples(model, settings, name, draws)  # (rows, n, D)
    found: dict[str, Any] = {**(columns or {})}
    curves: dict[str, Array] = {}
    headline: dict[str, float | None] = {}
    by_row: dict[str, Array] = {}
    fresh = (
        None
        if problem.truth is None
        else problem.truth.sample(settings.fresh, seeds.numpy_generator(settings.seed, "fresh"))
    )
    if isinstance(problem.truth, Mixture):
        curves["mode_mass"] = np.stack([samples.mode_mass(row, problem.truth) for row in own])
        found.update(
            _by_row([samples.mode_scores(mass, problem.truth) for mass in curves["mode_mass"]])
        )
    if model.supports("log_prob"):
        log_q = likelihood.log_density(model, problem.test)
        by_row = {
            "test_log_density": log_q,
            "test_log_density_ensemble": likelihood.ensemble(log_q, model.member_weights)[:, 0],
        }
        found["test_nll"] = likelihood.strict_mean(-log_q)
        found["non_finite"] = (~np.isfinite(log_q)).sum(0)
        headline["test_nll_ci95"] = statistics.mean_ci95(
            -log_q.mean(1), seeds.numpy_generator(settings.seed, "metric", 1)
        )
        if problem.truth is not None and fresh is not None:
            found["test_excess_nll"] = likelihood.divergence(
                likelihood.true_log_density(problem.truth, problem.test), log_q
            )
            scores, curves["hdr"], headline["kl_ensemble"] = _against_truth(
                model, problem.truth, own, fresh, settings
            )
            found["non_finite"] = found["non_finite"] + scores.pop("non_finite")
            found.update(scores)
    if model.supports("encode") and fresh is not None:
        curves["radius"] = calibration.radius_coverage(
            likelihood.squared_radius(model, fresh), model.event_shape.numel()
        )
    found.update(_two_sample(own, problem, settings))
    found.update(
        {
            f"{key}_error": calibration.error(curves[key])
            for key in ("hdr", "radius")
            if key in curves
        }
    )
    order = (*METRICS, *(columns or {}), *ERRORS)
    table = {
        key: np.broadcast_to(np.asarray(found.get(key, np.nan), dtype=np.float64), len(own))
        for key in order
    }
    if "kl" in found and len(own) > 1:
        headline["kl_sd"] = float(np.std(table["kl"], ddof=1))
    headline |= {key: float(likelihood.strict_mean(table[key])) for key in HEADLINE if key in found}
    return Report({key: headline.get(key) for key in HEADLINE}, table, curves, by_row)


def nothing() -> Report:
    """The row of what is not known: no number at all."""
    return Report(
        dict.fromkeys(HEADLINE), {key: np.full(1, np.nan) for key in (*METRICS, *ERRORS)}, {}
    )


@torch.no_grad()
def _own_samples(model: Population, settings: EvaluationSettings, name: str, draws: int) -> Array:
    """``settings.samples`` draws a row, ``(members * draws, n, D)``.

    A reference has one member, a population one draw.
    """
    # A stream of its own for every name
    generator = seeds.numpy_generator(settings.seed, "sample", crc32(name.encode()))
    # (draws, n, M, *event)
    drawn = torch.stack(
        [model.sample((settings.samples,), generator=generator) for _ in range(draws)]
    )
    return (
        drawn.flatten(3)
        .permute(0, 2, 1, 3)
        .reshape(draws * model.members, settings.samples, -1)
        .double()
        .numpy()
    )


def _against_truth(
    model: Population, truth: Truth, own: Array, fresh: Array, settings: EvaluationSettings
) -> tuple[dict[str, Any], Array, float | None]:
    """What two densities say of each other.

    Divergences and the best classifier; the highest-density regions; the ensemble's KL.

    ``own`` are the model's own samples ``(rows, n, D)`` and ``fresh`` draws from the truth.
    """
    log_p, log_q = likelihood.true_log_density(truth, fresh), likelihood.log_density(model, fresh)
    ratio_on_own, hdr = [], []
    for draw in own.reshape(-1, model.members, settings.samples, own.shape[2]):  # (M, n, D)
        log_q_own = likelihood.log_density(
            model, draw.transpose(1, 0, 2).reshape(-1, model.members, *model.event_shape)
        )
        log_p_own = [
            likelihood.true_log_density(truth, points.reshape(-1, *model.event_shape))
            for points in draw
        ]
        ratio_on_own.append(np.concatenate(log_p_own, axis=1) - log_q_own)
        hdr.append(calibration.hdr_coverage(log_q_own, log_q))
    ratios = np.concatenate(ratio_on_own, axis=1)  # (n, rows)
    on_truth = (log_p - log_q)[: settings.samples]
    scores = {
        "kl": likelihood.divergence(log_p, log_q),
        "kl_reverse": -likelihood.strict_mean(ratios),
        "c2st_exact": [
            likelihood.exact_auc(on_truth[:, row % model.members], ratio)
            for row, ratio in enumerate(ratios.T)
        ],
        "non_finite": (~np.isfinite(log_q)).sum(0),
    }
    ensemble_kl = (
        float(likelihood.divergence(log_p, likelihood.ensemble(log_q, model.member_weights))[0])
        if model.members > 1
        else None
    )
    return scores, np.concatenate(hdr), ensemble_kl


def _two_sample(own: Array, problem: Problem, settings: EvaluationSettings) -> dict[str, Array]:
    """Every comparison with the test rows, of as many samples as there are."""
    test = problem.test.reshape(len(problem.test), -1)[:COMPARED]
    own = own[:, : len(test)]
    if problem.columns:  # the columns' units have nothing to do with each other
        scale = to_real(problem.columns, problem.train).std(axis=0)
        test, own = (
            to_real(problem.columns, test) / scale,
            np.stack([to_real(problem.columns, row) for row in own]) / scale,
        )
    arguments: dict[str, Any] = {
        "neighbours": settings.neighbours,
        "directions": samples.unit_directions(
            settings.projections, test.shape[1], seeds.numpy_generator(settings.seed, "metric")
        ),
        "bandwidth": samples.kernel_bandwidth(
            test, problem.truth if isinstance(problem.truth, Mixture) else None
        ),
    }
    return _by_row([samples.two_sample_scores(test, row, **arguments) for row in own])


def _by_row(scores: list[dict[str, float]]) -> dict[str, Array]:
    return {key: np.array([row[key] for row in scores]) for key in scores[0]}
