"""Learning from rows with gaps: completions, scores of known values, and complete fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import SHORT_RECIPE, field, learned, short_recipe

import flows
from flows.core.errors import UserError
from flows.core.rows import Rows
from flows.core.settings import Recipe, TrainingSettings
from flows.mixtures.fitting import fit_filler
from flows.mixtures.mixture import Mixture
from flows.networks.preprocessing import Preprocessing
from flows.recipe import candidate
from flows.recipe.fold import Fold
from flows.recipe.fold_trainer import FoldTrainer
from flows.recipe.record import RowState
from flows.recipe.regularisation import Regularisation
from flows.tables import parsing
from flows.tables.checking import check
from flows.tables.column_maps import ColumnMaps
from flows.tables.notices import python_words
from stages.pipeline.preparation import from_real

MIXTURE = Mixture(
    np.array([0.4, 0.6]),
    np.array([[-1.0, 0.0, 1.0], [1.0, 1.0, -1.0]]),
    np.array(
        [[[1, 0.8, 0], [0.8, 1, 0.3], [0, 0.3, 1]], [[0.5, 0, 0.2], [0, 0.3, 0], [0.2, 0, 1]]]
    ),
)


def gappy(n: int, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the mixture, complete and with gaps."""
    rng = np.random.default_rng(0)
    rows = MIXTURE.sample(n, rng)
    return rows, np.where(rng.random(rows.shape) < share, np.nan, rows)


def test_draws_follow_the_conditional_density():
    row = np.array([[0.3, np.nan, np.nan]])
    rng = np.random.default_rng(0)
    filled, log_r = MIXTURE.draw_missing(Rows.of_numbers(row.repeat(40_000, axis=0)), rng)
    drawn = filled.numbers
    mean, deviation = MIXTURE.conditional(row, np.isnan(row[0])).moments()
    np.testing.assert_allclose(drawn.mean(axis=0), [0.3, *mean[0]], atol=0.03)
    np.testing.assert_allclose(drawn.std(axis=0), [0, *deviation[0]], atol=0.02)
    known = MIXTURE.log_prob(row)
    np.testing.assert_allclose(known + log_r, MIXTURE.log_prob(drawn), atol=1e-9)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_mixture_fitted_to_rows_with_gaps_is_near_the_truth(share):
    rows, gaps = gappy(1_500, share)
    found = fit_filler(Rows.of_numbers(gaps), Recipe())
    far = MIXTURE.log_prob(rows) - found.log_prob(rows)
    assert far.mean() < 0.05


def test_gaps_may_depend_on_known_values():
    """If y is mostly missing for high x, its mean over the other rows is too low."""
    rows, gaps = gappy(1_500, 0.8)
    gaps = np.where((rows[:, :1] > 0) & [False, True, False], gaps, rows)
    found = fit_filler(Rows.of_numbers(gaps), Recipe())
    mean = found.weights @ found.means[:, 1]
    assert abs(mean - rows[:, 1].mean()) < 0.1 < rows[:, 1].mean() - np.nanmean(gaps[:, 1])


@pytest.mark.parametrize(("n", "dim"), [(12, 3), (12, 30), (200, 1)])
def test_few_or_wide_rows_are_completed(n, dim):
    rows = np.resize(gappy(n)[1], (n, dim))
    found = fit_filler(Rows.of_numbers(rows), Recipe())
    filled, _ = found.draw_missing(Rows.of_numbers(rows), np.random.default_rng(0))
    assert np.isfinite(filled.numbers).all()


def test_a_held_out_row_is_scored_by_its_known_values():
    """An untrained flow after whitening is a Gaussian with known marginal densities."""
    _, real = gappy(100)
    columns = [field("a", "positive"), field("b"), field("c")]
    rows = from_real(columns, real)
    to_real = ColumnMaps(columns)

    def build(members: int) -> Any:
        return flows.build(flows.NSF(hidden=4), (3,), members=members, to_real=to_real)

    many = Recipe(draws=10_000, completed_rows=200_000)
    fold = Fold(rows, np.where(np.arange(100) % 5, -1, 0), 0, to_real, recipe=many)
    trainer = FoldTrainer(build, [fold], [Regularisation("whiten", 0.5)], TrainingSettings())
    fitted = candidate.Fitted([{}], [trainer.population])
    scores = candidate.held_out_scores(fitted, [fold], 100)
    assert np.isnan(scores[fold.train]).all()
    log_q = scores[fold.held_out, 0]
    preprocessing = trainer.population.preprocessing
    whiten, scaler = preprocessing.whiten, preprocessing.standardize.scaler
    factor = scaler.deviation[..., None] * whiten.factor.numpy()
    mean = scaler.restore(whiten.mean[:, :, 0].numpy())
    exact = Mixture(np.ones(1), mean, factor @ factor.swapaxes(1, 2))
    held_out = real[fold.held_out]
    expected = exact.log_prob(held_out) - np.nan_to_num(held_out[:, 0])
    np.testing.assert_allclose(log_q, expected, atol=0.1)


