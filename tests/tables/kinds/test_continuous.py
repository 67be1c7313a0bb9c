"""Numbers of nines that may stand for missing values."""

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


def test_nines_among_other_values_get_no_notice():
    x = rng().uniform(0, 200, N)
    x[:10] = 99
    assert column(x).kind == "real"
    assert "cost" not in taken(pd.DataFrame({"cost": x, "y": rng().normal(size=N)}))[1]
