"""The metrics of log-densities, compared with closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from flows.evaluation import likelihood
from flows.mixtures.gaussian_mixture import GaussianMixture


def gaussian(mean: list[float], covariance: list[list[float]]) -> GaussianMixture:
    return GaussianMixture([1.0], [mean], [covariance])


def test_exact_auc_of_equal_densities_is_one_half_although_all_scores_tie():
    assert likelihood.exact_auc(np.zeros(50), np.zeros(70)) == 0.5


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
    mean = np.array([0.5, -1.0])
    p_cov, q_cov = np.array([[1.0, 0.3], [0.3, 0.5]]), np.array([[2.0, -0.4], [-0.4, 1.0]])
    p, q = gaussian([0.0, 0.0], p_cov.tolist()), gaussian(mean.tolist(), q_cov.tolist())
    inverse = np.linalg.inv(q_cov)
    expected = 0.5 * (
        np.trace(inverse @ p_cov)
        + mean @ inverse @ mean
        - 2
        + math.log(np.linalg.det(q_cov) / np.linalg.det(p_cov))
    )
    points = p.sample((25_000,), generator=torch.Generator().manual_seed(0))[:, 0]
    assert p.score(points[:, None]).tolist() == p.score(points).tolist()
    log_p, log_q = p.score(points), q.score(points)
    assert log_q.shape == (25_000, 1)
    standard_error = (log_p - log_q).std() / math.sqrt(len(points))
    assert likelihood.divergence(log_p, log_q)[0] == pytest.approx(expected, abs=4 * standard_error)
