"""The metrics: scores of the true density, the effects of damage, and definitions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from helpers import field
from prdc import compute_prdc
from scipy.stats import chi2, norm

import flows
from flows import truths
from flows.core.arrays import Array
from flows.core.seeds import normal
from flows.core.truth import Truth
from flows.evaluation import calibration, likelihood, samples
from flows.evaluation.cost import epochs_to_converge, flops_per_epoch
from flows.evaluation.problem import Problem
from flows.evaluation.report import (
    HEADLINE,
    METRICS,
    EvaluationSettings,
    Report,
    evaluate,
    unknown,
)
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population, chunked_log_prob
from flows.tables.column_maps import ColumnMaps
from flows.training.trainer import Trainer

SMALL = EvaluationSettings(fresh=500, samples=200, neighbours=5, projections=16, seed=0)
SAMPLE_METRICS = (*samples.MODES, *samples.TWO_SAMPLE)


def ring() -> Mixture:
    return truths.make("ring")  # type: ignore[return-value]


def truth() -> GaussianMixture:
    return GaussianMixture.of(ring())


def draw(truth: Truth, n: int, seed: int) -> Array:
    return truth.sample(n, np.random.default_rng(seed))


def scores(drawn: Array, truth: Mixture, test: Array) -> dict[str, float]:
    directions = samples.unit_directions(64, 2, np.random.default_rng(9))
    bandwidth = samples.kernel_bandwidth(test, truth)
    two_sample = samples.two_sample_scores(
        test, drawn[: len(test)], neighbours=5, directions=directions, bandwidth=bandwidth
    )
    return {**mode_scores(drawn, truth), **two_sample}


def mode_scores(drawn: Array, truth: Mixture) -> dict[str, float]:
    return samples.mode_scores(samples.mode_mass(drawn, truth), truth)


def gaussian(mean: list[float], covariance: list[list[float]]) -> GaussianMixture:
    return GaussianMixture([1.0], [mean], [covariance])


class Broken(Population):
    """Two members with outputs that are not finite, like a flow that diverged."""

    def __init__(self) -> None:
        super().__init__(2, (2,), {})

    def sample(self, sample_shape: Any = (), generator: Any = None) -> torch.Tensor:
        return torch.full((*sample_shape, 2, 2), float("nan"))

    def log_prob(self, value: Any) -> torch.Tensor:
        return torch.full((len(value), 2), float("nan"))

    def encode(self, value: Any) -> torch.Tensor:
        return torch.full((len(value), 2, 2), float("nan"))


class Mute(Population):
    """Two members that sample well and have no density, like a GAN."""

    def __init__(self) -> None:
        super().__init__(2, (2,), {})

    def sample(self, sample_shape: Any = (), generator: Any = None) -> torch.Tensor:
        return truth().sample((*sample_shape, 2), generator=generator).squeeze(-2)


# The true density


@pytest.fixture(scope="module")
def floor() -> dict[str, float]:
    return scores(draw(ring(), 1000, 1), ring(), draw(ring(), 1000, 2))


def test_two_samples_of_the_truth_have_the_best_scores(floor: dict[str, float]):
    assert floor["precision"] > 0.94
    assert floor["recall"] > 0.94
    assert floor["density"] == pytest.approx(1, abs=0.1)
    assert floor["coverage"] > 0.9
    assert floor["c2st_auc"] == pytest.approx(0.5, abs=0.06)
    assert floor["modes"] == 8
    assert floor["mode_tv"] < 0.06


def test_high_quality_of_the_truth_is_the_mass_within_three_deviations():
    expected, n = 1 - math.exp(-4.5), 10_000  # the modes of the ring are far apart
    assert expected == pytest.approx(0.9889, abs=1e-4)
    quality = mode_scores(draw(ring(), n, 3), ring())["high_quality"]
    assert quality == pytest.approx(expected, abs=3 * math.sqrt(expected * (1 - expected) / n))


@pytest.mark.parametrize("dim", [1, 2, 3, 10])
def test_high_quality_of_the_truth_is_the_same_in_any_dimension(dim: int):
    apart = Mixture.isotropic(np.arange(3)[:, None] * np.full((3, dim), 20.0), deviation=1.0)
    found = mode_scores(draw(apart, 20_000, 1), apart)
    assert found["modes"] == 3
    assert found["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.004)


def test_mmd_and_energy_distance_of_the_truth_are_zero_on_average():
    pairs = [(draw(ring(), 200, 100 + i), draw(ring(), 200, 200 + i)) for i in range(20)]
    bandwidth = samples.kernel_bandwidth(draw(ring(), 200, 1), ring())
    assert bandwidth == pytest.approx(1.0)
    for values in (
        [samples.maximum_mean_discrepancy(a, b, bandwidth) for a, b in pairs],
        [samples.energy_distance(a, b) for a, b in pairs],
    ):
        assert abs(np.mean(values)) < 3 * np.std(values, ddof=1) / math.sqrt(20)
        assert min(values) < 0 < max(values)


# Damage


@pytest.mark.parametrize("seed", [0, 1])
def test_dropping_modes_lowers_diversity_step_by_step_and_leaves_fidelity(seed: int):
    whole, test = ring(), draw(ring(), 600, 10 * seed + 1)
    order = np.random.default_rng(seed).permutation(8)
    rows = []
    for kept in (8, 7, 6, 5, 4):
        part = Mixture(np.full(kept, 1 / kept), whole.means[order[:kept]], whole.covariances[:kept])
        many, few = draw(part, 10_000, 10 * seed + 2), draw(part, 600, 10 * seed + 3)
        rows.append({**mode_scores(many, whole), **samples.neighbour_scores(test, few, 5)})
    assert [row["modes"] for row in rows] == [8, 7, 6, 5, 4]
    for key, sign in (("recall", -1), ("coverage", -1), ("mode_tv", 1)):
        # Each step loses an eighth of the points; chance and points between two modes reduce the
        # loss
        assert (sign * np.diff([row[key] for row in rows]) > 0.05).all(), key
    for key in ("precision", "high_quality"):
        assert min(row[key] for row in rows) > 0.97, key


def test_mode_mass_is_0_for_dropped_modes_and_the_weight_for_the_others():
    whole, n = ring(), 10_000
    part = Mixture(np.full(3, 1 / 3), whole.means[2:5], whole.covariances[2:5])
    mass = samples.mode_mass(draw(part, n, 1), whole)
    beyond = math.exp(-4.5)
    expected = np.array([*[0.0] * 2, *[(1 - beyond) / 3] * 3, *[0.0] * 3, beyond])
    assert mass.sum() == pytest.approx(1)
    # One sample in two thousand belongs to the mode next to its own
    assert (np.abs(mass - expected) <= 4 * np.sqrt(expected * (1 - expected) / n) + 0.001).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_widening_the_modes_lowers_fidelity_step_by_step(seed: int):
    whole, test = ring(), draw(ring(), 600, 10 * seed + 1)
    rows = [
        scores(
            draw(replace(whole, covariances=whole.covariances * wide**2), 600, 10 * seed + 2),
            whole,
            test,
        )
        for wide in (1, 1.5, 2, 3)
    ]
    for key, sign in (("precision", -1), ("density", -1), ("high_quality", -1), ("c2st_auc", 1)):
        assert (sign * np.diff([row[key] for row in rows]) > 0.03).all(), key


# Definitions


def test_sliced_wasserstein_of_a_translation_is_its_length_times_the_mean_square_cosine():
    cloud, shift = draw(ring(), 300, 1), np.array([1.5, -0.7])
    directions = samples.unit_directions(32, 2, np.random.default_rng(4))
    assert np.linalg.norm(directions, axis=0) == pytest.approx(1)
    assert samples.sliced_wasserstein(cloud, cloud, directions) == pytest.approx(0, abs=1e-9)
    cosine = shift @ directions / np.linalg.norm(shift)
    expected = np.linalg.norm(shift) * math.sqrt(np.mean(cosine**2))
    assert samples.sliced_wasserstein(cloud, cloud + shift, directions) == pytest.approx(expected)


def test_mmd_and_energy_distance_agree_with_loops_over_all_pairs():
    real, fake = draw(ring(), 6, 1), draw(ring(), 6, 2) + 0.3
    width = 1.7

    def mean(a: Array, b: Array, function: Any) -> float:
        values = [
            function(a[i], b[j])
            for i in range(len(a))
            for j in range(len(b))
            if a is not b or i != j
        ]
        return sum(values) / len(values)

    def kernel(x: Array, y: Array) -> float:
        return math.exp(-sum((x - y) ** 2) / (2 * width**2))

    def distance(x: Array, y: Array) -> float:
        return math.sqrt(sum((x - y) ** 2))

    expected = mean(real, real, kernel) + mean(fake, fake, kernel) - 2 * mean(real, fake, kernel)
    assert samples.maximum_mean_discrepancy(real, fake, width) == pytest.approx(expected, abs=1e-12)
    expected = (
        2 * mean(real, fake, distance) - mean(real, real, distance) - mean(fake, fake, distance)
    )
    assert samples.energy_distance(real, fake) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "k",
    [1, pytest.param(3, marks=pytest.mark.slow), 5, pytest.param(10, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(("n", "dim"), [(12, 1), (50, 2), (200, 2), (400, 3)])
def test_precision_recall_density_and_coverage_agree_with_their_authors_package(
    n: int, dim: int, k: int
):
    rng = np.random.default_rng(n + k)
    for shift, scale in ((0.0, 1.0), (0.4, 1.3), (2.0, 0.5)):
        real, fake = rng.standard_normal((n, dim)), scale * rng.standard_normal((n, dim)) + shift
        assert samples.neighbour_scores(real, fake, k) == pytest.approx(
            compute_prdc(real, fake, k), abs=1e-12
        )


@pytest.mark.parametrize("k", [1, 3])
def test_precision_recall_density_and_coverage_agree_with_loops_over_all_pairs(k: int):
    rng = np.random.default_rng(5)
    real, fake = rng.standard_normal((25, 2)), 1.3 * rng.standard_normal((25, 2)) + 0.4

    def radius(points: Array, i: int) -> float:
        return sorted(math.dist(points[i], points[j]) for j in range(len(points)) if j != i)[k - 1]

    n = len(real)
    in_real = [[math.dist(real[i], fake[j]) < radius(real, i) for j in range(n)] for i in range(n)]
    in_fake = [[math.dist(real[i], fake[j]) < radius(fake, j) for j in range(n)] for i in range(n)]
    assert samples.neighbour_scores(real, fake, k) == pytest.approx(
        {
            "precision": sum(any(in_real[i][j] for i in range(n)) for j in range(n)) / n,
            "recall": sum(any(in_fake[i][j] for j in range(n)) for i in range(n)) / n,
            "density": sum(in_real[i][j] for i in range(n) for j in range(n)) / (k * n),
            "coverage": sum(any(in_real[i][j] for j in range(n)) for i in range(n)) / n,
        }
    )


def test_a_mode_counts_with_one_percent_of_the_samples_and_half_its_weight():
    pair = Mixture(
        np.array([0.9, 0.1]), np.array([[0.0, 0.0], [100.0, 0.0]]), np.stack([np.eye(2)] * 2)
    )
    for second, modes in ((49, 1), (50, 2)):
        points = np.repeat([[0.0, 0.0], [100.0, 0.0]], [1000 - second, second], axis=0)
        found = mode_scores(points, pair)
        assert found["modes"] == modes
        assert found["high_quality"] == 1
        assert found["mode_tv"] == pytest.approx(0.1 - second / 1000)
    assert mode_scores(np.array([[0.0, 2.99], [0.0, 3.01]]), pair)["high_quality"] == 0.5


def test_exact_auc_of_equal_densities_is_one_half_although_all_scores_tie():
    assert likelihood.exact_auc(np.zeros(50), np.zeros(70)) == 0.5


@pytest.mark.parametrize("dim", [2, 10, 64])
def test_the_classifier_scores_equal_distributions_one_half_on_average(dim: int):
    rng = np.random.default_rng(8)
    for n, pairs in ((50, 200), (200, 60)):
        drawn = [rng.standard_normal((2, n, dim)) for _ in range(pairs)]
        found = [samples.classifier_auc(real, fake, 5) for real, fake in drawn]
        assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / math.sqrt(pairs))
    assert np.std(found) == pytest.approx(0.04, rel=0.4)  # n = 200, as in the docstring


def test_the_classifier_separates_shifted_sets_step_by_step():
    real, fake = np.random.default_rng(8).standard_normal((2, 200, 2))
    assert samples.classifier_auc(real, fake + np.array([0, 20]), 5) == 1
    shifted = [fake + np.array([0, shift]) for shift in (0.5, 1, 2, 4)]
    assert np.diff([0.5, *(samples.classifier_auc(real, each, 5) for each in shifted)]).min() > 0.03


@pytest.mark.parametrize(("dim", "expected"), [(2, 0.75), (10, 0.95), (30, 1.0), (64, 1.0)])
def test_the_classifier_detects_wide_fakes_in_any_dimension(dim: int, expected: float):
    drawn = [np.random.default_rng(seed).standard_normal((2, 200, dim)) for seed in range(20)]
    wide = [samples.classifier_auc(real, 2 * fake, 5) for real, fake in drawn]
    assert np.mean(wide) == pytest.approx(expected, abs=0.025)
    narrow = [samples.classifier_auc(real, fake / 2, 5) for real, fake in drawn]
    assert np.mean(narrow) == pytest.approx(expected, abs=0.025)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("levels", [2, 6, 0])
def test_the_classifier_agrees_with_a_loop_over_pairs(levels: int, columns: int):
    """Whole numbers of few levels have many equal distances; 0 levels are real numbers."""
    rng, k, tie = np.random.default_rng(7), 3, 1e-10

    def mean_distance(point: Array, others: Array) -> float:
        away = np.sort(np.linalg.norm(others - point, axis=1).round(9))
        return float(away[:k].mean() + tie / (away <= away[k - 1]).sum())

    for _ in range(10):
        shape = (2, 9, columns)
        drawn = rng.integers(0, levels, shape) if levels else rng.standard_normal(shape)
        drawn[0, :2] = [[0], [1]]  # no column is constant
        real, fake = drawn / drawn[0].std(axis=0)
        wins = []
        for i, j in itertools.product(range(9), range(9)):
            others = np.delete(fake, j, axis=0), np.delete(real, i, axis=0)
            a, b = (
                mean_distance(point, others[0]) / mean_distance(point, others[1])
                for point in (real[i], fake[j])
            )
            wins.append(0.5 if math.isclose(a, b, rel_tol=5e-14) else float(a > b))
        assert samples.classifier_auc(*drawn, k) == pytest.approx(np.mean(wins), abs=0.005)


def test_ties_in_distance_do_not_bias_the_classifier():
    """Whole numbers, which have many equal distances, score one half on average, too."""
    rng = np.random.default_rng(9)
    for levels, columns in ((2, 1), (4, 2), (20, 1)):
        drawn = rng.integers(0, levels, (100, 2, 100, columns)).astype(float)
        found = [samples.classifier_auc(real, fake, 5) for real, fake in drawn]
        assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / 10)
    same = np.zeros((4, 2))
    assert samples.classifier_auc(same, same, 3) == 0.5


def test_the_classifier_separates_labels_with_other_shares():
    rng = np.random.default_rng(10)
    real, fake = ((rng.random((200, 1)) < share).astype(float) for share in (0.5, 0.9))
    # A classifier that knows the shares has 0.5 + 0.4 / 2
    assert samples.classifier_auc(real, fake, 5) == pytest.approx(0.7, abs=0.06)


def test_the_classifier_depends_neither_on_units_nor_on_a_constant_column():
    rng = np.random.default_rng(11)
    for real in (rng.standard_normal((60, 3)), rng.integers(0, 4, (60, 3)).astype(float)):
        fake = real[rng.permutation(60)] + 0.1 * rng.integers(0, 3, (60, 3))
        found = samples.classifier_auc(real, fake, 5)
        for units in ([1e6, 1e-3, 1], [0.3, 7, 1e-9]):
            assert samples.classifier_auc(real * units, fake * units, 5) == found
        real[:, 2] = fake[:, 2] = 0.1  # a constant with a computed deviation that is not exactly 0
        without = samples.classifier_auc(real[:, :2], fake[:, :2], 5)
        assert samples.classifier_auc(real, fake, 5) == without


@pytest.mark.parametrize("delta", [0.3, 1.0, 2.5])
def test_exact_auc_of_two_gaussians_agrees_with_the_closed_form(delta: float):
    rng = np.random.default_rng(6)
    n = 20_000
    on_p, on_q = rng.standard_normal(n), delta + rng.standard_normal(n)
    ratio = [norm.logpdf(x) - norm.logpdf(x - delta) for x in (on_p, on_q)]
    expected = norm.cdf(delta / math.sqrt(2))
    # The standard error of an AUC is at most sqrt(A (1 - A) / n).
    assert likelihood.exact_auc(*ratio) == pytest.approx(
        expected, abs=4 * math.sqrt(expected * (1 - expected) / n)
    )


def test_exact_auc_is_nan_if_a_score_is_not_finite():
    assert math.isnan(likelihood.exact_auc(np.array([0.0, np.inf]), np.zeros(2)))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_single_value_that_is_not_finite_makes_its_mean_nan_and_no_other(bad: float):
    values = np.ones((1000, 3))
    values[17, 1] = bad
    mean = likelihood.strict_mean(values)
    assert mean[0] == mean[2] == 1
    assert math.isnan(mean[1])


def test_kl_between_two_gaussians_agrees_with_the_closed_form():
    mean, p_cov, q_cov = (
        np.array([0.5, -1.0]),
        np.array([[1.0, 0.3], [0.3, 0.5]]),
        np.array([[2.0, -0.4], [-0.4, 1.0]]),
    )
    p, q = gaussian([0.0, 0.0], p_cov.tolist()), gaussian(mean.tolist(), q_cov.tolist())
    inverse = np.linalg.inv(q_cov)
    expected = 0.5 * (
        np.trace(inverse @ p_cov)
        + mean @ inverse @ mean
        - 2
        + math.log(np.linalg.det(q_cov) / np.linalg.det(p_cov))
    )
    points = p.sample((25_000,), generator=torch.Generator().manual_seed(0))[:, 0]
    assert chunked_log_prob(p, points[:, None]).tolist() == chunked_log_prob(p, points).tolist()
    log_p, log_q = chunked_log_prob(p, points), chunked_log_prob(q, points)
    assert log_q.shape == (25_000, 1)
    standard_error = (log_p - log_q).std() / math.sqrt(len(points))
    assert likelihood.divergence(log_p, log_q)[0] == pytest.approx(expected, abs=4 * standard_error)


def test_the_ensemble_is_the_mean_density_and_no_farther_from_the_truth_than_its_members():
    p = truth()
    points = draw(ring(), 2000, 1)
    log_p = chunked_log_prob(p, points)
    members = [gaussian([shift, 0.0], [[9.0, 0.0], [0.0, 9.0]]) for shift in (-1.0, 0.5, 2.0)]
    log_q = np.concatenate([chunked_log_prob(member, points) for member in members], axis=1)
    mixed = flows.ensemble_log_prob(log_q)[:, None]
    assert np.exp(mixed[:, 0]) == pytest.approx(np.exp(log_q).mean(axis=1))
    assert likelihood.divergence(log_p, mixed)[0] <= likelihood.divergence(log_p, log_q).mean()


def test_the_ensemble_of_a_network_uses_its_weights():
    model = untrained(members=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[0] += 0.3
    model.get_buffer("weights").copy_(torch.tensor([0.0, 1.0]))
    report = headline_of(model)
    assert report.headline["kl_ensemble"] == pytest.approx(report.members["kl"][1])
    assert report.members["kl"][0] != pytest.approx(report.members["kl"][1])
    assert report.headline["kl"] == pytest.approx(report.members["kl"].mean())
    log_q = report.by_row["test_log_density"]
    assert log_q.shape == (50, 2)
    np.testing.assert_allclose(report.by_row["test_log_density_ensemble"], log_q[:, 1])


# Calibration


def standard(n: int, seed: int, dim: int = 2) -> Array:
    return np.random.default_rng(seed).standard_normal((n, dim))


def log_normal(x: Array, scale: float = 1.0) -> Array:
    """Return log-densities ``(n, 1)`` of ``N(0, scale^2 I)`` at points ``(n, D)``."""
    return norm.logpdf(x, scale=scale).sum(1, keepdims=True)


def test_the_truth_lies_on_the_diagonal_within_its_sampling_error():
    n, levels = 20_000, calibration.LEVELS
    p = truth()
    members = [chunked_log_prob(p, draw(ring(), n, seed)) for seed in (1, 2, 3)]
    on_truth = chunked_log_prob(p, draw(ring(), n, 4))
    curves = calibration.hdr_coverage(
        np.concatenate(members, axis=1), np.repeat(on_truth, 3, axis=1)
    )
    assert curves.shape == (3, len(levels))
    # Both the threshold and the share come from n draws.
    assert (np.abs(curves - levels) < 4 * np.sqrt(2 * levels * (1 - levels) / n)).all()
    assert (calibration.error(curves) < 0.01).all()


@pytest.mark.parametrize("scale", [0.6, 0.9, 1.0, 1.2, 2.0])
def test_coverage_of_a_gaussian_of_another_width_agrees_with_the_closed_form(scale: float):
    """The truth is N(0, I), q is N(0, s^2 I) in two dimensions.

    The region of level a is the disc |x|^2 <= -2 s^2 log(1 - a).
    """
    n, levels = 50_000, np.array([0.1, 0.5, 0.9])
    on_own, on_truth = log_normal(scale * standard(n, 1), scale), log_normal(standard(n, 2), scale)
    expected = 1 - (1 - levels) ** (scale**2)
    # The error of the threshold times the slope of the curve, and the error of the share
    slope = scale**2 * (1 - levels) ** (scale**2 - 1)
    error = np.sqrt((slope**2 * levels * (1 - levels) + expected * (1 - expected)) / n)
    curve = calibration.hdr_coverage(on_own, on_truth, levels)[0]
    assert (np.abs(curve - expected) < 4 * error).all()
    square = np.square(standard(n, 2) / scale).sum(1, keepdims=True)  # the flow x -> x / s
    radius = calibration.radius_coverage(square, 2, levels)[0]
    assert (np.abs(radius - expected) < 4 * np.sqrt(expected * (1 - expected) / n)).all()
    for found in (curve, radius):
        if scale != 1:
            assert ((found > levels) == (scale > 1)).all()


def test_the_region_holds_the_points_at_its_edge():
    own = np.arange(1.0, 12.0)[:, None]  # its quantiles are whole numbers
    on_truth = np.array([[2.0], [6.0], [10.0], [11.0]])
    assert calibration.hdr_coverage(own, on_truth, np.array([0.1, 0.5, 0.51, 0.9])).tolist() == [
        [0.5, 0.75, 0.75, 1.0]
    ]


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_radius_of_standard_noise_is_chi_square_distributed(dim: int):
    n, levels = 20_000, calibration.LEVELS
    square = np.stack([np.square(standard(n, seed, dim)).sum(1) for seed in (1, 2)], axis=1)
    curves = calibration.radius_coverage(square, dim)
    assert (np.abs(curves - levels) < 4 * np.sqrt(levels * (1 - levels) / n)).all()
    edges = chi2.ppf(levels, dim)
    assert curves[1].tolist() == [(square[:, 1] <= edge).mean() for edge in edges]


def test_the_error_of_a_curve_is_its_mean_distance_from_the_diagonal():
    levels = np.array([0.25, 0.5, 0.75])
    assert calibration.error(
        np.array([[0.25, 0.6, 0.55], [0.25, 0.5, 0.75]]), levels
    ) == pytest.approx([0.1, 0])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_non_finite_value_makes_only_the_curve_of_its_member_nan(bad: float):
    good = standard(100, 1, 3)
    spoilt = good.copy()
    spoilt[17, 1] = bad
    for curves in (
        calibration.hdr_coverage(spoilt, good),
        calibration.hdr_coverage(good, spoilt),
        calibration.radius_coverage(np.square(spoilt), 2),
    ):
        assert np.isnan(curves).all(axis=1).tolist() == [False, True, False]
        assert np.isfinite(curves[[0, 2]]).all()
        assert np.isnan(calibration.error(curves)).tolist() == [False, True, False]


# Cost


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([1.0, 1.01, 0.99, 1.02, 1.0], 10),  # settled at once
        ([5.0, 3.0, 1.04, 1.0, 1.0], 30),
        ([1.0, 1.0, 1.0, 0.8, 1.0], 50),  # a late dip counts
        ([5.0, 4.0, 3.0, 2.0, 1.0], 50),
        ([1.0, np.nan, 1.0, 1.0, 1.0], 30),
        ([1.0, np.inf, 1.0, 1.0, 1.0], 30),
        ([1.0, 1.0, 1.0, 1.0, np.nan], np.nan),
        ([1.0, 1.0, 1.0, 1.0, np.inf], np.nan),
    ],
)
def test_a_curve_has_converged_when_it_stays_within_a_twentieth_of_a_nat(
    curve: list[float], expected: float
):
    epochs = np.array([10.0, 20.0, 30.0, 40.0, 50.0])
    assert epochs_to_converge(epochs, np.array(curve)[:, None]) == pytest.approx(
        [expected], nan_ok=True
    )


def test_every_member_converges_at_its_own_epoch():
    curves = np.array([[1.0, 3.0, 2.0], [1.0, 2.0, 2.0], [1.0, 2.0, np.nan]])
    assert epochs_to_converge(np.array([1.0, 2.0, 3.0]), curves) == pytest.approx(
        [1, 2, np.nan], nan_ok=True
    )


def test_flops_of_a_realnvp_agree_with_a_count_of_its_products_by_hand():
    members, couplings, hidden, rows = 3, 4, 8, 50
    flow = flows.build(flows.RealNVP(couplings=couplings, hidden=hidden), (2,), members=members)
    kept, outputs = 1, 2  # one feature in, a scale and a shift out
    forward = 2 * rows * hidden * (kept + hidden + outputs) * couplings
    # The backward pass computes two products for each product: for weights and for inputs. Only
    # the data need no gradient
    backward = 2 * forward - 2 * rows * hidden * kept
    assert flops_per_epoch(flow, rows) == forward + backward


# The report

PARTS = truths.make("ring")


class Whole:
    """The ring with the interface of a truth, but without its components."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        return ring().sample(n, rng)

    def log_prob(self, x: Array) -> Array:
        return ring().log_prob(x)


