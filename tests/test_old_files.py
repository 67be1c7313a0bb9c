"""Files of version 0.4.0 answer as this version did (``tests/files/write.py``)."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from files.write import FITS, FOLDER, rows
from helpers import error_message, further

import flows
from flows.core.checkpoint import CheckpointError

ANSWERS = json.loads((FOLDER / "version-0.4.0.json").read_text())


@pytest.mark.parametrize(
    "name",
    ["labels", "target", "targets", "require", *map(further, ["numbers", "peak", "carried"])],
)
def test_a_file_of_version_0_4_0_answers_as_before(name: str) -> None:
    density: Any = flows.load(FOLDER / f"version-0.4.0-{name}.flow")
    frame, before = rows(FITS[name][0]), ANSWERS[name]
    found, error = density.log_prob_and_error(frame)
    margin = 0.01 + 3 * np.hypot(error, before["log_prob_error"])
    is_peak = frame["paid"] == 0 if name == "peak" else False  # the mean over a cell since 0.5
    assert (is_peak | (np.abs(found - before["log_prob"]) <= margin)).all()
    last = density.targets[-1] if density.targets else density.columns[-1].name
    own, was = density.predict(frame[:2], last), pd.DataFrame(**before["predict"])[:2]
    if last != "day":  # JSON holds milliseconds
        margin = 0.05 * was["sd"]
        for each in ("mean", "sd"):
            assert (np.abs(own[each] - was[each]) <= margin).all()
    if not density.targets:
        drawn, was = density.sample(3, seed=3), pd.read_csv(io.StringIO(before["sample"]))
        for each in was.select_dtypes("number"):
            np.testing.assert_allclose(drawn[each], was[each], rtol=1e-6)


def test_a_file_with_a_ratio_of_columns_is_refused_with_the_remedy() -> None:
    path = FOLDER / "version-0.4.0-product.flow"
    said = error_message(flows.load, path, error=CheckpointError)
    assert "'b / a' divides by a column; a constraint is linear in its columns: write" in said
    assert said.endswith("fit the table again with constraints that this version reads")
