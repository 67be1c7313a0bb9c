"""The automatic recipe: complete fits."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from helpers import short_recipe
from scipy.special import logsumexp
from torch.testing import assert_close

import flows
from common.splits import draw_split
from flows import truths
from flows.core.seeds import numpy_generator
from flows.core.settings import QUICK, TrainingSettings
from flows.evaluation import likelihood
from flows.recipe.ensemble import Ensemble
from flows.recipe.network_candidate import spread
from flows.recipe.record import RowState
from flows.recipe.regularisation import REGULARISATIONS
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.field import Field
from stages.pipeline.preparation import from_real
from studies.tables.cells import networks_alone

RECIPE = short_recipe()


def rows(n: int = 60, dim: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim))


def model(members: int = 5, dim: int = 3, **others: Any) -> flows.Flow:
    own = {"couplings": 2, "hidden": 4, "bins": 4}
    return flows.build(flows.NSF(**own), (dim,), members=members, **others)


def fit(population: flows.Flow, x: np.ndarray, test: Any = None, **others: Any) -> flows.Flow:
    return flows.train(population, x, test, TrainingSettings(recipe=RECIPE), **others)


def test_the_quick_recipe_is_recorded_and_races_few_ways_to_regularise_from_end_to_end():
    fitted = flows.train(model(2), rows(), settings=TrainingSettings(recipe="quick"))
    assert fitted.record.recipe == "quick"
    assert fitted.record.steps <= 1.25 * QUICK.most_steps
    few = spread(REGULARISATIONS, 4)
    assert [each.preprocessing for each in few] == ["margins", "margins", "whiten", "raw"]
    assert spread(REGULARISATIONS, 50) == [*REGULARISATIONS]


def test_a_fit_has_the_requested_members_and_records_their_training():
    x, test = rows(), rows(20, seed=1)
    fitted = fit(model(10), x, test)
    record = fitted.record
    assert fitted.members == len(record.members) == 10
    assert sorted(member.fold for member in record.members) == sorted([*range(5)] * 2)
    assert (record.recipe, record.rows) == ("auto", 60)
    assert set(record.references) == {"independent Gaussians", "one Gaussian"}
    assert abs(float(fitted.weights.sum()) - 1) < 1e-9
    logged = len(fitted.history["epoch"])
    for key in ("train", "held_out", "test"):
        assert fitted.history[f"{key}_nll"].shape == (logged, 10)
    np.testing.assert_array_equal(np.bincount(fitted.record.row_scores.fold.astype(int)), [12] * 5)
    expected = torch.logsumexp(fitted.log_prob(test) + fitted.weights.log(), 1)
    assert_close(fitted.ensemble_log_prob(test), expected)


@pytest.mark.parametrize("kinds", [["real"] * 3, ["positive", "interval:-2:3", "real"]])
def test_unseen_rows_are_scored_in_the_users_units(kinds):
    """Members that did not learn from a row score the row; references are in the same units."""
    columns = [Field.parse(name, word) for name, word in zip("abc", kinds, strict=True)]
    x = from_real(columns, rows() + 5)
    real = ColumnMaps(columns).map_rows(x[:, None])[:, 0]
    fitted = model(to_real=ColumnMaps(columns))
    fit(fitted, x)
    log_q, fold = fitted.log_prob(x).numpy(), fitted.record.row_scores.fold
    unseen = np.array([member.fold for member in fitted.record.members])
    for row in range(60):
        mine = unseen == fold[row]
        weights = fitted.weights.numpy()[mine]
        expected = logsumexp(log_q[row, mine], b=weights / weights.sum())
        assert abs(expected - fitted.record.row_scores.log_density[row]) < 1e-4
    log_slope = fitted.preprocessing.to_real(torch.from_numpy(x.T[None].copy()))[1].mean()
    normal = torch.distributions.MultivariateNormal(
        torch.from_numpy(real.mean(0)), torch.from_numpy(np.cov(real.T))
    )
    in_sample = float(normal.log_prob(torch.from_numpy(real)).mean() + log_slope)
    assert in_sample - 0.5 < fitted.record.references["one Gaussian"] < in_sample


def test_equal_fits_have_equal_bytes_and_survive_a_checkpoint(tmp_path):
    x = rows()
    x[3, 1] = x[7, 0] = x[7, 2] = np.nan
    first, second = (fit(model(), x) for _ in range(2))
    flows.save(first, tmp_path / "first")
    flows.save(second, tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    loaded = flows.load(tmp_path / "first")
    assert torch.equal(loaded.ensemble_log_prob(rows()), first.ensemble_log_prob(rows()))
    assert loaded.description == first.description
    assert loaded.record.to_json() == first.record.to_json()
    for key, values in first.record.arrays().items():
        np.testing.assert_array_equal(loaded.record.arrays()[key], values)


def test_equal_rows_share_a_fold_and_count_once_in_the_standard_error():
    x = rows(40)
    fitted = fit(model(), np.concatenate([x, x, x]))
    fold = fitted.record.row_scores.fold.reshape(3, 40)
    assert (fold == fold[0]).all()
    error = fitted.record.row_scores.log_density.std() / np.sqrt(40)
    assert fitted.record.held_out_se == pytest.approx(error)
    assert sorted(np.bincount(fold[0].astype(int))) == [8] * 5


def test_rows_of_a_group_share_a_fold():
    x = rows(60)
    groups = np.repeat(np.random.default_rng(0).permutation(20) - 7, 3)
    fitted = fit(model(), x, groups=groups)
    fold = fitted.record.row_scores.fold.reshape(20, 3)
    assert (fold == fold[:, :1]).all()
    error = fitted.record.row_scores.log_density.std() / np.sqrt(20)
    assert fitted.record.held_out_se == pytest.approx(error)
    # Groups are numbered in the order of their first rows, like equal rows
    equal = fit(model(), x[np.arange(60) // 3 * 3])
    np.testing.assert_array_equal(equal.record.row_scores.fold, fitted.record.row_scores.fold)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (np.arange(59), r"one integer for each of the 60 rows; got an array of int64 of shape"),
        (np.arange(60) / 2, "one integer for each of the 60 rows; got an array of float64"),
        (np.arange(60) % 4, "needs at least 5 different rows or groups, one per fold; got 4"),
    ],
)
def test_invalid_groups_are_rejected(groups: np.ndarray, said: str):
    with pytest.raises(ValueError, match=said):
        fit(model(), rows(), groups=groups)


@pytest.mark.parametrize("bad", [np.inf, -1.0])
def test_infinite_and_impossible_values_are_not_gaps(bad: float):
    columns = [Field.parse(name, word) for name, word in (("a", "positive"), ("b", "real"))]
    x = np.exp(rows(60, 2))
    x[5, 1], x[7, 0] = np.nan, bad
    with pytest.raises(ValueError, match=f"row 7 of train: column a holds {bad:g}; allowed are"):
        fit(model(dim=2, to_real=ColumnMaps(columns)), x)
    with pytest.raises(ValueError, match="row 5 of test holds nan, which is not finite"):
        fit(model(dim=2, to_real=ColumnMaps(columns)), np.exp(rows(60, 2)), x[:6])


def test_the_fixed_recipe_trains_on_the_points_that_it_scores_after_the_automatic_recipe():
    """Training does not apply margins and whitening, so the fixed recipe must remove them."""
    x = np.exp(2 * rows(200, 2))
    settings = TrainingSettings(epochs=60, batch_size=100, noise=0.05)
    fresh, again = model(dim=2), fit(model(dim=2), x)
    for population in (fresh, again):
        flows.train(population, x, settings=settings)
    maps = again.preprocessing
    assert maps.steps == [maps.to_real, maps.standardize, maps.reach]
    assert (again.member_weights == 1 / again.members).all()
    nll, expected = (each.history["train_nll"][-1].mean() for each in (again, fresh))
    assert abs(nll - expected) < 0.5


def test_a_fit_reports_its_expected_time_and_memory(capfd):
    settings = TrainingSettings(recipe=short_recipe(steps=60))
    flows.train(model(), rows(), settings=settings, name="patients")
    said = r"patients: 60 rows of 3 columns: the fit will take about \d+ s and [\d.]+ GB"
    assert re.match(said, capfd.readouterr().err)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_fewer_members_hold_out_fewer_of_five_folds(members: int):
    fitted = fit(model(members), rows())
    folds = {member.fold for member in fitted.record.members}
    assert folds == set(range(members))
    not_held_out = fitted.record.row_scores.state == RowState.NOT_HELD_OUT
    assert not_held_out.sum() == 60 - 12 * members


@pytest.mark.parametrize(
    ("members", "said"),
    [(6, "multiple of 5"), (5 * len(REGULARISATIONS) + 5, f"up to {5 * len(REGULARISATIONS)}")],
)
def test_an_invalid_number_of_members_is_rejected(members: int, said: str):
    with pytest.raises(ValueError, match=f"members = {members}: .*{said}"):
        fit(model(members), rows())
    with pytest.raises(ValueError, match=f"members = {members}: .*{said}"):
        flows.fit(rows(), members=members)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "dim"), [(13, 1), (13, 3), (20, 30)])
def test_small_tables_of_any_shape_give_finite_numbers(n: int, dim: int):
    x = np.random.default_rng(2).standard_normal((n, dim))
    fitted = fit(model(dim=dim), x)
    assert fitted.log_prob(x).isfinite().all()
    assert fitted.sample((100,)).isfinite().all()
    assert np.isfinite(fitted.record.row_scores.log_density).all()


@pytest.mark.slow
def test_kl_on_the_ring_is_the_documented_value():
    """docs/choices.md reports these numbers.

    The NSF of the pipeline, data seed 0, 100,000 fresh points.
    """
    truth = truths.make("ring")
    train, _ = draw_split(truth, 1000, 200, seed=0, split_seed=0)
    density = flows.fit(train, flows.NSF(couplings=4, bins=16))
    population = density.population
    assert isinstance(population, Ensemble)
    fresh = truth.sample(100_000, numpy_generator(0, "fresh"))
    log_p, log_q = likelihood.true_log_density(truth, fresh), population.score(fresh)
    own = log_q[:, : population.network_count]
    mixed = flows.ensemble_log_prob(log_q, population.member_weights)
    alone = flows.ensemble_log_prob(own, networks_alone(density).member_weights)
    kl = likelihood.divergence(log_p, np.stack([mixed, alone], axis=1))
    assert kl == pytest.approx([0.034, 0.091], abs=0.002)
    assert likelihood.divergence(log_p, own).mean() == pytest.approx(0.121, abs=0.003)


def test_checks_and_training_use_subsamples_and_every_row_is_scored():
    few = short_recipe(train_rows=30, check_rows=5, epoch=2, piece_rows=7)
    x = rows(101)
    fitted = flows.train(model(), x, rows(20), TrainingSettings(recipe=few))
    assert np.isfinite(fitted.record.row_scores.log_density).all()
    log_q, fold = fitted.log_prob(x).numpy(), fitted.record.row_scores.fold
    unseen = np.array([member.fold for member in fitted.record.members])
    weights = fitted.weights.numpy()[unseen == fold[100]]
    expected = logsumexp(log_q[100, unseen == fold[100]], b=weights / weights.sum())
    assert abs(expected - fitted.record.row_scores.log_density[100]) < 1e-4
