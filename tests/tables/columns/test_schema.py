"""The schema of a table: all columns in samples, and marks of missing values in a file."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import every_sort
from helpers import SHORT_RECIPE, rng

import flows

pytestmark = pytest.mark.usefixtures("few_samples")
N = 240


def test_a_density_remembers_the_marks_of_missing_values(tmp_path):
    frame = pd.DataFrame({"x": rng().normal(size=N), "y": rng(1).normal(size=N)})
    marked = frame.astype(object)
    marked.loc[:4, "x"] = "unknown"
    settings = {"batch_size": 64, **SHORT_RECIPE}
    found = flows.fit(marked, members=2, settings=settings, na=["unknown"])
    found.save(tmp_path / "m.flow")
    loaded = flows.load(tmp_path / "m.flow")
    expected = loaded.log_prob(frame.mask(frame.index.to_numpy()[:, None] < [[5, 0]]))
    np.testing.assert_array_equal(loaded.log_prob(marked), expected)


def test_every_column_of_a_table_comes_back_in_samples(of_sorts, tmp_path):
    frame, drawn = every_sort(), of_sorts.sample(500, seed=1)
    assert list(drawn) == list(frame)
    assert (drawn.dtypes == frame.dtypes).all()
    assert (drawn["const"] == "x").all()
    assert drawn["empty"].isna().all()
    assert (drawn["copy"] == drawn["a"]).all()
    np.testing.assert_array_equal(
        drawn["total"], (2 * drawn["a"] - drawn["b"] + 3).round(3).to_numpy()
    )
    assert drawn["number"].tolist() == list(range(1, 501))
    assert drawn["id"].tolist() == [str(k) for k in range(1, 501)]
    assert set(drawn["grade"]) == {"1", "2", "3+"}
    assert set(drawn["city"]) <= set(frame["city"])
    assert (drawn["income"] % 1 == 0).all()
    of_sorts.save(tmp_path / "m.flow")
    pd.testing.assert_frame_equal(flows.load(tmp_path / "m.flow").sample(500, seed=1), drawn)
