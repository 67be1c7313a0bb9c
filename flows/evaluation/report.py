"""One row of the results table: every metric, for every member, by the same code for every model and reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import torch
from joblib import Parallel, delayed

from flows import seeds
from flows.evaluation import calibration, likelihood, samples, statistics
from flows.population import Population
from flows.references import truth
from flows.targets import Array, Target

HEADLINE = ("test_nll", "test_nll_ci95", "kl", "kl_sd", "kl_ensemble", "modes", "precision", "recall", "c2st_auc")
LIKELIHOOD_COLUMNS = ("test_nll", "test_excess_nll", "kl", "kl_reverse", "c2st_exact", "non_finite")


@dataclass(frozen=True)
class EvaluationSettings:
    """How much is drawn for an evaluation.

    ``fresh`` points from the truth for the divergences, ``samples`` from each member for the modes, ``neighbours`` k of
    precision and its kin, ``projections`` of the sliced Wasserstein distance, and the ``seed`` of it all.
    """

    fresh: int = 100_000
    samples: int = 10_000
    neighbours: int = 5
    projections: int = 128
    seed: int = 0


@dataclass(frozen=True)
class Report:
    """``headline``: a number or ``None`` per key of ``HEADLINE``. ``members``: metric -> a value per row (a member, or a repeated draw).

    ``curves``: what has several numbers a row: ``mode_mass`` ``(rows, K + 1)``, ``hdr`` ``(rows, L)`` of a density and ``radius`` ``(rows, L)``
    of a flow, at the levels of ``calibration``.
    """

    headline: dict[str, float | None]
    members: dict[str, Array]
    curves: dict[str, Array]


def evaluate(
    model: Population,
    target: Target,
    test: Array,
    settings: EvaluationSettings,
    *,
    name: str,
    draws: int = 1,
    columns: Mapping[str, Any] | None = None,
) -> Report:
    """Score ``model`` against the known ``target`` and the ``test`` rows ``(n, D)``, both in raw units.

    ``name`` picks the model's own random stream for its samples. ``draws`` repeats the sample metrics of a model with a single
    member on so many independent draws, a row each: for the truth that is the floor and its spread. ``columns`` adds what is
    known from training (a value, or one per member) to the table.
    """
    table: dict[str, Array] = {}
    own = _own_samples(model, settings, name, draws)  # (rows, n, D)
    rows = len(own)
    ensemble_kl: float | None = None
    ci95: float | None = None
    curves: dict[str, Array] = {"mode_mass": np.stack([samples.mode_mass(row, target) for row in own])}
    if model.has_density():
        scores, calibrated, ensemble_kl, ci95 = _likelihood_scores(model, target, test, own, settings)
        curves.update(calibrated)
        table.update({key: np.broadcast_to(value, rows) for key, value in scores.items()})
    else:
        table.update({key: np.full(rows, np.nan) for key in LIKELIHOOD_COLUMNS})
    directions = samples.unit_directions(settings.projections, model.dim, seeds.numpy_generator(settings.seed, "metric"))
    forest_seed = seeds.integer(settings.seed, "metric", 2)
    # Processes and not threads, and only where they pay: the forest's classifier is Python for the most part.
    score = delayed(samples.sample_scores)
    jobs = -1 if rows > 20 else 1
    per_row = Parallel(n_jobs=jobs)(
        score(row, mass, target, test, settings.neighbours, directions, forest_seed) for row, mass in zip(own, curves["mode_mass"], strict=True)
    )
    table.update({key: np.array([scores[key] for scores in per_row]) for key in per_row[0]})
    table.update({key: np.broadcast_to(np.asarray(value, dtype=np.float64), rows) for key, value in (columns or {}).items()})
    for key in ("hdr", "radius"):
        table[f"{key}_error"] = np.broadcast_to(calibration.error(curves[key]) if key in curves else np.nan, rows)
    means: dict[str, float | None] = {key: float(likelihood.strict_mean(value)) for key, value in table.items()}
    headline = {
        **{key: means[key] for key in HEADLINE if key in means},
        "test_nll_ci95": ci95,
        "kl_sd": float(np.std(table["kl"], ddof=1)) if rows > 1 else None,
        "kl_ensemble": ensemble_kl if model.members > 1 else None,
    }
    if not model.has_density():
        headline.update({"test_nll": None, "test_nll_ci95": None, "kl": None, "kl_sd": None, "kl_ensemble": None})
    return Report({key: headline[key] for key in HEADLINE}, table, curves)


@torch.no_grad()
def _own_samples(model: Population, settings: EvaluationSettings, name: str, draws: int) -> Array:
    """``settings.samples`` draws a row, ``(members * draws, n, D)``. A reference has one member, a population one draw."""
    generator = seeds.torch_generator(settings.seed, "sample", crc32(name.encode()))  # a stream of its own for every name
    drawn = torch.stack([model.sample((settings.samples,), generator=generator) for _ in range(draws)])  # (draws, n, M, D)
    return drawn.permute(0, 2, 1, 3).reshape(-1, settings.samples, model.dim).double().numpy()


def _likelihood_scores(
    model: Population, target: Target, test: Array, own: Array, settings: EvaluationSettings
) -> tuple[dict[str, Array], dict[str, Array], float, float]:
    """Every metric that needs a density, per row; the calibration curves; the ensemble's KL; the confidence interval of the test NLL."""
    true_model = truth(target)  # the same class and arithmetic as the truth's own row, so that its row is exactly 0 and 0.5
    log_q_test = likelihood.log_density(model, test)
    log_p_test = likelihood.log_density(true_model, test)
    fresh = target.sample(settings.fresh, seeds.numpy_generator(settings.seed, "fresh"))
    log_q = likelihood.log_density(model, fresh)
    log_p = likelihood.log_density(true_model, fresh)
    by_member = own.reshape(-1, model.members, settings.samples, model.dim)  # (draws, M, n, D)
    ratio_on_own, hdr = [], []
    for draw in by_member:
        points = draw.transpose(1, 0, 2)  # (n, M, D)
        log_p_own = np.concatenate([likelihood.log_density(true_model, points[:, m]) for m in range(model.members)], axis=1)
        log_q_own = likelihood.log_density(model, points)
        ratio_on_own.append(log_p_own - log_q_own)
        hdr.append(calibration.hdr_coverage(log_q_own, log_q))
    ratio_on_own_by_row = np.concatenate(ratio_on_own, axis=1)  # (n, rows)
    ratio_on_p = (log_p - log_q)[: settings.samples]
    scores = {
        "test_nll": likelihood.strict_mean(-log_q_test),
        "test_excess_nll": likelihood.divergence(log_p_test, log_q_test),
        "kl": likelihood.divergence(log_p, log_q),
        "kl_reverse": -likelihood.strict_mean(ratio_on_own_by_row),
        "c2st_exact": np.array([likelihood.exact_auc(ratio_on_p[:, row % model.members], ratio) for row, ratio in enumerate(ratio_on_own_by_row.T)]),
        "non_finite": (~np.isfinite(log_q)).sum(0) + (~np.isfinite(log_q_test)).sum(0),
    }
    curves = {"hdr": np.concatenate(hdr)}
    noise = getattr(model, "noise", None)  # a flow has it; not asked by its class, so that a reference need not import the bijections
    if noise is not None:
        curves["radius"] = calibration.radius_coverage(likelihood.squared_radius(noise, fresh), model.dim)
    ensemble_kl = float(likelihood.divergence(log_p, likelihood.ensemble(log_q))[0])
    ci95 = statistics.mean_ci95(-log_q_test.mean(1), seeds.numpy_generator(settings.seed, "metric", 1))
    return scores, curves, ensemble_kl, ci95
