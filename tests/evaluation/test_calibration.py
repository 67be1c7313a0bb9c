"""The curves of calibration, compared with closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from rings import draw, ring, standard, truth
from scipy.stats import chi2, norm

from flows.core.arrays import Array
from flows.evaluation import calibration


def log_normal(x: Array, scale: float = 1.0) -> Array:
    """Return log-densities ``(n, 1)`` of ``N(0, scale^2 I)`` at points ``(n, D)``."""
    return norm.logpdf(x, scale=scale).sum(1, keepdims=True)


def test_the_truth_lies_on_the_diagonal_within_its_sampling_error():
    n, levels = 20_000, calibration.LEVELS
    p = truth()
    members = [p.score(draw(ring(), n, seed)) for seed in (1, 2, 3)]
    on_truth = p.score(draw(ring(), n, 4))
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


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_radius_of_standard_noise_is_chi_square_distributed(dim: int):
    n, levels = 20_000, calibration.LEVELS
    square = np.stack([np.square(standard(n, seed, dim)).sum(1) for seed in (1, 2)], axis=1)
    curves = calibration.radius_coverage(square, dim)
    assert (np.abs(curves - levels) < 4 * np.sqrt(levels * (1 - levels) / n)).all()
    edges = chi2.ppf(levels, dim)
    assert curves[1].tolist() == [(square[:, 1] <= edge).mean() for edge in edges]


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
