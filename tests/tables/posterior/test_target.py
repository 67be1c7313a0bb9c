"""The distributions of a target, averaged over missing values of the context."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import clinic
from helpers import answered, short_recipe

import flows
from flows.tables.posterior.region import Region
from flows.tables.posterior.target import TargetPosteriors
from flows.tables.questions.predict import Predict

QUICK = {"recipe": "quick"}


@pytest.mark.slow
def test_draws_beside_the_ends_of_a_target_are_as_frequent_as_their_probabilities():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    hours = np.round(1_000 + 700 * x + rng.normal(0, 300, 400)).clip(0, 2_080)
    settings = {"recipe": short_recipe(steps=100)}
    how = {"columns": {"hours": "integer:0:2080"}, "members": 2, "settings": settings}
    density = flows.fit(pd.DataFrame({"x": x, "hours": hours}), target="hours", **how)
    for given in (-1.0, 1.0, 2.0):
        rows = pd.DataFrame({"x": given, "hours": np.arange(2_081.0)})
        share = np.exp(density.log_prob(rows))
        assert share.sum() == pytest.approx(1, abs=1e-3)  # also with the value in the middle
        drawn = density.sample(20_000, given={"x": given}).hours
        counts = np.bincount(drawn.astype(int), minlength=2_081) / 20_000
        beside = [0, 1, 2, 2_078, 2_079, 2_080]
        np.testing.assert_allclose(counts[beside], share[beside], atol=2e-3)


@pytest.mark.slow
def test_predictions_and_samples_given_a_row_with_a_gap_have_enough_draws(
    of_number, of_label, capsys
):
    how = {"members": 1, "settings": QUICK, "missing": "drop"}
    several = flows.fit(clinic(80), target=["visits", "state"], **how)
    gaps = clinic().query("dose.isna()").head(3)
    capsys.readouterr()
    for density in (of_number, of_label, several):
        predicted = density.predict(gaps).filter(like="effective_draws")
        assert (predicted >= 100).all(axis=None)
        drawn = density.sample(500, given={"age": 40.0})
        assert drawn["dose"].nunique() == 500
    assert capsys.readouterr().err == ""
    complete = of_number.predict(clinic().dropna().head(3))
    assert complete["effective_draws"].isna().all()


@pytest.mark.slow
def test_a_prediction_given_a_gap_is_the_average_over_the_missing_value(of_number, of_label):
    for density, name in ((of_number, "ward"), (of_label, "age")):
        array, d = density._array, len(density.columns) - 1
        [target], frame = density.targets, clinic(4, seed=2).fillna(0.0).assign(**{name: None})
        question = Predict([target], [0.5])
        posteriors = TargetPosteriors(array.population, array.constraints)
        asked, answer = answered(density, question, frame)
        parts = zip(asked.region.rows, answer[target], answer.effective, strict=True)
        for row, own, draws in parts:
            x, *_ = posteriors._contexts(row[:d], {}, 2_000, np.random.default_rng(1))
            complete = np.column_stack([x, np.full(len(x), np.nan)])
            each = question.answer(array, Region.of_rows(complete))[target]
            if density is of_number:  # means, deviations and medians
                mean, second = each[:, 0], each[:, 0] ** 2 + each[:, 1] ** 2
                sd = np.sqrt(second.mean() - mean.mean() ** 2)
                assert own[1] == pytest.approx(sd, rel=0.1)
            else:
                mean = each[:, 0]
            assert abs(own[0] - mean.mean()) < 5 * mean.std() / np.sqrt(draws) + 0.005 * own[0]