def problem(known: Truth | None = PARTS) -> Problem:
    return Problem(draw(ring(), 160, 3), draw(ring(), 50, 1), known)


def test_the_divergence_of_the_truth_from_itself_is_exactly_0():
    report = evaluate(truth(), problem(), SMALL, name="truth", draws=3)
    assert report.headline["kl"] == 0
    assert report.headline["kl_ensemble"] is None
    for key, value in (
        ("kl", 0),
        ("kl_reverse", 0),
        ("test_excess_nll", 0),
        ("c2st_exact", 0.5),
        ("non_finite", 0),
    ):
        assert report.members[key].tolist() == [value] * 3, key
    assert len(set(report.members["energy_distance"])) == 3  # three draws


def headline_of(model: Population, known: Truth | None = PARTS, **options: Any) -> Report:
    return evaluate(model, problem(known), SMALL, name="model", **options)


def untrained(members: int = 3) -> Population:
    """A flow that is a single Gaussian with the moments of the ring."""
    flow = flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=members)
    return Trainer(flow, draw(ring(), 500, 2), flows.TrainingSettings(noise=0)).population


def test_numbers_that_are_not_finite_are_counted_and_make_their_means_nan():
    report = headline_of(Broken())
    assert report.members["non_finite"].tolist() == [550, 550]
    for key in (
        *SAMPLE_METRICS,
        "kl",
        "test_nll",
        "test_excess_nll",
        "kl_reverse",
        "c2st_exact",
        "hdr_error",
    ):
        assert np.isnan(report.members[key]).all(), key
    assert all(np.isnan(curve).all() for curve in report.curves.values())
    assert [
        key for key, value in report.headline.items() if value is None or not math.isnan(value)
    ] == []


