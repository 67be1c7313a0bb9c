"""The distribution of a column, compared with closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from closed_forms import DIM, drawn, exact, labelled, within
from scipy import stats
from scipy.special import logsumexp

from flows.tables.density.frame_density import Density


@pytest.mark.slow
def test_a_prediction_under_a_range_agrees_with_samples(of_pressures):
    given = {"age": (60, 70)}
    predicted = of_pressures.predict(column="pressure", given=given)
    drawn = of_pressures.sample(4_000, given=given)["pressure"]
    error = predicted["sd"].item() / np.sqrt(predicted["effective_draws"].item())
    assert error < 1
    assert predicted["mean"].item() == pytest.approx(drawn.mean(), abs=4 * error)
    assert predicted["q0.5"].item() == pytest.approx(drawn.median(), abs=5 * error)
    labels = of_pressures.predict(column="ward", given={"pressure": (150, None)})
    assert labels[["north", "south", "west"]].sum(axis=1).item() == pytest.approx(1)


def test_predictions_match_the_exact_conditional(truth, of_truth, rows):
    few = rows[:50]
    found = of_truth.predict(few, "x3", quantiles=[0.05, 0.5])
    for k, row in enumerate(few):
        mixture = exact(truth, np.where(np.arange(DIM) == 3, np.nan, row))
        mean, deviation = (each[0, 0] for each in mixture.moments())
        assert found["mean"].iat[k] == pytest.approx(mean, abs=0.03 * deviation)
        assert found["sd"].iat[k] == pytest.approx(deviation, rel=0.05)
        below = stats.norm.cdf(
            found["q0.05"].iat[k], mixture.means[0, :, 0], mixture.factors[:, 0, 0]
        )
        assert np.exp(mixture.log_weights[0]) @ below == pytest.approx(0.05, abs=0.02)
    assert found["effective_draws"].isna().all()


def test_predicted_labels_have_exact_probabilities(with_labels: Density) -> None:
    frame, numbers, codes = drawn(30)
    found = with_labels.predict(frame, "label2")
    each = []
    for code in range(4):
        asked = codes.copy()
        asked[:, 2] = code
        each.append(labelled().log_prob(numbers, asked))
    expected = np.exp(np.array(each) - logsumexp(each, axis=0)).T
    np.testing.assert_allclose(found[list("abcd")], expected, atol=1e-9)


def test_predicted_numbers_have_the_moments_of_the_closed_form(with_labels: Density) -> None:
    frame, numbers, codes = drawn(30)
    unknown = np.array([False, True, False])
    found = with_labels.predict(frame.drop(columns="label0"), "x1")
    codes = np.where([True, False, False], -1, codes)
    mean, deviation = labelled().conditional(numbers, unknown, codes).moments()
    error = deviation[:, 0] / np.sqrt(np.maximum(found["effective_draws"], 1))
    within(found["mean"].to_numpy(), mean[:, 0], error, 0.02)
