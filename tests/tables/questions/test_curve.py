"""The density of one column along its values."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import answered, further

from flows.tables.questions import curve
from flows.tables.questions.curve import Curve
from flows.tables.questions.surprise import Surprise

pytestmark = pytest.mark.usefixtures("few_samples")


@pytest.mark.parametrize("row", [0, further(1), further(4)])
def test_curve_has_the_moments_of_the_prediction(of_wards, gaps, row, monkeypatch):
    """Also if the rest of the row has a missing value. The tolerance is 0.3 deviations."""
    monkeypatch.setattr(curve, "COMPLETIONS", 512)
    asked, _ = answered(of_wards, Surprise(), gaps)
    one = asked.region.take(slice(row, row + 1))
    answer = Curve("bmi").answer(of_wards._array, one)
    x, q = answer["x"][0], answer["density"][0]
    share = q * np.gradient(x)
    expected = of_wards.predict(gaps, "bmi").iloc[row]
    assert share.sum() == pytest.approx(1.0)
    assert share @ x == pytest.approx(expected["mean"], abs=0.3 * expected["sd"])
    q = Curve("ward").answer(of_wards._array, one)["density"][0]
    expected = of_wards.predict(gaps, "ward").iloc[row]
    np.testing.assert_allclose(q, expected[["east", "west"]].astype(float), atol=0.05)
