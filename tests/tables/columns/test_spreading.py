"""Noise over the cells of rounded values and labels."""

from __future__ import annotations

import numpy as np
import pytest
from frames import rows_of
from helpers import checked, dequantised, field

from flows.tables.columns.checking import check
from flows.tables.columns.field import Field

ROWS = 100
WARDS = field("ward", "category", step=1.0, labels=("east", "north", "west"))


def test_only_rounded_values_get_noise_of_one_step():
    values = rows_of("normal", np.repeat([3.0, 4.0], ROWS // 2))
    columns = check([field("a"), field("n")], values).fields
    spread = dequantised(columns, values)
    assert (spread[:, 0] == values[:, 0]).all()
    assert (np.round(spread[:, 1]) == values[:, 1]).all()
    assert len(np.unique(spread[:, 1])) == ROWS
    assert (spread == dequantised(columns, values)).all()
    assert not (spread == dequantised(columns, values, 1)).all()


@pytest.mark.parametrize("word", ["positive", "interval:0:10"])
def test_dequantised_values_stay_within_their_bounds(word):
    values = rows_of(np.repeat([0.5, 9.5, 2.0, 3.0, 4.0], 200), n=1000)
    columns = check([Field.parse("a", word)], values).fields
    low, high = columns[0].bounds
    spread = dequantised(columns, values)
    assert columns[0].step == 1
    assert ((low < spread) & (spread < high)).all()


def test_a_category_gets_no_rounding_notice_and_its_noise_fills_its_cells():
    codes = rows_of(np.repeat([0.0, 1, 2, 2], ROWS // 4))
    assert checked([WARDS], codes) == ([WARDS], [])
    spread = dequantised([WARDS], codes)
    assert WARDS.bounds == (-0.5, 2.5)
    assert (np.round(spread) == codes).all()
    assert spread[:25].min() < -0.4
    assert spread[-25:].max() > 2.4
