"""The encoding of given labels: indicators in place of codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import error_message

import flows
from flows.networks.encoding import Encoding
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.kinds import Category, Real

SIZES, ORDERED = [3, 4, 2], [False, True, False]


def codes(n: int = 200) -> torch.Tensor:
    """Return codes of three columns in which every label has a row, ``(1, 3, n)``."""
    rng = np.random.default_rng(0)
    drawn = np.stack([np.arange(n) % size for size in SIZES])
    return torch.from_numpy(rng.permuted(drawn, axis=1).astype(np.float64))[None]


def fitted(own: torch.Tensor) -> Encoding:
    encoding = Encoding(SIZES, ORDERED, 1)
    encoding.fit(own)
    return encoding


def test_features_are_standardised_indicators_and_numbers_stay():
    own, x = codes(), torch.randn(1, 2, 200, generator=torch.Generator().manual_seed(0)).double()
    features, log_det = fitted(own)(torch.cat([own, x], dim=1))
    a, b, c = own[0].numpy()
    raw = np.stack([a == 1, a == 2, b >= 1, b >= 2, b >= 3, c == 1]).astype(float)
    expected = (raw - raw.mean(1, keepdims=True)) / raw.std(1, keepdims=True)
    np.testing.assert_allclose(features[0, :6].numpy(), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(features[:, 6:], x)
    assert (log_det == 0).all()


def test_the_inverse_returns_the_codes():
    own = codes()
    encoding = fitted(own)
    assert torch.equal(encoding.inverse(encoding(own)[0])[0], own)


def test_a_label_without_a_training_row_is_the_mean_and_an_ordered_one_the_label_below():
    own = codes()
    own[:, 0], own[:, 1] = own[:, 0].clamp(max=1), own[:, 1].clamp(max=2)
    encoding = fitted(own)
    new = torch.tensor([[[2.0, 0.0], [3.0, 2.0], [0.0, 0.0]]], dtype=torch.float64)
    features = encoding(new)[0][0]
    assert (features[:2, 0] == 0).all()
    assert torch.equal(features[2:5, 0], features[2:5, 1])


def test_an_unknown_label_has_unknown_features():
    own = codes()
    encoding = fitted(own)
    own[0, 0, 3] = torch.nan
    features = encoding(own)[0][0]
    assert features[:2, 3].isnan().all()
    assert features.isnan().sum() == 2


def test_labels_of_a_context_come_before_its_numbers():
    fields = [Real("x"), Category("c", labels=("a", "b")), Real("y")]
    how = {"context": 2, "to_real": ColumnMaps(fields)}
    said = error_message(flows.build, flows.NSF(couplings=2), (1,), error=ValueError, **how)
    assert said == "the context must hold its columns of labels first: c"


@pytest.mark.parametrize("model", [flows.NSF(couplings=2, hidden=4), flows.Conditional(hidden=4)])
def test_a_network_is_given_more_inputs_than_a_user_gives(model):
    fields = [Category("c", labels=tuple("abcde")), Real("x"), Real("y")]
    population = flows.build(model, (1,), context=2, to_real=ColumnMaps(fields), members=2)
    assert (population.context, population.inputs) == (2, 5)
    rows = np.array([[3.0, 0.5], [4.0, -1.0]])
    assert population.log_prob([[0.1], [0.2]], context=rows).shape == (2, 2)
    assert population.sample(context=rows).shape == (2, 2, 1)
