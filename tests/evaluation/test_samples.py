"""The metrics of samples: scores of the true density, the effects of damage, and definitions."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from prdc import compute_prdc
from rings import draw, ring

from flows.core.arrays import Array
from flows.evaluation import samples
from flows.mixtures.mixture import Mixture


def scores(drawn: Array, truth: Mixture, test: Array) -> dict[str, float]:
    directions = samples.unit_directions(64, 2, np.random.default_rng(9))
    bandwidth = samples.kernel_bandwidth(test, truth)
    two_sample = samples.two_sample_scores(
        test, drawn[: len(test)], neighbours=5, directions=directions, bandwidth=bandwidth
    )
    return {**mode_scores(drawn, truth), **two_sample}


def mode_scores(drawn: Array, truth: Mixture) -> dict[str, float]:
    return samples.mode_scores(samples.mode_mass(drawn, truth), truth)


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


def test_dropping_modes_lowers_diversity_step_by_step_and_leaves_fidelity():
    whole, test = ring(), draw(ring(), 600, 1)
    order = np.random.default_rng(0).permutation(8)
    rows = []
    for kept in (8, 7, 6, 5, 4):
        part = Mixture(np.full(kept, 1 / kept), whole.means[order[:kept]], whole.covariances[:kept])
        many, few = draw(part, 10_000, 2), draw(part, 600, 3)
        rows.append({**mode_scores(many, whole), **samples.neighbour_scores(test, few, 5)})
    assert [row["modes"] for row in rows] == [8, 7, 6, 5, 4]
    for key, sign in (("recall", -1), ("coverage", -1), ("mode_tv", 1)):
        # Each step loses an eighth of the points; chance and points between two modes reduce the
        # loss
        assert (sign * np.diff([row[key] for row in rows]) > 0.05).all(), key
    for key in ("precision", "high_quality"):
        assert min(row[key] for row in rows) > 0.97, key


def test_widening_the_modes_lowers_fidelity_step_by_step():
    whole, test = ring(), draw(ring(), 600, 1)
    rows = [
        scores(
            draw(replace(whole, covariances=whole.covariances * wide**2), 600, 2),
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


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 5])
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
