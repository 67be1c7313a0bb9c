"""Adaptive quadrature of one integral per row."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from flows.posterior.quadrature import integrate


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
