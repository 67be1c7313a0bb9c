"""Adaptive quadrature of one integral per row."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from flows.tables.posterior.quadrature import Line, integrate


def test_quadrature_finds_narrow_peaks():
    widths, centres = np.array([0.3, 0.01, 0.002]), np.array([0.5, 0.21, 0.7])

    def log_integrand(row, u):
        log_f = stats.norm.logpdf(u, centres[row][:, None], widths[row][:, None])
        return np.stack([log_f, log_f + 900], axis=-1)

    nodes = integrate(log_integrand, 3, 1e-6)
    found = np.stack([logsumexp(nodes.log_mass[nodes.row == k], axis=(0, 1)) for k in range(3)])
    wanted = stats.norm.cdf((1 - centres) / widths) - stats.norm.cdf(-centres / widths)
    assert np.allclose(found[:, 0], np.log(wanted), atol=1e-5)
    assert np.allclose(found[:, 1] - 900, np.log(wanted), atol=1e-5)


def test_the_line_reaches_far_intervals_and_far_peaks():
    """The rest of a normal distribution beyond 40 deviations, and one 90 deviations away."""
    low, center = np.array([40.0, -np.inf, -np.inf]), np.array([0.0, 90.0, 0.0])
    high = np.array([np.inf, np.inf, -40.0])
    line = Line(low, high)

    def log_integrand(row, t):
        v, log_width = line.at(row, t)
        return (stats.norm.logpdf(v, center[row][:, None]) + log_width)[..., None]

    nodes = integrate(log_integrand, 3, 1e-4)
    found = [logsumexp(nodes.log_mass[nodes.row == k]) for k in range(3)]
    wanted = [stats.norm.logsf(40), 0.0, stats.norm.logsf(40)]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_parts_of_an_interval_follow_the_distribution_function():
    line = Line(np.array([-np.inf, 30.0]), np.array([np.inf, np.inf]))

    def log_integrand(row, t):
        v, log_width = line.at(row, t)
        return (stats.norm.logpdf(v) + log_width)[..., None]

    nodes = integrate(log_integrand, 2, 1e-3)
    shares = nodes.shares(nodes.log_mass[..., 0])
    for k, start in enumerate((1.0, stats.norm.sf(30))):
        own = np.flatnonzero(nodes.row == k)
        own = own[np.argsort(nodes.start[own])]
        ends = line.at(np.full(len(own), k), nodes.edges[own, 1:])[0]
        level = 1 - shares[own].ravel().cumsum() / shares[own].sum()
        np.testing.assert_allclose(level, stats.norm.sf(ends.ravel()) / start, atol=0.01)
