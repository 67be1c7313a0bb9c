"""Ensembles of networks and mixtures of Gaussians, and how the automatic recipe makes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import SHORT_RECIPE, SMALL, field

import flows
from flows import saving
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.core.settings import QUICK, TrainingSettings
from flows.mixtures.mixture import Mixture
from flows.recipe.ensemble import Ensemble
from flows.recipe.fold import Learned
from flows.recipe.network_candidate import Family, NetworkCandidate
from flows.recipe.recipe import learn
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.density.frame_density import Density

WEIGHTS = [0.1, 0.2, 0.1, 0.25, 0.35]


def gaussian(mean: float, deviation: float) -> flows.GaussianMixture:
    return flows.GaussianMixture.of(Mixture.isotropic(np.full((1, 2), mean), deviation))


@pytest.fixture
def ensemble() -> Ensemble:
    population = flows.build(SMALL, (2,), members=3)
    return Ensemble([population, gaussian(-1.0, 0.5), gaussian(2.0, 1.0)], WEIGHTS)


@pytest.fixture(scope="module")
def rows() -> Array:
    """Two clusters, which one Gaussian does not describe."""
    rng = np.random.default_rng(3)
    return np.concatenate([rng.normal(-2, 0.5, (60, 2)), rng.normal(2, 1.0, (60, 2))])


@pytest.fixture(scope="module")
def density(rows: Array) -> flows.Density:
    return flows.fit(rows, SMALL, settings=SHORT_RECIPE)


def test_log_densities_are_those_of_networks_and_mixtures_side_by_side(ensemble: Ensemble):
    points = np.random.default_rng(0).normal(size=(7, 2))
    log_q = ensemble.score(points)
    assert log_q.shape == (7, 5)
    networks = ensemble.networks.log_prob(points).double().numpy()
    np.testing.assert_array_equal(log_q[:, :3], networks)
    for k, mixture in enumerate(ensemble.parts[1:]):
        np.testing.assert_array_equal(log_q[:, 3 + k], mixture.log_prob(points)[:, 0])
    own = np.repeat(points[:, None], 5, axis=1)
    own[:, 3] += 1.0  # one set of points per member
    expected = log_q.copy()
    expected[:, 3] = ensemble.parts[1].log_prob(points + 1.0)[:, 0]
    np.testing.assert_array_equal(ensemble.score(own), expected)


def test_samples_come_from_each_member_with_its_weight(ensemble: Ensemble):
    drawn = ensemble.draw(4000, numpy_generator(0, "sample"))
    assert drawn.shape == (4000, 5, 2)
    np.testing.assert_allclose(drawn[:, 3].mean(0), -1.0, atol=0.05)
    np.testing.assert_allclose(drawn[:, 4].std(0), 1.0, atol=0.05)
    far = [gaussian(-100.0, 1.0), gaussian(100.0, 1.0)]
    apart = Ensemble([ensemble.networks, *far], WEIGHTS)
    points = apart.draw_ensemble(4000, numpy_generator(0, "sample"))[:, 0]
    assert (points < -50).mean() == pytest.approx(0.25, abs=0.03)
    assert (points > 50).mean() == pytest.approx(0.35, abs=0.03)


def test_mixtures_do_not_change_the_networks_and_raise_the_stacked_score(
    density: flows.Density, rows: Array
):
    alone = flows.fit(rows, SMALL, mixtures=0, settings=SHORT_RECIPE)
    networks = density.population.networks.state_dict()
    for name, tensor in alone.population.networks.state_dict().items():
        assert torch.equal(tensor, networks[name]), name
    assert density.record.held_out > alone.record.held_out - 1e-6


def test_out_of_fold_scores_use_networks_and_mixtures_of_the_fold(
    density: flows.Density, rows: Array
):
    record, log_q = density.record, density.log_prob_members(rows)
    scores = record.row_scores
    for fold in range(5):
        own = scores.fold == fold
        members = record.out_of_fold_members(fold)
        assert members.sum() == 4  # two networks, two mixtures
        weights = density.population.member_weights.numpy()[members]
        by_hand = np.log(np.exp(log_q[own][:, members]) @ (weights / weights.sum()))
        np.testing.assert_allclose(scores.log_density[own], by_hand, rtol=1e-4, atol=1e-4)


def test_a_file_keeps_the_ensemble_to_the_bit(density: flows.Density, rows: Array, tmp_path: Path):
    density.save(tmp_path / "one.flow")
    loaded = flows.load(tmp_path / "one.flow")
    np.testing.assert_array_equal(loaded.log_prob(rows), density.log_prob(rows))
    np.testing.assert_array_equal(loaded.tail_probability(rows), density.tail_probability(rows))
    assert loaded.sample(50).equals(density.sample(50))
    assert str(loaded) == str(density)
    loaded.save(tmp_path / "two.flow")
    assert (tmp_path / "one.flow").read_bytes() == (tmp_path / "two.flow").read_bytes()


def test_an_ensemble_without_networks_is_saved(tmp_path: Path):
    ensemble = Ensemble([gaussian(0.0, 1.0), gaussian(2.0, 1.0)], [0.25, 0.75])
    saving.save(ensemble, tmp_path / "mixtures.flow")
    loaded = saving.load(tmp_path / "mixtures.flow").population
    rows = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_array_equal(loaded.score(rows), ensemble.score(rows))
    np.testing.assert_array_equal(loaded.member_weights, [0.25, 0.75])


def test_the_density_given_a_column_is_that_of_the_ensemble_and_not_a_mean_of_the_members():
    """Members that disagree on the given column have other weights given the column."""
    near, far = gaussian(0.0, 1.0), gaussian(3.0, 0.5)
    density = Density(Ensemble([near, far], [0.5, 0.5]))
    row = pd.DataFrame({"x0": [0.2], "x1": [1.0]})
    parts = [(part.log_prob([[0.2, 1.0]]), part.log_prob([[0.2, np.nan]])) for part in (near, far)]
    joint, margin = (np.logaddexp(*(float(part[k]) for part in parts)) for k in (0, 1))
    assert density.log_prob(row, given=["x0"])[0] == pytest.approx(joint - margin, abs=0.01)


def test_labels_need_the_candidate_that_fits_their_density():
    codes = np.random.default_rng(0).integers(0, 2, 60).astype(float)
    rows = np.column_stack([codes, np.random.default_rng(1).normal(size=60)])
    maps = ColumnMaps([field("w", "category", step=1.0, labels=("a", "b")), field("x")])
    learned = Learned(rows, maps.with_context(1), given=1, recipe=QUICK)

    build = partial(flows.build, SMALL, (1,), to_real=maps, context=1)
    networks = NetworkCandidate([Family(build)], 1, TrainingSettings(recipe="quick"))
    with pytest.raises(ValueError, match="numbers given labels; a MixtureCandidate beside them"):
        learn(learned, [networks])


def lacking_one(rows: Array, numbers: list[int]) -> tuple[Array, Array]:
    """Return rows that lack a number each, and the columns that they lack."""
    columns = np.resize(numbers, len(rows))
    found = rows.copy()
    found[np.arange(len(rows)), columns] = np.nan
    return found, columns


@pytest.mark.slow
@pytest.mark.parametrize("name", ["of_rows", "of_labels"])
def test_the_densities_along_an_unknown_number_are_those_of_complete_rows(
    density: flows.Density, name: str
):
    if name == "of_labels":
        table = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 2)), columns=["x", "y"])
        table["label"] = np.where(table["x"] > 0, "high", "low")
        density = flows.fit(table, SMALL, settings=SHORT_RECIPE)
    array, own = density._array, np.array([4, 0, 0, 2])
    drawn = np.concatenate([*array.draw(5)])
    numbers = [d for d, column in enumerate(array.columns) if not column.labels]
    lacking, columns = lacking_one(drawn, numbers)
    x = np.random.default_rng(1).normal(size=(4, 3))
    complete = lacking[own].repeat(3, axis=0)
    complete[np.arange(12), columns[own].repeat(3)] = x.ravel()
    found = array.population.along(lacking, columns)(own, x)
    expected = array.population.score(complete).reshape(4, 3, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_members_taken_apart_have_the_same_densities(density: flows.Density, rows: Array):
    whole = density._array.population
    members = [0, 2, whole.members - 1]
    part = whole.take(members)
    np.testing.assert_allclose(part.score(rows), whole.score(rows)[:, members], rtol=1e-6)
    weights = whole.member_weights.numpy()[members]
    np.testing.assert_allclose(part.member_weights.numpy(), weights / weights.sum())
