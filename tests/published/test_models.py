"""Statements of the documents about the committed settings."""

from __future__ import annotations

import pytest
from pipeline import ROOT

import flows
from stages.pipeline.schema import load


def test_the_compared_models_have_equal_numbers_of_parameters_within_a_tenth():
    """NSF is left out, because it needs only a third of the parameters."""
    params = load(ROOT / "params.yaml")
    counts = {
        name: flows.build(params.architecture(name), (2,)).parameters_per_member()
        for name in params.models
        if name != "nsf"
    }
    for name, count in counts.items():
        assert count == pytest.approx(counts["realnvp"], rel=0.1), name
