"""The treatment of densities in the study of tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

import flows
from flows.core.arrays import Array
from flows.networks.population import Population, ensemble_log_prob
from flows.recipe.mixture_candidate import MixtureCandidate, Setting
from flows.recipe.noise import NeighbourNoise
from studies.tables import treatment
from studies.tables.cells import networks_alone
from studies.tables.treatment import LEVELS

pytestmark = pytest.mark.slow

AXIS = np.linspace(-7, 9, 161)
GRID = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)
CELL = (AXIS[1] - AXIS[0]) ** 2


def rows(n: int, seed: int = 0) -> Array:
    """Return rows of two clusters, with a skewed second column."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 2)) * 0.4 + rng.choice([-1.0, 1.0], (n, 1))
    return np.column_stack([z[:, 0], np.exp(0.5 * z[:, 1]) - 1])


class FewMixtures(MixtureCandidate):
    def search(self, score, *others: Any) -> Setting:
        settings = [{"components": k, "ridge": ridge} for k in (1, 2) for ridge in (1e-3, 1e-1)]
        return max(settings, key=score)


class FewNoises(treatment.Noises):
    def search(self, score, *others: Any) -> Setting:
        return max([{"noise": 0.8, "ridge": 1e-2}, {"noise": 0.35, "ridge": 1e-1}], key=score)


FEW = {"mixture": FewMixtures(), "kernel": treatment.Kernels(), "noise": FewNoises()}


@pytest.mark.parametrize("name", FEW)
def test_every_level_is_a_density_of_about_the_same_quality(name: str) -> None:
    train, test = rows(150), rows(500, 1)
    levels = treatment.fit(FEW[name], train)
    assert len(levels) == len(LEVELS)
    for level, density in zip(LEVELS, levels, strict=True):
        log_q = density(GRID).reshape(len(GRID), -1)
        assert log_q.shape[1] == (11 if level == "treated" else 1)  # the ensemble and ten members
        assert np.exp(log_q[:, 0]).sum() * CELL == pytest.approx(1, abs=0.02), level
    plain, _, treated = (density(test).reshape(len(test), -1)[:, 0].mean() for density in levels)
    assert treated > plain - 0.1


def test_no_model_is_scored_on_a_row_that_it_learned_from() -> None:
    """Except the models that are fitted to all rows, which are not scored here."""
    train = rows(100)
    learned_by: list[int] = []

    class Spies(MixtureCandidate):
        def fit_fold(self, fold, name, setting, *, is_last: bool) -> Population:
            points = fold.prepared(name).points.double().numpy().T
            learned_by.append(len(points))

            def log_q(z: Array) -> Array:
                assert cdist(z, points).min() > 0
                assert len(points) + len(z) == len(train)
                return -setting["s"] * np.square(z).sum(axis=1) + np.log(setting["s"] / np.pi)

            return treatment.PointDensity(log_q, fold.prepared(name).by_column())

        def search(self, score, *others: Any) -> Setting:
            return max([{"s": 0.2}, {"s": 0.5}, {"s": 2.0}], key=score)

    treatment.fit(Spies(), train)
    assert learned_by == [80] * 40 + [100, 100]


def test_a_setting_that_cannot_be_fitted_is_not_chosen() -> None:
    class TooMany(FewMixtures):
        def search(self, score, *others: Any) -> Setting:
            settings = [{"components": k, "ridge": 1e-3} for k in (33, 2)]  # 32 rows in each fold
            return max(settings, key=score)

    levels = treatment.fit(TooMany(), rows(40))
    assert np.isfinite(levels[2](rows(40))).all()


def test_margins_are_used_if_their_held_out_score_is_better() -> None:
    rng = np.random.default_rng(0)
    train, test = np.exp(rng.standard_normal((2, 200, 2)) * 1.5)
    plain, margins, _ = treatment.fit(FEW["mixture"], train)
    assert margins(test).mean() > plain(test).mean() + 0.5


def test_bandwidths_maximise_the_leave_one_out_likelihood() -> None:
    points = np.random.default_rng(0).standard_normal((80, 2))
    points[:, 1] = np.sign(points[:, 1]) + 0.1 * points[:, 0]  # two narrow clusters
    best = treatment.column_bandwidths(points)

    def likelihood(h: Array) -> float:
        log_kernels = -0.5 * np.square((points[:, None] - points) / h).sum(axis=2)
        np.fill_diagonal(log_kernels, -np.inf)
        return float(logsumexp(log_kernels, axis=1).mean() - np.log(h).sum())

    assert best[1] < 0.5 * best[0]
    for change in ([1.05, 1], [0.95, 1], [1, 1.05], [1, 0.95]):
        assert likelihood(best * change) < likelihood(best)


def test_the_density_of_the_noise_has_the_moments_of_its_draws() -> None:
    points, level = rows(60), 0.8
    noise, rng = NeighbourNoise(points), np.random.default_rng(0)
    density = treatment.noise_density(noise, level, 1e-6).log_prob
    draws = np.concatenate([noise.visit(np.arange(60), level, rng) for _ in range(1_000)])
    fine = np.linspace(-5, 5, 401)
    grid = np.stack(np.meshgrid(fine, fine), axis=-1).reshape(-1, 2)
    mass = np.exp(density(grid)) * (fine[1] - fine[0]) ** 2
    assert mass.sum() == pytest.approx(1, abs=1e-3)
    assert mass @ grid == pytest.approx(draws.mean(axis=0), abs=0.02)
    second = grid.T @ (mass[:, None] * grid)
    assert second == pytest.approx(draws.T @ draws / len(draws), abs=0.03)


def test_the_networks_of_an_ensemble_are_the_ensemble_without_mixtures() -> None:
    """So the study needs one fit for NSF with mixtures and without."""
    train, test = rows(60), rows(20, 1)
    small = flows.NSF(couplings=2, hidden=4)
    alone = networks_alone(flows.fit(train, small, members=5))
    without = flows.fit(train, small, members=5, mixtures=0).population
    pairs = [(each.score(test), each.member_weights) for each in (alone, without)]
    first, second = (ensemble_log_prob(*pair) for pair in pairs)
    np.testing.assert_array_equal(first, second)


def test_one_network_is_a_density() -> None:
    levels = treatment.networks(rows(100))
    for density in levels:
        assert np.exp(density(GRID)).sum() * CELL == pytest.approx(1, abs=0.02)
