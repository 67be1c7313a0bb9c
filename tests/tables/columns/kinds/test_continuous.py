"""Notices on numbers: nines that may stand for missing values, identifiers, numbers above 0."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import column, rng, taken

N = 240


@pytest.mark.parametrize("mark", [-999, -9, 99999])
def test_a_number_of_nines_far_from_all_others_gets_a_notice(mark):
    x = rng().uniform(10, 12, N)
    x[:10] = mark
    _, said = taken(pd.DataFrame({"cost": x, "y": rng().normal(size=N)}))
    assert f"holds {mark:g} in 10 rows, far from all other values" in said["cost"]
    assert f"to read it as missing, pass na=['{mark:g}']" in said["cost"]
    rows, said = taken(pd.DataFrame({"cost": x, "y": 1.5 * rng(1).normal(size=N)}), na=[str(mark)])
    assert np.isnan(rows.values[:, 0]).sum() == 10
    assert "cost" not in said
    assert rows.schema.na == (str(mark),)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (rng().normal(170, 10, N), ""),
        (rng().uniform(0, 1, N), ""),
        (rng().permutation(N) + 1, "a different whole number in each row, as an identifier does"),
        (rng().choice([101, 205, 310, 777], N), "4 different whole numbers, far from each other"),
        (rng().poisson(3, N), ""),
    ],
)
def test_notices_name_identifiers_and_codes(x, said):
    found = taken(pd.DataFrame({"x": x, "y": rng(1).normal(size=N)}))[1].get("x", "")
    assert said in found
    assert bool(said) == bool(found)


def test_nines_among_other_values_get_no_notice():
    x = rng().uniform(0, 200, N)
    x[:10] = 99
    assert column(x).kind == "positive"
    assert "cost" not in taken(pd.DataFrame({"cost": x, "y": rng().normal(size=N)}))[1]
