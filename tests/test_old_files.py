"""Files of version 0.4.0 answer as this version did (``tests/files/write.py``)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from files.write import FITS, FOLDER, rows
from helpers import error_message, further

import flows
from flows.core import checkpoint
from flows.core.checkpoint import CheckpointError

ANSWERS = json.loads((FOLDER / "version-0.4.0.json").read_text())


@pytest.mark.parametrize(
    "name",
    ["target", "targets", "require", *map(further, ["numbers", "peak", "carried"])],
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


def test_a_file_with_labels_is_refused_with_the_command() -> None:
    path = FOLDER / "version-0.4.0-labels.flow"
    said = error_message(flows.load, path, error=CheckpointError)
    assert "holds labels as release 0.4 learned them: networks were given their codes" in said
    assert said.endswith("fit the table again: flows fit TABLE -o FILE")


def test_a_file_with_a_ratio_of_columns_is_refused_with_the_remedy() -> None:
    path = FOLDER / "version-0.4.0-product.flow"
    said = error_message(flows.load, path, error=CheckpointError)
    assert "'b / a' divides by a column; a constraint is linear in its columns: write" in said
    assert said.endswith("fit the table again with constraints that this version reads")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nsf", "recipe=fixed, which fits of tables no longer have; {} --recipe quick"),
        ("vae", "model=vae, which is no longer a model of tables; {}"),
    ],
)
def test_a_fit_of_a_recipe_or_a_model_that_is_gone_is_refused_with_the_command(
    model: str, said: str, tmp_path: Path
) -> None:
    description, state, arrays = checkpoint.read(FOLDER / "version-0.4.0-numbers.flow")
    training = description["training"]
    fit = {**training["fit"], "model": model}
    fixed = {**description, "training": {**training, "recipe": "fixed", "fit": fit}}
    checkpoint.write(tmp_path / "old.flow", fixed, state, arrays)
    found = error_message(flows.load, tmp_path / "old.flow", error=CheckpointError)
    again = "fit the table again: flows fit TABLE -o FILE"
    assert found == f"{tmp_path / 'old.flow'}: was fitted with {said.format(again)}"
    del fixed["training"]["fit"]  # a population of the pipeline
    checkpoint.write(tmp_path / "old.flow", fixed, state, arrays)
    assert flows.load(tmp_path / "old.flow").record.recipe == "fixed"