def test_a_model_without_a_density_has_no_likelihoods_and_all_sample_metrics():
    report = headline_of(Mute())
    without = [key for key, value in report.headline.items() if value is None]
    assert without == ["test_nll", "test_nll_ci95", "kl", "kl_sd", "kl_ensemble"]
    assert np.isfinite([report.members[key] for key in SAMPLE_METRICS]).all()
    assert report.headline["modes"] > 7
    assert np.isnan(report.members["hdr_error"]).all()
    assert list(report.curves) == ["mode_mass"]


def test_a_flow_has_every_curve_and_a_reference_no_radius():
    levels = len(calibration.LEVELS)
    report = headline_of(untrained())
    assert {key: curve.shape for key, curve in report.curves.items()} == {
        "mode_mass": (3, 9),
        "hdr": (3, levels),
        "radius": (3, levels),
    }
    for key in ("hdr", "radius"):
        # The density of the Gaussian is highest at the centre of the ring, where no points are
        assert (report.curves[key][:, 0] == 0).all()
        assert (calibration.error(report.curves[key]) > 0.1).all()
    error = calibration.error(report.curves["hdr"])
    assert report.members["hdr_error"].tolist() == error.tolist()
    report = headline_of(truth(), draws=4)
    assert {key: curve.shape for key, curve in report.curves.items()} == {
        "mode_mass": (4, 9),
        "hdr": (4, levels),
    }
    assert len(set(report.members["hdr_error"])) == 4


