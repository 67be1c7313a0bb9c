"""The treatment of densities in the study of tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

import flows
from flows.core.arrays import Array
from flows.density.array_density import ArrayDensity
from flows.recipe.ensemble import Ensemble
from flows.recipe.noise import NeighbourNoise
from studies.tables import treatment
from studies.tables.peers import Density
from studies.tables.treatment import LEVELS, Method

pytestmark = pytest.mark.slow

AXIS = np.linspace(-7, 9, 161)
GRID = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)
CELL = (AXIS[1] - AXIS[0]) ** 2


def rows(n: int, seed: int = 0) -> Array:
    """Return rows of two clusters, with a skewed second column."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 2)) * 0.4 + rng.choice([-1.0, 1.0], (n, 1))
    return np.column_stack([z[:, 0], np.exp(0.5 * z[:, 1]) - 1])


FEW = {
    "mixture": Method(treatment.mixtures, [*product((1, 2), (1e-3, 1e-1))], {"starts": 2}),
    "kernel": treatment.METHODS["kernel"],
    "noise": Method(treatment.noises, [(0.8, 1e-2), (0.35, 1e-1)]),
}


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

    def spies(points: Array, settings: Sequence[float]) -> Iterator[Density]:
        learned_by.append(len(points))
        for setting in settings:

            def log_q(z: Array, setting: float = setting) -> Array:
                assert cdist(z, points).min() > 0
                assert len(points) + len(z) == len(train)
                return -setting * np.square(z).sum(axis=1) + np.log(setting / np.pi)

            yield log_q

    treatment.fit(Method(spies, (0.2, 0.5, 2.0)), train)
    assert learned_by == [80] * 10 + [100, 100] + [80] * 10


def test_a_setting_that_cannot_be_fitted_is_not_chosen() -> None:
    train = rows(40)
    method = Method(treatment.mixtures, [(33, 1e-3), (2, 1e-2)])
    levels = treatment.fit(method, train)  # 32 rows in each fold
    assert np.isfinite(levels[2](train)).all()
    with pytest.raises(ValueError, match=r"no setting can be fitted to 40 rows: \[\(33, 0.001\)\]"):
        treatment.fit(Method(treatment.mixtures, [(33, 1e-3)]), train)


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
    (density,) = treatment.noises(points, [(level, 1e-6)])
    noise, rng = NeighbourNoise(points), np.random.default_rng(0)
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
    population = flows.fit(train, small, members=5).population
    assert isinstance(population, Ensemble)
    alone, without = (
        ArrayDensity(each)
        for each in (population.networks, flows.fit(train, small, members=5, mixtures=0).population)
    )
    log_q = [each.ensemble(each.log_prob(test, np.arange(20)).log_q) for each in (alone, without)]
    assert np.array_equal(*log_q)


def test_one_network_is_a_density() -> None:
    levels = treatment.networks(rows(100))
    for density in levels:
        assert np.exp(density(GRID)).sum() * CELL == pytest.approx(1, abs=0.02)
