"""Fits of tables with gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import flows


@pytest.mark.slow
def test_large_counts_with_gaps_have_finite_weights():
    rng = np.random.default_rng(0)
    people = np.round(rng.uniform(0, 1, 300) ** 2 * 3e5) * 10 + rng.integers(0, 9, 300)
    frame = pd.DataFrame({"people": rng.choice(people[:100], 300), "v": rng.normal(size=300)})
    frame.loc[::10, "people"] = np.nan
    density = flows.fit(frame)
    assert np.isfinite(density.record.scores).all()
    assert np.isfinite(density.log_prob(frame)).all()
