"""The kinds that columns have by default."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import column, rng, taken

N = 240


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (rng().normal(size=N), "real"),
        (np.exp(rng().normal(size=N)), "positive"),
        (rng().uniform(1, 5, N), "real"),
        (rng().integers(0, 2, N), "category"),
        (np.where(rng().random(N) < 0.5, -1.5, 2.5), "category"),
        (rng().poisson(3, N), "count"),
        (rng().integers(20, 80, N), "count"),
        (5 * rng().poisson(3, N), "count"),
        (rng().poisson(3, N) - 3, "integer"),
        (rng().integers(-(10**9), 10**9, N), "real"),
        (pd.array(rng().poisson(3, N), "Int64"), "count"),
    ],
)
def test_kinds_follow_the_rules(values, word):
    assert column(values).word == word


def test_the_kind_that_a_user_names_wins_over_the_rules():
    frame = pd.DataFrame({"id": np.arange(N), "sex": rng().integers(0, 2, N)})
    rows, _ = taken(frame, {"id": "real", "sex": "integer:0:1"})
    assert [each.word for each in rows.columns] == ["real", "integer:0:1"]
