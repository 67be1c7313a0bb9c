"""Mixtures of labels and numbers, ensembles of them, and fits of tables with labels."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from frames import two_classes
from helpers import SHORT_RECIPE, SMALL, few_samples, field
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import flows
from flows import Mixture
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.networks.preprocessing import Preprocessing
from flows.recipe.ensemble import Ensemble
from flows.recipe.record import RowState
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.field import Field
from flows.tables.density.frame_density import Density


@pytest.fixture
def frame() -> pd.DataFrame:
    return two_classes()


def category(name: str, count: int) -> Field:
    return field(name, "category", step=1.0, labels=tuple(f"{name}{k}" for k in range(count)))


def columns_of(sizes: list[int]) -> list[Field]:
    """Return the labels, then two numbers."""
    labels = [category(f"label{k}", size) for k, size in enumerate(sizes)]
    return [*labels, field("x"), field("y", "positive")]


def mixture(sizes: list[int]) -> GaussianMixture:
    """Return two classes of the columns of ``columns_of``."""
    rng = np.random.default_rng(1)
    means = np.array([[-1.0, 0.0], [1.0, 0.5]])
    covariances = np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.4, -0.1], [-0.1, 0.8]]])
    shares = [rng.dirichlet(np.ones(size), 2) for size in sizes]
    classes = Mixture(np.array([0.4, 0.6]), means, covariances, shares)
    preprocessing = Preprocessing((2,), 1, ColumnMaps(columns_of(sizes)[-2:]))
    rows = np.column_stack([rng.normal(3, 2, 100), rng.lognormal(1, 0.5, 100)])
    preprocessing.fit_scaler(rows[:, None])
    return GaussianMixture.of(classes, preprocessing)


def rows_of(sizes: list[int], n: int = 12) -> Array:
    rng = np.random.default_rng(2)
    codes = [rng.integers(0, size, n).astype(float) for size in sizes]
    return np.column_stack([*codes, rng.normal(3, 2, n), rng.lognormal(1, 0.5, n)])


def by_hand(model: GaussianMixture, rows: Array) -> tuple[Array, Array]:
    """Return log q(x, c) = log sum_k w_k N(z; k) prod_j P(c_j | k) |dz/dx|, and log q(c)."""
    scaler, count = model.preprocessing.standardize.scaler, model.context
    real = np.column_stack([rows[:, count], np.log(rows[:, count + 1])])
    z = (real - scaler.mean[0]) / scaler.deviation[0]
    codes, own = rows[:, :count].astype(int), model.mixture
    joint, labels = np.zeros(len(rows)), np.zeros(len(rows))
    for k, weight in enumerate(own.weights):
        share = weight * np.ones(len(rows))
        for of_column, code in zip(model.mixture.shares, codes.T, strict=True):
            share = share * of_column[k, code]
        labels += share
        joint += share * multivariate_normal(own.means[k], own.covariances[k]).pdf(z)
    return np.log(joint / rows[:, count + 1] / scaler.deviation.prod()), np.log(labels)


@pytest.mark.parametrize("sizes", [[2], [2, 2, 4, 3], [2] * 12])
def test_classes_give_the_numbers_given_the_labels_and_the_joint_density(sizes: list[int]):
    model, rows = mixture(sizes), rows_of(sizes)
    joint, labels = by_hand(model, rows)
    codes, x = rows[:, : len(sizes)], rows[:, len(sizes) :]
    np.testing.assert_allclose(model.log_prob(x, codes)[:, 0], joint - labels)
    np.testing.assert_allclose(model.score(rows)[:, 0], joint)
    rows[:, 0] = np.nan  # summed over the labels
    each = []
    for code in range(sizes[0]):
        full = rows.copy()
        full[:, 0] = code
        each.append(by_hand(model, full)[0])
    np.testing.assert_allclose(model.score(rows)[:, 0], logsumexp(each, axis=0))


def test_samples_of_numbers_given_labels_are_those_of_their_classes():
    model = mixture([2, 3])
    codes = np.tile([[1.0, 2.0]], (40_000, 1))
    drawn = model.sample((), numpy_generator(0, "sample"), codes)
    assert drawn.shape == (40_000, 1, 2)
    shares, own = model.mixture.shares, model.mixture
    given = own.weights * shares[0][:, 1] * shares[1][:, 2]
    z = model.preprocessing(drawn[:, 0].mT[None])[0][0].numpy()
    expected = given / given.sum() @ own.means
    np.testing.assert_allclose(z.mean(axis=1), expected, atol=0.03)
    assert (drawn[:, 0, 1] > 0).all()


def labelled(sizes: list[int]) -> Ensemble:
    """Return three networks of two folds."""
    count, columns = len(sizes), columns_of(sizes)
    own = {"members": 3, "to_real": ColumnMaps(columns), "context": count}
    networks = flows.build(SMALL, (2,), **own)
    labels = [
        mixture(sizes).mixture.marginal(0),
        Mixture.of_labels(np.ones(1), [np.full((1, size), 1 / size) for size in sizes]),
    ]
    of_member = [labels[0], labels[1], labels[1]]
    return Ensemble([networks], np.full(3, 1 / 3), of_member, ColumnMaps(columns))


def test_the_log_density_is_that_of_the_labels_of_the_fold_and_of_the_numbers_given_them():
    ensemble, rows = labelled([2, 3]), rows_of([2, 3])
    codes, x = rows[:, :2], rows[:, 2:]
    own = ensemble.networks.log_prob(x, codes).double().numpy()
    first = by_hand(mixture([2, 3]), rows)[1]
    expected = own + np.column_stack([first, np.full((12, 2), -np.log(6))])
    np.testing.assert_allclose(ensemble.score(rows), expected, rtol=1e-6)
    per_member = np.repeat(rows[:, None], 3, axis=1)
    per_member[:, 2, 0] = 1 - per_member[:, 2, 0]  # another label for the last member
    found = ensemble.score(per_member)
    np.testing.assert_allclose(found[:, :2], expected[:, :2], rtol=1e-6)
    changed = rows.copy()
    changed[:, 0] = 1 - changed[:, 0]
    np.testing.assert_allclose(found[:, 2], ensemble.score(changed)[:, 2], rtol=1e-6)


def test_a_missing_label_is_integrated_out_by_a_mixture_and_unknown_to_a_network():
    table = rows_of([2, 3], 4)
    table[0, 0] = np.nan
    assert np.isnan(labelled([2, 3]).score(table)[0]).all()
    own = mixture([2, 3])
    columns = ColumnMaps(columns_of([2, 3]))
    model = Ensemble([own], [1.0], [own.mixture.marginal(0)], columns)
    np.testing.assert_allclose(model.score(table), own.score(table))


def test_labels_with_many_combinations_are_drawn_and_not_listed():
    columns = [category(f"label{j}", 2) for j in range(64)]
    labels = Mixture.of_labels(np.ones(1), [np.array([[0.3, 0.7]])] * 64)
    part = GaussianMixture.of(labels)
    density = Density(Ensemble([part], [1.0], [labels], ColumnMaps(columns)))
    with few_samples():
        drawn = density.sample(given=pd.DataFrame({"label0": ["label00"] * 20}))
    assert (drawn["label0"] == "label00").all()
    second = [f"label{j}1" for j in range(1, 64)]
    assert (drawn.iloc[:, 1:] == second).mean(axis=None) == pytest.approx(0.7, abs=0.05)


def test_an_impossible_point_has_no_density_and_is_not_a_nan():
    point = np.array([[1e160, 0.0]])
    assert np.isneginf(mixture([2]).mixture.log_prob(point, np.zeros((1, 1), np.int64)))


def test_samples_have_codes_with_their_probabilities():
    drawn = labelled([2, 3]).draw(20_000, numpy_generator(0, "sample"))
    assert drawn.shape == (20_000, 3, 4)
    weights, shares = mixture([2, 3]).mixture.weights, mixture([2, 3]).mixture.shares
    for a, b in product(range(2), range(3)):
        own = (drawn[..., 0] == a) & (drawn[..., 1] == b)
        expected = float((weights * shares[0][:, a] * shares[1][:, b]).sum())
        np.testing.assert_allclose(own.mean(axis=0), [expected, 1 / 6, 1 / 6], atol=0.015)


def test_draws_in_gaps_have_the_density_that_is_returned():
    """The mean of q(known, drawn) / r(drawn) over draws is q(known)."""
    model, rows = mixture([2, 3]), rows_of([2, 3], 4)
    rows[0, 0] = rows[1, 2] = rows[2, 1] = rows[2, 3] = rows[3, 0] = rows[3, 2] = np.nan
    shares = [share[:1] for share in model.mixture.shares]
    flat = Mixture(np.ones(1), np.zeros((1, 2)), 1.5**2 * np.eye(2)[None], shares)
    filler = GaussianMixture.of(flat, model.preprocessing)
    many = rows.repeat(20_000, axis=0)
    filled, log_r = filler.draw_missing(many, np.random.default_rng(0))
    assert not np.isnan(filled).any()
    np.testing.assert_array_equal(np.where(np.isnan(many), np.nan, filled), many)
    log_w = (model.score(filled)[:, 0] - log_r).reshape(4, -1)
    found = logsumexp(log_w, axis=1) - np.log(20_000)
    np.testing.assert_allclose(found, model.score(rows)[:, 0], atol=0.03)


# In the automatic recipe


@pytest.mark.slow
def test_a_fit_has_two_families_of_networks_and_classes_and_its_scores_are_out_of_fold(
    frame: pd.DataFrame,
):
    density = flows.fit(frame, SMALL, members=10, settings=SHORT_RECIPE)
    population, record = density.population, density.record
    assert len({id(each) for each in population.labels}) == 5  # a density of labels per fold
    assert population.network_count == 10
    models = [member.settings.get("model") for member in record.members]
    assert set(models[:10]) <= {"nsf", "conditional"}
    assert models[10:] == [None] * 10
    assert "5 mixtures with preprocessing margins, 2 components" in str(density)
    log_q = density.log_prob_members(frame)
    fold = record.row_scores.fold
    weights = population.member_weights.numpy()
    out_of_fold = np.array([record.out_of_fold_members(f) for f in fold])
    with np.errstate(divide="ignore"):
        expected = np.logaddexp.reduce(np.log(out_of_fold * weights * 5) + log_q, axis=1)
    np.testing.assert_allclose(record.row_scores.log_density, expected, rtol=1e-4, atol=1e-4)


def test_a_file_keeps_a_density_with_labels_to_the_bit(frame: pd.DataFrame, tmp_path: Path):
    frame.loc[::9, "stay"] = None
    density = flows.fit(frame, SMALL, members=2, settings=SHORT_RECIPE)
    density.save(tmp_path / "one.flow")
    loaded = flows.load(tmp_path / "one.flow")
    np.testing.assert_array_equal(loaded.log_prob(frame), density.log_prob(frame))
    assert loaded.sample(50).equals(density.sample(50))
    assert str(loaded) == str(density)
    loaded.save(tmp_path / "two.flow")
    assert (tmp_path / "one.flow").read_bytes() == (tmp_path / "two.flow").read_bytes()


@pytest.mark.slow
def test_labels_and_numbers_of_the_density_sum_to_one(frame: pd.DataFrame):
    density = flows.fit(frame, SMALL, members=2, settings=SHORT_RECIPE)
    grid = np.linspace(-12, 15, 3_001)
    total = 0.0
    for ward, stay in product(["north", "south"], "abc"):
        rows = pd.DataFrame({"ward": ward, "x": grid, "stay": stay})
        total += np.exp(density.log_prob(rows)).sum() * (grid[1] - grid[0])
    assert total == pytest.approx(1, abs=0.005)


@pytest.mark.slow
def test_many_labels_of_many_columns_give_finite_scores():
    rng = np.random.default_rng(0)
    names = [f"c{k}" for k in range(10)]
    frame = pd.DataFrame({name: rng.integers(0, 20, 200).astype(str) for name in names})
    frame["x"] = rng.normal(size=200)
    density = flows.fit(
        frame, SMALL, members=5, columns=dict.fromkeys(names, "category"), settings=SHORT_RECIPE
    )
    assert np.isfinite(density.record.row_scores.log_density).all()
    assert np.isfinite(density.log_prob(frame[:5].assign(c0=None, c1=None))).all()


@pytest.mark.slow
def test_without_mixtures_labels_have_a_density_of_their_own(frame: pd.DataFrame):
    alone = flows.fit(frame, SMALL, members=5, mixtures=0, settings=SHORT_RECIPE)
    assert alone.population.members == alone.population.network_count == 5
    names = ["ward", "stay"]
    without = flows.fit(frame[names], members=5, mixtures=0, settings=SHORT_RECIPE)
    assert without.population.members == 5
    labels = [
        alone.log_prob(pd.DataFrame({"ward": [ward], "x": [np.nan], "stay": [stay]}))
        for ward, stay in product(["north", "south"], "abc")
    ]
    assert np.exp(labels).sum() == pytest.approx(1, abs=0.01)


def test_an_architecture_without_a_context_refuses_a_table_with_labels(frame: pd.DataFrame):
    said = "^model = 'glow': does not learn numbers given labels; a table with labels needs one"
    with pytest.raises(ValueError, match=f"{said} of nsf, realnvp$"):
        flows.fit(frame, "glow")


def test_a_table_of_labels_only_with_missing_values(frame: pd.DataFrame, tmp_path: Path):
    labels = frame[["ward", "stay"]].copy()
    labels.loc[::9, "stay"] = None
    density = flows.fit(labels, SMALL, members=2, settings=SHORT_RECIPE)
    pairs = pd.DataFrame(list(product(["north", "south"], "abc")), columns=["ward", "stay"])
    np.testing.assert_allclose(np.exp(density.log_prob_members(pairs)).sum(axis=0), 1, rtol=1e-9)
    assert density.sample(200)["stay"].isin(list("abc")).all()
    density.save(tmp_path / "labels.flow")
    loaded = flows.load(tmp_path / "labels.flow")
    np.testing.assert_array_equal(loaded.log_prob(labels), density.log_prob(labels))


@pytest.mark.slow
def test_one_label_and_no_complete_row(frame: pd.DataFrame):
    table = frame[["ward", "x"]].assign(y=frame["x"] + 1.0 + np.arange(70) % 7)
    table.loc[::2, "x"], table.loc[1::2, "y"] = np.nan, np.nan
    density = flows.fit(table, SMALL, members=5, settings=SHORT_RECIPE)
    assert (density.record.row_scores.state == RowState.MISSING_VALUES).all()
    assert float(density.population.member_weights.sum()) == pytest.approx(1)
    assert np.isfinite(density.log_prob(table[:5])).all()


def test_whole_rows_are_drawn_and_scored_together():
    model, n = mixture([2, 3]), 20_000
    drawn = model.draw(n, numpy_generator(0, "sample"))
    assert drawn.shape == (n, 1, 4)
    weights, shares = model.mixture.weights, model.mixture.shares
    own = (drawn[:, 0, 0] == 1) & (drawn[:, 0, 1] == 2)
    expected = float(weights @ (shares[0][:, 1] * shares[1][:, 2]))
    assert own.mean() == pytest.approx(expected, abs=0.01)
    np.testing.assert_array_equal(model.score(drawn), model.score(drawn[:, 0].tolist()))
    np.testing.assert_allclose(model.score(drawn[:9])[:, 0], by_hand(model, drawn[:9, 0])[0])