@pytest.mark.parametrize("model", [Broken(), Mute(), truth()], ids=["broken", "mute", "truth"])
def test_every_row_has_the_same_headline_keys_in_the_same_order(model: Population):
    report = headline_of(model, columns={"parameters": 7})
    assert tuple(report.headline) == HEADLINE
    assert list(report.members["parameters"]) == [7] * model.members
    assert list(report.members)[-2:] == ["parameters", "hdr_error"]


@pytest.mark.parametrize(("test_rows", "key"), [(150, "samples = 100"), (5, "neighbours = 5")])
def test_too_few_samples_or_test_rows_are_rejected(test_rows: int, key: str):
    few = Problem(draw(ring(), 160, 3), draw(ring(), test_rows, 1))
    settings = EvaluationSettings(fresh=100, samples=100)
    with pytest.raises(ValueError, match=f"^{test_rows} test rows .*{key} "):
        evaluate(truth(), few, settings, name="truth")


def test_an_evaluation_repeats_to_the_bit():
    first, second = headline_of(truth(), draws=2), headline_of(truth(), draws=2)
    assert first.headline == second.headline
    np.testing.assert_equal(first.members, second.members)  # treats NaN as equal to NaN
    np.testing.assert_equal(first.curves, second.curves)


# Unknown truths


