"""Flow matching: training loss, solver, samples and density.

The tests of every model are in ``tests/models/test_models.py``.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
import torch
from chi_square import p_values
from shaking import shake
from torch.testing import assert_close

import flows
from common.splits import draw_split
from flows.core.seeds import numpy_generators
from flows.core.settings import TrainingSettings
from flows.tables.columns.column_maps import ColumnMaps
from flows.truths import ring

RING = ring.make()


def data(seed: int = 100) -> tuple[np.ndarray, np.ndarray]:
    return draw_split(RING, 1000, 200, split_seed=0, seed=seed)


@pytest.fixture(scope="module")
def short():
    """Return a small population after a short training, which has learned the modes."""
    population = flows.build(flows.FlowMatching(hidden=32, layers=3), (2,), members=3)
    settings = TrainingSettings(
        epochs=150, batch_size=200, learning_rate=0.01, noise_factor=1.7, log_every=50
    )
    return flows.train(population, *data(), settings)


def masses(population, side: int = 160) -> np.ndarray:
    """Return the integral of each member's density over a box, computed by the midpoint rule."""
    edges = np.linspace(-16, 16, side + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    points = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    return np.exp(population.score(points)).sum(axis=0) * (edges[1] - edges[0]) ** 2


def test_the_log_determinant_of_the_whole_map_agrees_with_autograd(float64):
    population = flows.build(
        flows.FlowMatching(hidden=12, layers=3, solver_steps=40), (3,), members=2
    )
    shake(population, 0.2)
    points = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 3, 5)))
    _, log_det = population.to_noise(points)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: population.to_noise(x)[0].sum(2), points
    )
    for m, n in product(range(2), range(5)):
        own = jacobian[m, :, m, :, n]
        assert_close(own.slogdet().logabsdet, log_det[m, n], rtol=0, atol=1e-5)
        assert abs(log_det[m, n].item()) > 0.01


def test_every_density_integrates_to_1(short):
    np.testing.assert_allclose(masses(short), 1, atol=0.001)


@pytest.mark.slow
def test_samples_agree_with_the_density(short):
    samples = short.sample((20_000,), generator=np.random.default_rng(5)).numpy()
    log_prob = short.score
    found = p_values(log_prob, samples, low=(-7, -7), high=(7, 7), cells=14, fine=8)
    assert min(found) > 0.001


def test_the_trajectory_starts_with_noise_and_ends_with_samples(short):
    states = short.trajectory((6,), np.random.default_rng(2))
    assert len(states) == short.solver_steps + 2
    assert torch.equal(states[-1], short.sample((6,), generator=np.random.default_rng(2)))
    back, _ = short.to_noise(short.preprocess(states[-1])[0])
    assert_close(short.rows_first(back, torch.Size([6])).float(), states[0], rtol=0, atol=0.02)


# The regression


def test_paths_are_straight_and_end_at_the_training_points():
    population = flows.build(flows.FlowMatching(), (2,), members=2)
    x_1 = torch.randn(2, 2, 50, generator=torch.Generator().manual_seed(0))
    inputs, velocities = population.paths(x_1, numpy_generators(0, "train", range(2)))
    t = (inputs[:, 2:3] + 1) / 2  # the first feature is 2 t - 1
    assert_close(inputs[:, :2] + (1 - t) * velocities, x_1, rtol=0, atol=1e-5)
    assert ((t > 0) & (t < 1)).all()
    assert abs(float(t.mean()) - 2 / 3) < 0.07


def test_optimal_transport_minimises_the_sum_of_squared_distances():
    population = flows.build(flows.FlowMatching(pairing="optimal_transport"), (2,), members=2)
    x_1 = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 2, 6)))
    _, velocities = population.paths(x_1, numpy_generators(0, "train", range(2)))
    for points, velocity in zip(x_1, velocities, strict=True):
        x_0 = points - velocity
        least = min((points - x_0[:, list(p)]).square().sum() for p in permutations(range(6)))
        assert_close(velocity.square().sum(), least)


def test_the_history_has_losses_and_the_final_nll(short):
    history = short.history
    assert [*history] == ["epoch", "train_loss", "test_loss", "train_nll", "test_nll"]
    for key in ("train_nll", "test_nll"):
        assert np.isnan(history[key][:-1]).all()
        assert np.isfinite(history[key][-1]).all()
    assert np.isfinite(history["train_loss"]).all()
    test = -short.score(data()[1]).mean(axis=0)
    np.testing.assert_allclose(history["test_nll"][-1], test, atol=1e-5)


def test_images_are_refused():
    with pytest.raises(ValueError, match="flow matching needs vectors"):
        flows.build(flows.FlowMatching(), (1, 8, 8))


# Tables


def table(columns: int, rows: int = 120) -> pd.DataFrame:
    normal = np.random.default_rng(0).standard_normal((rows, columns))
    normal[:, 1] += normal[:, 0]
    return pd.DataFrame(normal, columns=[f"c{k}" for k in range(columns)])


def fit(columns: int) -> flows.Density:
    rows, model = table(columns), flows.FlowMatching(hidden=16, layers=2, solver_steps=6)
    maps = ColumnMaps([flows.Field.parse(name, "real") for name in rows])
    untrained = flows.build(model, (columns,), members=2, to_real=maps)
    trained = flows.train(untrained, rows.to_numpy(), settings=flows.TrainingSettings(epochs=60))
    return flows.Density(trained)


def test_conditionals_of_a_table_of_three_columns():
    density = fit(3)
    drawn = density.sample(200, given={"c0": 1.5})
    assert (drawn["c0"] == 1.5).all()
    assert drawn["c1"].mean() > 0.5  # c1 is c0 and noise
    rows = table(3, 4)
    rows.loc[0, "c1"] = np.nan
    assert np.isfinite(density.log_prob(rows)).all()