def test_a_gap_has_no_slope_whatever_the_kind_of_its_column():
    """A clamp gives NaN the gradient 0, and a scaler gives it its deviation."""
    columns = [
        field("a"),
        field("b", "positive", farthest=9.0),
        field("c", "count", step=1.0, farthest=9.0),
    ]
    rows = np.random.default_rng(0).poisson(3, (50, 3)) + 1.0
    preprocessing = Preprocessing((3,), 1, ColumnMaps(columns))
    preprocessing.fit_scaler(rows[:, None])
    z = torch.from_numpy(preprocessing.scale(rows[:, None])).movedim(0, -1)
    known = preprocessing.log_slopes(z)
    gaps = torch.arange(50) % 3 == torch.arange(3)[:, None]
    found = preprocessing.log_slopes(torch.where(gaps, torch.nan, z))
    torch.testing.assert_close(found, torch.where(gaps, torch.nan, known), equal_nan=True)


def frame(n: int = 60) -> pd.DataFrame:
    table = pd.DataFrame(gappy(n)[1], columns=list("abc"))
    table["label"] = pd.Series(np.where(table["c"] > 0, "up", "down"))
    table["count"] = np.random.default_rng(1).poisson(3, n)
    table.loc[[2, 5, 7], "label"] = None
    table.loc[9] = np.nan
    return table


def test_gaps_are_kept_and_counted(capsys):
    columns, values, _, found, *_ = learned(
        parsing.parse(frame(), dict.fromkeys(frame(), "")), {}, "learn"
    )
    notices = [notice.text(python_words) for notice in found]
    assert len(values) == 59
    assert np.isnan(values[:, 3]).sum() == 3
    assert set(values[~np.isnan(values[:, 3]), 3]) == {0, 1}
    assert [column.kind for column in columns] == ["real"] * 3 + ["category", "count"]
    assert [bool(column.cell) for column in columns] == [False] * 3 + [True] * 2
    assert notices[0] == "1 row without a value is left out"
    assert "3 in label" in notices[1]
    few = np.where(np.arange(30) < 7, gappy(30)[0][:, 0], np.nan)
    with pytest.raises(UserError, match="column b holds a value in 7 rows; a fit needs 8"):
        check([field("a"), field("b")], np.stack([gappy(30)[0][:, 0], few], axis=1))
    with pytest.raises(UserError, match="column b equals a"):
        check([field("a"), field("b")], gappy(60)[1][:, [0, 0]])


def test_a_fit_keeps_all_rows_and_reports_missing_values(capsys):
    options = {"columns": {"count": "count"}, "settings": SHORT_RECIPE}
    density = flows.fit(frame(), members=1, **options)
    assert "on 59 rows" in str(density)
    assert "column label: category of 2 labels: down, up, missing in 3 rows" in str(density)
    assert "values are missing" in capsys.readouterr().err
    scores = density.record.row_scores
    kept = scores.state == RowState.SCORED
    assert (np.isfinite(scores.log_density) == kept).all()
    assert np.isfinite(list(density.record.references.values())).all()
    rows = frame().dropna()
    # Tail probabilities use scores of complete rows only
    assert 0 < kept.sum() <= len(rows)
    tail = density.tail_probability(rows)
    assert 0.3 < tail.mean() < 0.9
    assert not density.sample(20).isna().any(axis=None)


@pytest.mark.parametrize(("model", "settings"), [("nsf", {"recipe": "fixed"}), ("vae", {})])
def test_the_fixed_recipe_rejects_gaps(model, settings):
    with pytest.raises(
        UserError,
        match="holds no value; to leave out rows with a missing value, pass missing='drop'",
    ):
        flows.fit(frame(), model, settings=settings)


@pytest.mark.slow
def test_learning_from_gaps_beats_dropping_rows():
    test = MIXTURE.sample(2_000, np.random.default_rng(5))
    score = {
        missing: flows.fit(gappy(80, 0.3)[1], members=5, missing=missing).log_prob(test).mean()
        for missing in ("learn", "drop")
    }
    assert score["learn"] > score["drop"] + 0.1


@pytest.mark.parametrize(
    ("has_labels", "options"),
    [
        (False, {}),
        (True, {}),
        pytest.param(False, {"target": "b"}, marks=pytest.mark.slow),
        (True, {"target": "b"}),
    ],
    ids=str,
)
def test_a_column_without_a_value_in_a_subsample_is_learned(options, has_labels):
    few = short_recipe(searched_rows=5, fitted_rows=5, filler_rows=5)
    table = pd.DataFrame(gappy(120)[0], columns=list("abc"))
    table.loc[~table.index.isin(range(35, 55)), "c"] = np.nan
    if has_labels:
        table["label"] = np.where(table["a"] > 0, "up", "down")
    density = flows.fit(table, members=1, settings={"recipe": few}, **options)
    assert "c" in [column.name for column in density.columns]
    assert np.isfinite(density.log_prob(table.iloc[:5])).all()
