"""What is said of the shipped settings."""

from __future__ import annotations

import pytest
from pipeline import ROOT

import flows
from stages.shared.settings import load


def test_all_models_have_as_many_parameters_within_a_tenth():
    params = load(ROOT / "params.yaml")
    counts = {name: flows.build(name, (2,), params.architecture(name)).parameters_per_member() for name in params.models}
    for name, count in counts.items():
        assert count == pytest.approx(counts["realnvp"], rel=0.1), name
