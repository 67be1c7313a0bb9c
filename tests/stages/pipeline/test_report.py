"""The results of a model: fewer points for an expensive density, and a note that says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pipeline import TINY

import flows
from common import storage
from stages.pipeline import files, schema
from tools import table


@pytest.mark.parametrize(
    ("columns", "vae", "flow_matching"), [(1, 2_000, 10_000), (2, None, 10_000), (3, 2_000, 10_000)]
)
def test_expensive_densities_are_scored_on_fewer_points(
    columns: int, vae: int | None, flow_matching: int
):
    assert flows.VAE().scored((columns,)) == vae
    assert flows.FlowMatching().scored((columns,)) == flow_matching
    assert flows.NSF().scored((columns,)) is None


@pytest.mark.parametrize("columns", [2, 3])
def test_a_note_says_on_how_many_points_a_divergence_is_taken(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(TINY)
    content["evaluate"]["fresh"] = 100_000
    covariance = [[float(i == j) for j in range(columns)] for i in range(columns)]
    part = {"weight": 1.0, "mean": [0.0] * columns, "covariance": covariance}
    content["data"] |= {"target": "custom", "custom": [part]}
    params = schema.check_all(content)
    for name in params.models:
        storage.write_csv(files.members(name), {"kl_se": [0.004]}, "%.6g")
    of_vae = "VAE: KL on 2,000 fresh points; standard error of a member's KL 0.004 nat."
    of_flow = "Flow matching: KL on 10,000 fresh points; standard error of a member's KL 0.004 nat."
    expected = [of_vae, of_flow] if columns > 2 else [of_flow]
    assert table.notes(params) == expected
