"""Scores of held-out rows of a rounded target."""

import numpy as np
import pandas as pd
import pytest

import flows


def test_the_standard_error_counts_groups_and_not_rows():
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(10), 6)
    frame = pd.DataFrame({"subject": subject, "x": rng.normal(size=60)})
    frame["y"] = (3 * rng.normal(size=10)[subject] + rng.normal(size=60)).round()
    quick = {"recipe": "quick", "hidden": 8}
    options = {"target": "y", "group": "subject", "columns": {"y": "integer"}, "settings": quick}
    record = flows.fit(frame, members=5, **options).record
    scores = record.row_scores.log_density
    scores = scores[~np.isnan(scores)]
    assert record.held_out_se == pytest.approx(scores.std() / np.sqrt(10), rel=1e-4)
