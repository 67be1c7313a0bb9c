"""Mixtures of latent classes as models, and in the ensemble of a table with labels."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import SHORT_RECIPE, SMALL, field
from scipy.integrate import quad
from scipy.stats import multivariate_normal

import flows
from flows import Mixture
from flows.conditionals.labels import log_probability
from flows.core.arrays import Array
from flows.core.seeds import numpy_generator
from flows.mixtures.fitting import fit_mixture, to_nine_digits
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.latent_class_mixture import LatentClassMixture
from flows.mixtures.latent_classes import LatentClasses
from flows.networks.preprocessing import Preprocessing
from flows.recipe import stacking
from flows.recipe.candidate import score_unseen
from flows.recipe.clock import Clock
from flows.recipe.ensemble import Ensemble
from flows.recipe.fold import Fold
from flows.recipe.mixture_candidate import NAMES, ClassCandidate, MixtureCandidate
from flows.recipe.record import RowState
from flows.tables.cells import log_density_in_cell
from flows.tables.column_maps import ColumnMaps
from flows.tables.field import Field


def category(name: str, count: int) -> Field:
    return field(name, "category", step=1.0, labels=tuple(f"{name}{k}" for k in range(count)))


def columns_of(sizes: list[int]) -> list[Field]:
    """Return a label, two numbers, and the other labels."""
    labels = [category(f"label{k}", size) for k, size in enumerate(sizes)]
    return [labels[0], field("x"), field("y", "positive"), *labels[1:]]


def mixture(sizes: list[int], preprocessing: Preprocessing | None = None) -> LatentClassMixture:
    """Return two classes of the columns of ``columns_of``."""
    rng = np.random.default_rng(1)
    means = np.array([[-1.0, 0.0], [1.0, 0.5]])
    covariances = np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.4, -0.1], [-0.1, 0.8]]])
    shares = [rng.dirichlet(np.ones(size), 2) for size in sizes]
    classes = LatentClasses(Mixture(np.array([0.4, 0.6]), means, covariances), shares)
    if preprocessing is None:
        preprocessing = Preprocessing((2,), 1, ColumnMaps(columns_of(sizes)[1:3]))
        rows = np.column_stack([rng.normal(3, 2, 100), rng.lognormal(1, 0.5, 100)])
        preprocessing.fit_scaler(rows[:, None])
    return LatentClassMixture(classes, [sizes[0], 0, 0, *sizes[1:]], preprocessing)


def by_hand(model: LatentClassMixture, rows: Array) -> Array:
    """Return log sum_k w_k N(z; k) prod_j P(c_j | k) |dz/dx|, with z = (log y or x, scaled)."""
    scaler = model.preprocessing.standardize.scaler
    real = np.column_stack([rows[:, 1], np.log(rows[:, 2])])
    z = (real - scaler.mean[0]) / scaler.deviation[0]
    codes = rows[:, model.labels].astype(int)
    total = np.zeros(len(rows))
    own = model.classes.mixture
    for k, weight in enumerate(own.weights):
        density = weight * multivariate_normal(own.means[k], own.covariances[k]).pdf(z)
        for share, code in zip(model.classes.shares, codes.T, strict=True):
            density = density * share[k, code]
        total += density
    return np.log(total / rows[:, 2] / scaler.deviation.prod())


def rows_of(sizes: list[int], n: int = 12) -> Array:
    rng = np.random.default_rng(2)
    codes = [rng.integers(0, size, n).astype(float) for size in sizes]
    return np.column_stack([codes[0], rng.normal(3, 2, n), rng.lognormal(1, 0.5, n), *codes[1:]])


@pytest.mark.parametrize("last", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 2, 4, 13])
def test_the_density_within_a_cell_integrates_to_one(last: int, count: int):
    ends = [-np.inf, *np.arange(0.5, last), np.inf]
    for low, high in pairwise(ends):
        parts = sorted({low, *(end for end in (-0.5, last + 0.5) if low < end < high), high})
        mass = sum(
            quad(lambda x: np.exp(log_density_in_cell(np.array(x), last, count)), *part)[0]
            for part in pairwise(parts)
        )
        assert mass == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("sizes", [[2], [5], [2, 3], [2, 2, 4, 3], [2] * 12])
def test_the_integral_over_the_cells_is_the_probability_of_the_labels(sizes: list[int]):
    model, rows = mixture(sizes), rows_of(sizes)
    found = log_probability(lambda x: model.log_prob(x).numpy(), columns_of(sizes), rows)
    np.testing.assert_allclose(found[:, 0], by_hand(model, rows), rtol=1e-6, atol=1e-6)


def test_adjacent_rows_with_equal_numbers_and_codes_have_their_own_places_in_the_cells():
    model = mixture([3, 2])
    rows = rows_of([3, 2], 4).repeat(3, axis=0)
    rows[:, 0] += np.tile([-0.4, 0.0, 0.45], 4)
    together = model.log_prob(rows).numpy()[:, 0]
    alone = [float(model.log_prob(row[None])) for row in rows]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert model.log_prob(rows[:0]).shape == (0, 1)
    np.testing.assert_array_equal(model.log_prob(rows[:, None]), together[:, None])


def test_far_places_of_the_outer_cells_have_a_density_above_zero():
    model, rows = mixture([3]), rows_of([3], 2)
    rows[:, 0] = [-1e6, 1e6]
    assert np.isfinite(model.log_prob(rows).numpy()).all()


def test_samples_are_codes_with_their_probabilities_and_numbers_of_their_classes():
    model = mixture([2, 3])
    drawn = model.sample((40_000,), numpy_generator(0, "sample"))
    assert drawn.shape == (40_000, 1, 4)
    rows = drawn[:, 0].numpy()
    weights, shares = model.classes.mixture.weights, model.classes.shares
    for a, b in product(range(2), range(3)):
        expected = float((weights * shares[0][:, a] * shares[1][:, b]).sum())
        found = ((rows[:, 0] == a) & (rows[:, 3] == b)).mean()
        assert found == pytest.approx(expected, abs=0.01)
    z = model.preprocessing.forward(drawn[:, 0, 1:3].mT[None])[0][0].numpy()
    given = weights * shares[0][:, 1] / (weights @ shares[0][:, 1])
    expected = given @ model.classes.mixture.means
    np.testing.assert_allclose(z[:, rows[:, 0] == 1].mean(axis=1), expected, atol=0.03)
    assert (rows[:, 2] > 0).all()


def test_the_preprocessing_of_some_columns_maps_them_as_the_whole_does():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.integers(0, 2, 200), rng.normal(size=200), rng.lognormal(size=200)])
    columns = [category("label", 2), field("x"), field("y", "positive")]
    whole = GaussianMixture.fit(
        lambda x: fit_mixture(x, 1, ridge=1e-3), rows + 0.1, ColumnMaps(columns), margins=True
    ).preprocessing
    part = whole.part([2, 1])
    points = torch.from_numpy(rows.T.copy())[None]
    np.testing.assert_array_equal(part(points[:, [2, 1]])[0], whole(points)[0][:, [2, 1]])


def test_a_file_keeps_mixtures_of_latent_classes_to_the_bit(tmp_path: Path):
    parts = [mixture([2, 3]), mixture([2, 3])]
    parts[1].preprocessing.add_margins()
    population = flows.build(SMALL, (4,), members=2, to_real=ColumnMaps(columns_of([2, 3])))
    composite = Ensemble([population, *parts], [0.1, 0.2, 0.3, 0.4])
    flows.save(composite, tmp_path / "one.flow")
    loaded = flows.load(tmp_path / "one.flow").population
    assert [type(each) for each in loaded.parts[1:]] == [LatentClassMixture] * 2
    assert loaded.parts[1].preprocessing.margins is None
    assert loaded.parts[2].preprocessing.margins is not None
    rows = rows_of([2, 3])
    np.testing.assert_array_equal(loaded.log_prob(rows), composite.log_prob(rows))
    first, second = (
        each.sample((9,), numpy_generator(0, "sample")) for each in (loaded, composite)
    )
    np.testing.assert_array_equal(first, second)
    flows.save(loaded, tmp_path / "two.flow")
    assert (tmp_path / "one.flow").read_bytes() == (tmp_path / "two.flow").read_bytes()
    with pytest.raises(ValueError, match="assembled by hand cannot be saved"):
        flows.save(parts[0], tmp_path / "three.flow")


# In the automatic recipe


@pytest.fixture
def frame() -> pd.DataFrame:
    """Two classes, which differ in a number and in two labels."""
    rng = np.random.default_rng(5)
    which = rng.random(70) < 0.4
    ward = np.where(rng.random(70) < np.where(which, 0.9, 0.2), "north", "south")
    stay = np.where(which, rng.choice(["a", "b"], 70), rng.choice(["b", "c"], 70))
    return pd.DataFrame({"ward": ward, "x": rng.normal(3.0 * which, 1.0), "stay": stay})


def test_a_table_with_labels_gets_latent_classes_and_weights_for_their_probabilities(
    frame: pd.DataFrame,
):
    density = flows.fit(frame, SMALL, members=10, settings=SHORT_RECIPE)
    population, record = density.population, density.record
    assert [type(each) for each in population.parts[1:]] == [LatentClassMixture] * 10
    assert "5 mixtures with preprocessing margins, 2 classes" in str(density)
    log_q = density.log_prob_members(frame)
    fold = record.row_scores.fold
    weights = stacking.member_weights(log_q, fold, 5)
    np.testing.assert_array_equal(population.member_weights, weights)
    out_of_fold = np.array([record.out_of_fold_members(f) for f in fold])
    with np.errstate(divide="ignore"):
        expected = np.logaddexp.reduce(np.log(out_of_fold * weights * 5) + log_q, axis=1)
    np.testing.assert_allclose(record.row_scores.log_density, expected)


def test_member_weights_are_fitted_to_the_members_of_the_folds_of_the_rows():
    rng = np.random.default_rng(0)
    fold = rng.integers(0, 2, 400)
    log_q = np.full((400, 4), 5.0)  # of members that learned from the row
    log_q[np.arange(400), fold] = np.where(rng.random(400) < 0.7, 0.0, -np.inf)
    log_q[np.arange(400), 2 + fold] = np.where(np.isneginf(log_q[np.arange(400), fold]), 0, -np.inf)
    share = np.isfinite(log_q[np.arange(400), fold]).mean()
    weights = stacking.member_weights(log_q, fold, 2)
    np.testing.assert_allclose(weights, np.array([share, share, 1 - share, 1 - share]) / 2)


def test_a_table_of_labels_only_with_missing_values(frame: pd.DataFrame):
    labels = frame[["ward", "stay"]].copy()
    labels.loc[::9, "stay"] = None
    density = flows.fit(labels, SMALL, members=5, settings=SHORT_RECIPE)
    assert density.population.parts[1].preprocessing is None
    pairs = pd.DataFrame(list(product(["north", "south"], "abc")), columns=["ward", "stay"])
    np.testing.assert_allclose(np.exp(density.log_prob_members(pairs)).sum(axis=0), 1, atol=0.03)
    mixtures = np.exp(density.log_prob_members(pairs))[:, 5:]
    np.testing.assert_allclose(mixtures.sum(axis=0), 1, rtol=1e-9)
    assert density.sample(200)["stay"].isin(list("abc")).all()


def test_one_label_and_no_complete_row(frame: pd.DataFrame):
    """The weights of the recipe stay, because no row can be scored again."""
    table = frame[["ward", "x"]].assign(y=frame["x"] + 1.0 + np.arange(70) % 7)
    table.loc[::2, "x"], table.loc[1::2, "y"] = np.nan, np.nan
    density = flows.fit(table, SMALL, members=5, settings=SHORT_RECIPE)
    assert (density.record.row_scores.state == RowState.MISSING_VALUES).all()
    assert float(density.population.member_weights.sum()) == pytest.approx(1)
    assert np.isfinite(density.log_prob(table[:5])).all()


def fold_of(frame: pd.DataFrame, columns: list[Field]) -> Fold:
    """Return the first of five folds."""
    labels = [column.labels for column in columns]
    rows = np.column_stack(
        [
            frame[name].map({label: k for k, label in enumerate(own)}) if own else frame[name]
            for name, own in zip(frame, labels, strict=True)
        ]
    ).astype(float)
    return Fold(rows, np.arange(len(rows)) % 5, 0, ColumnMaps(columns))


@pytest.mark.parametrize("name", NAMES)
def test_the_score_of_a_row_without_its_label_is_the_sum_over_the_labels(
    frame: pd.DataFrame, name: str
):
    wards, stays = ("north", "south"), ("a", "b", "c")
    columns = [
        field("ward", "category", step=1.0, labels=wards),
        field("x"),
        field("stay", "category", step=1.0, labels=stays),
    ]
    frame.loc[::2, "stay"] = None
    fold = fold_of(frame, columns)
    candidate = ClassCandidate([len(c.labels) for c in columns])
    model = candidate.fit_fold(fold, name, {"classes": 2, "ridge": 1e-3}, is_last=False)
    [scores] = score_unseen(model, [fold], [np.arange(14)])
    asked = fold.unseen.repeat(3, axis=0)
    unknown = np.isnan(asked[:, 2])
    asked[unknown, 2] = np.tile([0.0, 1.0, 2.0], 14)[unknown]
    log_q = log_probability(lambda x: model.log_prob(x).numpy(), columns, asked).reshape(14, 3)
    expected = np.logaddexp.reduce(log_q, axis=1) - np.log(np.where(unknown[::3], 1, 3))
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)


def test_a_candidate_fits_folds_of_other_rows_that_have_the_same_number(frame: pd.DataFrame):
    columns = [
        field("ward", "category", step=1.0, labels=("north", "south")),
        field("x"),
        field("stay", "category", step=1.0, labels=("a", "b", "c")),
    ]
    counts, setting = [len(c.labels) for c in columns], {"classes": 2, "ridge": 1e-3}
    whole, half = fold_of(frame, columns), fold_of(frame[: len(frame) // 2], columns)
    used = ClassCandidate(counts)
    used.fit_fold(whole, "raw", setting, is_last=False)
    again = used.fit_fold(half, "raw", setting, is_last=False)
    new = ClassCandidate(counts).fit_fold(half, "raw", setting, is_last=False)
    points = torch.from_numpy(half.unseen)
    torch.testing.assert_close(again.log_prob(points), new.log_prob(points), rtol=0, atol=0)


def test_a_table_without_labels_has_gaussians_of_the_points_of_the_fold():
    rng = np.random.default_rng(0)
    columns = [field("x"), field("y")]
    table = pd.DataFrame(rng.normal(size=(60, 2)), columns=["x", "y"])
    fold, clock = fold_of(table, columns), Clock()
    fitted = MixtureCandidate().fit([fold], clock)
    assert min(clock.ended["searches"]) > 4
    margins, raw = fitted.settings
    assert (margins["preprocessing"], raw["preprocessing"]) == NAMES
    points = fold.prepared("raw").points.double().numpy().T
    by_hand = to_nine_digits(fit_mixture(points, raw["components"], ridge=raw["ridge"], starts=3))
    model = fitted.parts[1]
    assert isinstance(model, GaussianMixture)
    np.testing.assert_array_equal(model.means, by_hand.means)
    np.testing.assert_array_equal(model.covariances, by_hand.covariances)