MODELS: dict[str, Callable[[], Population]] = {
    "flow": untrained,
    "mute": Mute,
    "reference": truth,
}


@cache
def of_the_whole(model: str) -> Report:
    return headline_of(MODELS[model]())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("known", [None, Whole()], ids=["no truth", "no components"])
def test_only_metrics_that_need_an_unknown_part_are_missing(model: str, known: Truth | None):
    made = MODELS[model]()
    with_all, without = of_the_whole(model), headline_of(made, known)
    gone = set(samples.MODES)
    if known is None:
        gone |= {
            "test_excess_nll",
            "kl",
            "kl_sd",
            "kl_se",
            "kl_ensemble",
            "kl_reverse",
            "c2st_exact",
            "hdr_error",
        }
    if not made.supports("log_prob"):
        gone |= {*METRICS, *HEADLINE, "hdr_error"} - set(samples.TWO_SAMPLE)
    assert {key for key, value in without.headline.items() if value is None} >= gone & set(HEADLINE)
    for key in HEADLINE:
        assert without.headline[key] == (None if key in gone else with_all.headline[key]), key
    assert list(without.members) == list(with_all.members)  # always the same columns
    for key, values in without.members.items():
        if key in gone:
            assert np.isnan(values).all(), key
        elif key != "mmd":  # its bandwidth depends on known components
            np.testing.assert_array_equal(values, with_all.members[key], err_msg=key)
    assert np.isfinite(without.members["mmd"]).all()


