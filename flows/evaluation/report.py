"""One row of the results table: all metrics of all members, from the same code for every model.

The truth is the true distribution of the data. A metric that needs a density, a truth or the
components of a mixture, and does not have it, is ``NaN`` in the table of members and ``None`` in
the headline. The other metrics do not change.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import torch
from tqdm import tqdm

from flows.core import seeds
from flows.core.arrays import Array, as_points, as_rows, subsample
from flows.core.progress import progress
from flows.core.settings import EvaluationSettings
from flows.core.truth import Truth
from flows.evaluation import calibration, likelihood, samples, statistics
from flows.evaluation.problem import Problem
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population, ensemble_log_prob

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
    "test_nll",
    "test_excess_nll",
    "kl",
    "kl_se",
    "kl_reverse",
    "c2st_exact",
    "non_finite",
    *samples.MODES,
    *samples.TWO_SAMPLE,
)
LAST = "hdr_error"  # after the columns that the caller adds


@dataclass
class Report:
    """All scores of one population.

    Args:
        headline: a number or ``None`` for each key of ``HEADLINE``.
        members: for each metric, one value per row. A row is a member or a repeated draw.
        curves: ``mode_mass`` ``(rows, K + 1)``; for a density, ``hdr`` ``(rows, L)`` and, for a
            flow, ``radius`` ``(rows, L)``, at the levels of ``calibration``.
        by_row: for a density, ``test_log_density`` ``(n, members)`` of every test row, and
            ``test_log_density_ensemble`` ``(n,)``.
    """

    headline: dict[str, float | None] = field(default_factory=dict)
    members: dict[str, Array] = field(default_factory=dict)
    curves: dict[str, Array] = field(default_factory=dict)
    by_row: dict[str, Array] = field(default_factory=dict)


def evaluate(
    population: Population,
    problem: Problem,
    settings: EvaluationSettings,
    *,
    name: str,
    draws: int = 1,
    columns: Mapping[str, Any] | None = None,
    at_once: int | None = None,
) -> Report:
    """Return the ``Report`` of ``population`` on ``problem``, and show progress.

    Args:
        population: the model to score.
        problem: the data and, if known, the truth.
        settings: how much is drawn, and the seed.
        name: the name of the model, which selects the random stream of its samples.
        draws: for a population with one member, the number of independent draws on which sample
            metrics are computed, with one row per draw. For the truth, the spread over draws is
            the noise of each metric.
        columns: results of training to add to the table: a value, or one value per member.
        at_once: the most points to score at a time, if a density is expensive; progress is shown
            after each time.

    Raises ``ValueError`` if there are fewer ``samples`` than test rows, of which at most
    ``COMPARED`` count, or not more of these test rows than ``neighbours``.

    Examples:
        >>> import flows, numpy as np
        >>> from flows.core.settings import EvaluationSettings
        >>> from flows.evaluation.report import evaluate
        >>> truth = flows.Mixture.isotropic(np.array([[-2.0, 0.0], [2.0, 0.0]]), 0.5)
        >>> rng = np.random.default_rng(0)
        >>> problem = flows.Problem(truth.sample(100, rng), truth.sample(100, rng), truth)
        >>> settings = EvaluationSettings(fresh=100, samples=100)
        >>> report = evaluate(flows.GaussianMixture.of(truth), problem, settings, name="truth")
        >>> report.headline["kl"], report.headline["modes"]
        (0.0, 2.0)
    """
    compared = min(len(problem.test), COMPARED)
    if not settings.neighbours < compared <= settings.samples:
        raise ValueError(
            f"{compared} test rows are compared with samples: samples = {settings.samples} must be "
            f"at least {compared}, and neighbours = {settings.neighbours} below {compared}"
        )
    total = compared * population.members * draws
    if population.supports("log_prob"):
        total += len(problem.test)
        total += settings.fresh + settings.samples * draws if problem.truth is not None else 0
    with progress(name, total, "point") as bar:
        score = partial(population.score, most=at_once, on_rows=bar.update)
        return _evaluate(population, problem, settings, name, draws, columns or {}, score, bar)


def _evaluate(
    population: Population,
    problem: Problem,
    settings: EvaluationSettings,
    name: str,
    draws: int,
    columns: Mapping[str, Any],
    score: Callable[[Array], Array],
    bar: tqdm,
) -> Report:
    """Return the result of ``evaluate``; ``score`` returns log-densities and moves the ``bar``."""
    report = Report()
    own = _own_samples(population, settings, name, draws)  # (rows, n, D)
    metrics = {**columns, **_two_sample(own, problem, settings, bar)}
    truth = problem.truth
    if isinstance(truth, Mixture):
        report.curves["mode_mass"] = np.stack([samples.mode_mass(row, truth) for row in own])
        modes = [samples.mode_scores(mass, truth) for mass in report.curves["mode_mass"]]
        metrics |= _by_row(modes)
    if population.supports("log_prob"):
        metrics |= _on_test_rows(population, problem, settings, report, score)
    if truth is not None:
        fresh = truth.sample(settings.fresh, seeds.numpy_generator(settings.seed, "fresh"))
        if population.supports("log_prob"):
            scores = _against_truth(population, truth, own, fresh, report, score)
            scores["non_finite"] += metrics["non_finite"]
            metrics |= scores
        if population.supports("encode"):
            square = likelihood.squared_radius(population, fresh)
            report.curves["radius"] = calibration.radius_coverage(
                square, population.event_shape.numel()
            )
    for key in (*METRICS, *columns, LAST):
        values = np.asarray(metrics.get(key, np.nan), dtype=np.float64)
        report.members[key] = np.broadcast_to(values, len(own))
    for key in HEADLINE:
        if key in metrics:
            report.headline[key] = float(likelihood.strict_mean(report.members[key]))
    if "kl" in metrics and len(own) > 1:
        report.headline["kl_sd"] = float(np.std(report.members["kl"], ddof=1))
    report.headline = {key: report.headline.get(key) for key in HEADLINE}
    return report


def unknown() -> Report:
    """Return the report of an unknown truth, which holds no numbers."""
    members = {key: np.full(1, np.nan) for key in (*METRICS, LAST)}
    return Report(dict.fromkeys(HEADLINE), members)


@torch.no_grad()
def _own_samples(
    population: Population, settings: EvaluationSettings, name: str, draws: int
) -> Array:
    """Draw ``settings.samples`` points per row, ``(members * draws, n, D)``."""
    # Each name has its own random stream
    generator = seeds.numpy_generator(settings.seed, "sample", crc32(name.encode()))
    drawn = [population.sample((settings.samples,), generator=generator) for _ in range(draws)]
    rows = torch.stack(drawn).flatten(3).permute(0, 2, 1, 3)  # (draws, M, n, D)
    return rows.flatten(0, 1).double().numpy()


def _on_test_rows(
    population: Population,
    problem: Problem,
    settings: EvaluationSettings,
    report: Report,
    score: Callable[[Array], Array],
) -> dict[str, Any]:
    """Score the density on test rows; add log-densities and the interval to the report."""
    log_q = score(problem.test)
    mixed = ensemble_log_prob(log_q, population.member_weights)
    report.by_row = {"test_log_density": log_q, "test_log_density_ensemble": mixed}
    generator = seeds.numpy_generator(settings.seed, "metric", 1)
    report.headline["test_nll_ci95"] = statistics.mean_ci95(-log_q.mean(1), generator)
    non_finite = (~np.isfinite(log_q)).sum(0)
    scores = {"test_nll": likelihood.strict_mean(-log_q), "non_finite": non_finite}
    if problem.truth is not None:
        log_p = likelihood.true_log_density(problem.truth, problem.test)
        scores["test_excess_nll"] = likelihood.divergence(log_p, log_q)
    return scores


def _against_truth(
    population: Population,
    truth: Truth,
    own: Array,
    fresh: Array,
    report: Report,
    score: Callable[[Array], Array],
) -> dict[str, Any]:
    """Compare the density with the truth: divergences, the best classifier, the HDR coverage.

    ``own`` are the population's own samples ``(rows, n, D)``, and ``fresh`` draws from the truth.
    The coverage and the KL of the ensemble are added to the report.
    """
    log_p, log_q = likelihood.true_log_density(truth, fresh), score(fresh)
    ratio_on_own, hdr = [], []
    for draw in own.reshape(-1, population.members, *own.shape[1:]):  # (M, n, D)
        points = draw.transpose(1, 0, 2).reshape(-1, population.members, *population.event_shape)
        log_q_own = score(points)
        shaped = draw.reshape(*draw.shape[:2], *population.event_shape)
        log_p_own = [likelihood.true_log_density(truth, member) for member in shaped]
        ratio_on_own.append(np.concatenate(log_p_own, axis=1) - log_q_own)
        hdr.append(calibration.hdr_coverage(log_q_own, log_q))
    ratios = np.concatenate(ratio_on_own, axis=1)  # (n, rows)
    report.curves["hdr"] = np.concatenate(hdr)
    if population.members > 1:
        mixed = ensemble_log_prob(log_q, population.member_weights)[:, None]
        report.headline["kl_ensemble"] = float(likelihood.divergence(log_p, mixed)[0])
    on_truth = np.tile((log_p - log_q)[: own.shape[1]].T, (len(own) // population.members, 1))
    return {
        "kl": likelihood.divergence(log_p, log_q),
        "kl_se": likelihood.divergence_error(log_p, log_q),
        "kl_reverse": -likelihood.strict_mean(ratios),
        "c2st_exact": [*map(likelihood.exact_auc, on_truth, ratios.T)],
        "non_finite": (~np.isfinite(log_q)).sum(0),
        "hdr_error": calibration.error(report.curves["hdr"]),
    }


def _two_sample(
    own: Array, problem: Problem, settings: EvaluationSettings, bar: tqdm
) -> dict[str, Array]:
    """Compute all metrics of ``TWO_SAMPLE`` on as many samples as test rows; one value per row."""
    test = subsample(problem.test.reshape(len(problem.test), -1), COMPARED)
    own = own[:, : len(test)]
    if (to_real := problem.to_real) is not None:  # columns may have different units
        scale = to_real.map_rows(problem.train[:, None]).std(axis=0)
        # Samples of integer columns are whole numbers, and test rows may be dequantised
        rounded = as_rows(to_real.round(as_points(test)))
        test = to_real.map_rows(rounded[:, None])[:, 0] / scale
        own = np.stack([to_real.map_rows(row[:, None])[:, 0] for row in own]) / scale
    generator = seeds.numpy_generator(settings.seed, "metric")
    directions = samples.unit_directions(settings.projections, test.shape[1], generator)
    truth = problem.truth if isinstance(problem.truth, Mixture) else None
    bandwidth = samples.kernel_bandwidth(test, truth)
    how: Any = {"neighbours": settings.neighbours, "directions": directions, "bandwidth": bandwidth}
    scores = []
    for row in own:
        scores.append(samples.two_sample_scores(test, row, **how))
        bar.update(len(test))
    return _by_row(scores)


def _by_row(scores: list[dict[str, float]]) -> dict[str, Array]:
    return {key: np.array([row[key] for row in scores]) for key in scores[0]}
