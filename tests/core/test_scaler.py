"""The standardisation of rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import nudged

from flows.core.scaler import Scaler


def test_a_scaler_maps_its_rows_to_mean_0_and_deviation_1_and_inverts():
    rows, other = 1e3 + np.random.default_rng(0).gamma(2, [1.0, 50.0], (2, 40, 2))
    scaler = Scaler.fit(rows)
    np.testing.assert_allclose(scaler.scale(rows).mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(scaler.scale(rows).std(0), 1)
    np.testing.assert_allclose(scaler.restore(scaler.scale(other)), other)


def test_a_scaler_of_nine_digits_does_not_depend_on_the_last_bits_of_the_rows():
    rows = 1e6 + np.random.default_rng(0).normal(size=(40, 2))
    scaler, other = (Scaler.fit(each).to_nine_digits() for each in (rows, nudged(rows)))
    np.testing.assert_array_equal(scaler.mean, other.mean)
    np.testing.assert_array_equal(scaler.deviation, other.deviation)
    np.testing.assert_allclose(scaler.scale(rows).mean(0), 0, atol=1e-8)


@pytest.mark.parametrize("bad", [4.0, math.nan, math.inf])
@pytest.mark.parametrize(("names", "said"), [((), "column 1"), (["a", "b"], "column b")])
def test_a_column_that_cannot_be_scaled_is_named(bad, names, said):
    rows = np.random.default_rng(0).normal(size=(20, 2))
    rows[:, 1] = bad
    with pytest.raises(ValueError, match=f"{said} has standard deviation .*it must vary"):
        Scaler.fit(rows, names)
