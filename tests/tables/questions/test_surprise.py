"""The surprise of each value of a row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from closed_forms import NAMES, drawn, labelled

from flows.tables.density.frame_density import Density


@pytest.mark.slow
def test_a_swapped_value_has_the_largest_surprise(of_truth, rows):
    frame = pd.DataFrame(rows[:60], columns=NAMES)
    frame.loc[::2, "x1"] = 40.0
    surprise = of_truth.surprise(frame)
    assert (surprise.loc[::2].to_numpy().argmax(axis=1) == 1).all()
    assert surprise.loc[1::2].to_numpy().mean() < 0 < surprise.loc[::2, "x1"].min()
    frame.loc[0, "x4"] = np.nan
    assert np.isnan(of_truth.surprise(frame.head(1))["x4"].iat[0])


@pytest.mark.slow
def test_the_surprise_of_a_label_uses_its_exact_probability(with_labels: Density) -> None:
    frame, *_ = drawn(20)
    found = with_labels.surprise(frame)["label0"]
    chances = with_labels.predict(frame, "label0")
    own = np.array([chances.loc[k, label] for k, label in enumerate(frame["label0"])])
    shares = labelled().weights @ labelled().shares[0]
    margin = np.array([shares["abcd".index(label)] for label in frame["label0"]])
    np.testing.assert_allclose(found, np.log((margin + 1 / 2) / 2) - np.log(own), atol=0.02)
