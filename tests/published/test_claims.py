"""The claims are what the committed results give."""

from __future__ import annotations

import json

import pytest
import yaml

from studies.claims import analyse, settings
from studies.claims.settings import HERE


def test_the_committed_results_give_the_committed_claims() -> None:
    now = yaml.safe_load((HERE / "params.yaml").read_text(encoding="utf-8"))
    locked = yaml.safe_load((HERE / "dvc.lock").read_text(encoding="utf-8"))["stages"]["analyse"]["params"]["params.yaml"]
    if any(now.get(key) != value for key, value in locked.items()):
        pytest.skip("settings of the study were changed since it ran")
    params = settings.load()
    tables = analyse.read(params)
    for name, text in analyse.texts(params, tables, analyse.examine(params, tables)).items():
        assert (HERE / name).read_text(encoding="utf-8") == text, name


def test_every_claim_that_the_study_speaks_of_has_a_verdict() -> None:
    entries = json.loads((HERE / "claims.json").read_text(encoding="utf-8"))
    assert {entry["claim"] for entry in entries} == set(analyse.CLAIMS)
    assert all(entry["verdict"] in ("supported", "refuted", "equivalent", "inconclusive") for entry in entries)
