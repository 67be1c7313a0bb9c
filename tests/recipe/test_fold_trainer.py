"""Training on folds: the score of a held-out row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from closed_forms import gappy
from helpers import field

import flows
from flows.core.settings import Recipe, TrainingSettings
from flows.mixtures.mixture import Mixture
from flows.recipe import candidate
from flows.recipe.fold import Fold, Learned
from flows.recipe.fold_trainer import FoldTrainer
from flows.recipe.regularisation import Regularisation
from flows.tables.columns.column_maps import ColumnMaps
from stages.pipeline.preparation import from_real


@pytest.mark.slow
def test_a_held_out_row_is_scored_by_its_known_values():
    """An untrained flow after whitening is a Gaussian with known marginal densities."""
    _, real = gappy(100)
    columns = [field("a", "positive"), field("b"), field("c")]
    rows = from_real(columns, real)
    to_real = ColumnMaps(columns)

    def build(members: int) -> Any:
        return flows.build(flows.NSF(hidden=4), (3,), members=members, to_real=to_real)

    many = Recipe(draws=10_000, completed_rows=200_000)
    fold = Fold(Learned(rows, to_real, recipe=many), np.where(np.arange(100) % 5, -1, 0), 0)
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


@pytest.mark.slow
def test_large_counts_with_gaps_have_finite_weights():
    rng = np.random.default_rng(0)
    people = np.round(rng.uniform(0, 1, 300) ** 2 * 3e5) * 10 + rng.integers(0, 9, 300)
    frame = pd.DataFrame({"people": rng.choice(people[:100], 300), "v": rng.normal(size=300)})
    frame.loc[::10, "people"] = np.nan
    density = flows.fit(frame)
    assert np.isfinite(density.record.scores).all()
    assert np.isfinite(density.log_prob(frame)).all()
