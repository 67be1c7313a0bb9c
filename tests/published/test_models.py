"""What is said of the shipped settings."""

from __future__ import annotations

import pytest
from pipeline import ROOT

import flows
from stages.pipeline.schema import load


def test_the_models_that_are_compared_have_as_many_parameters_within_a_tenth():
    """All but NSF, which needs a third of them."""
    params = load(ROOT / "params.yaml")
    counts = {
        name: flows.build(params.architecture(name), (2,)).parameters_per_member()
        for name in params.models
        if name != "nsf"
    }
    for name, count in counts.items():
        assert count == pytest.approx(counts["realnvp"], rel=0.1), name