def test_a_truth_that_is_not_a_mixture_gives_a_kl_and_no_modes():
    report = headline_of(untrained(), Whole())
    assert np.isfinite(
        [report.headline[key] for key in ("kl", "kl_sd", "kl_ensemble", "test_nll")]
    ).all()  # type: ignore[list-item]
    assert report.headline["modes"] is None
    assert sorted(report.curves) == ["hdr", "radius"]


def test_without_a_truth_the_curves_are_left_out():
    assert headline_of(untrained(), None).curves == {}


def test_the_report_of_an_unknown_truth_has_all_keys_and_no_numbers():
    row, full = unknown(), of_the_whole("flow")
    assert list(row.headline) == list(full.headline)
    assert list(row.members) == list(full.members)
    assert set(row.headline.values()) == {None}
    assert all(np.isnan(values).all() for values in row.members.values())


def test_without_components_the_bandwidth_is_the_median_distance():
    rows = draw(ring(), 40, 1)
    apart = [math.dist(a, b) for i, a in enumerate(rows) for b in rows[:i]]
    assert samples.kernel_bandwidth(rows, None) == pytest.approx(np.median(apart))


def test_the_units_of_a_table_change_no_score_of_its_samples():
    class Shuffled(Population):
        """Draws the rows of a table."""

        def __init__(self, rows: Array) -> None:
            super().__init__(1, (2,), {})
            self.rows = torch.from_numpy(rows)

        def sample(self, sample_shape: Any = (), generator: Any = None) -> torch.Tensor:
            return self.rows[generator.integers(len(self.rows), size=tuple(sample_shape))][:, None]

    columns, found = [field("income", "positive"), field("height")], []
    for units in ([1, 1], [1e6, 1e-3]):
        train, test = (
            np.exp(standard(n, n, 2) * [3, 0]) * [1, 0] + standard(n, n, 2) * [0, 1]
            for n in (100, 30)
        )
        made = Problem(train * units, test * units, None, ColumnMaps(columns))
        found.append(evaluate(Shuffled(made.train), made, SMALL, name="rows").members)
    for key in samples.TWO_SAMPLE:
        np.testing.assert_allclose(found[0][key], found[1][key], rtol=1e-6, err_msg=key)


