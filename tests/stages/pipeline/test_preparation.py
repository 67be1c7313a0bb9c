"""The rows of a table as the pipeline prepares them."""

from __future__ import annotations

import numpy as np
from frames import rows_of
from helpers import field

from flows.tables.columns.field import Field
from flows.tables.columns.parsing import round_rows
from stages.pipeline.preparation import from_real, learnable, scorable

ROWS = 100
COUNT = Field.parse("n", "count")
WARDS = field("ward", "category", step=1.0, labels=("east", "north", "west"))


def test_scored_counts_are_whole_and_scored_categories_are_dequantised():
    columns, values = [COUNT, WARDS], rows_of("count", np.repeat([0.0, 1, 2, 2], ROWS // 4))
    scored = from_real(columns, scorable(columns, values, 0), whole=True)
    assert (scored[:, 0] == values[:, 0]).all()
    assert (scored[:, 1] != values[:, 1]).all()
    assert (round_rows(columns, scored) == values).all()
    assert (round_rows(columns, from_real(columns, learnable(columns, values, 0))) == values).all()
