"""The perceptrons of several members."""

from __future__ import annotations

import numpy as np
import torch
from torch.testing import assert_close

from flows.conditioners import Perceptron
from flows.core.seeds import numpy_generators

MEMBERS = 3


def generators() -> list[np.random.Generator]:
    return numpy_generators(5, "train", range(MEMBERS))


def test_members_of_a_perceptron_are_independent_perceptrons(float64):
    network = Perceptron(2, 3, 8, generators())
    x = torch.randn(MEMBERS, 2, 5)
    for m, of_member in enumerate(network(x)):
        h = x[m].T
        for layer, (weight, bias) in enumerate(network.layers()):
            h = torch.nn.functional.linear(h, weight[m], bias[m, :, 0])
            h = h.relu() if layer < 2 else h
        assert_close(of_member, h.T)