def test_a_problem_with_parts_that_do_not_match_is_rejected():
    with pytest.raises(
        ValueError, match=r"training rows of shape \(2,\) and test rows of shape \(3,\)"
    ):
        Problem(np.zeros((5, 2)), np.zeros((5, 3)))
    rows = np.zeros((5, 2))
    with pytest.raises(ValueError, match="3 columns for rows of 2 numbers"):
        Problem(rows, rows, None, ColumnMaps([field(name) for name in "abc"]))
    images = np.zeros((5, 1, 4, 4))
    with pytest.raises(ValueError, match=r"to_real is for vectors; the rows have the shape \(1, 4"):
        Problem(images, images, None, ColumnMaps([field("a")]))


class Blank(Population):
    """Standard normal noise of any event shape, with the same numbers for all shapes."""

    def __init__(self, event_shape: tuple[int, ...]) -> None:
        super().__init__(2, event_shape, {})

    def sample(self, sample_shape: Any = (), generator: Any = None) -> torch.Tensor:
        return normal(generator, *sample_shape, 2, *self.event_shape)

    def encode(self, value: Any) -> torch.Tensor:
        return self.points(value).double().expand(-1, 2, *self.event_shape)

    def log_prob(self, value: Any) -> torch.Tensor:
        return torch.distributions.Normal(0.0, 1.0).log_prob(self.encode(value)).flatten(2).sum(2)


def test_images_are_scored_as_the_rows_of_their_pixels():
    train, test = standard(100, 1, 6), standard(30, 2, 6)
    flat, image = (
        evaluate(
            Blank(shape),
            Problem(train.reshape(-1, *shape), test.reshape(-1, *shape)),
            SMALL,
            name="noise",
        )
        for shape in ((6,), (1, 2, 3))
    )
    assert flat.headline == image.headline
    np.testing.assert_equal(flat.members, image.members)


class NormalImages:
    """A true distribution of images."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        return rng.standard_normal((n, 1, 2, 3))

    def log_prob(self, x: Array) -> Array:
        return norm.logpdf(x).sum((1, 2, 3))


def test_a_model_of_images_is_compared_with_a_truth_of_images():
    train, test = (standard(n, n, 6).reshape(-1, 1, 2, 3) for n in (100, 30))
    report = evaluate(Blank((1, 2, 3)), Problem(train, test, NormalImages()), SMALL, name="noise")
    for key in ("kl", "kl_reverse", "test_excess_nll"):
        assert report.members[key] == pytest.approx([0, 0], abs=1e-6), key
    assert (calibration.error(report.curves["radius"]) < 0.05).all()
