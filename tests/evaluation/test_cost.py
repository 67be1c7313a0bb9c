"""The costs of training: convergence and operations."""

from __future__ import annotations

import numpy as np
import pytest

import flows
from flows.evaluation.cost import epochs_to_converge, flops_per_epoch


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([1.0, 1.01, 0.99, 1.02, 1.0], 10),  # settled at once
        ([5.0, 3.0, 1.04, 1.0, 1.0], 30),
        ([1.0, 1.0, 1.0, 0.8, 1.0], 50),  # a late dip counts
        ([5.0, 4.0, 3.0, 2.0, 1.0], 50),
        ([1.0, np.nan, 1.0, 1.0, 1.0], 30),
        ([1.0, np.inf, 1.0, 1.0, 1.0], 30),
        ([1.0, 1.0, 1.0, 1.0, np.nan], np.nan),
        ([1.0, 1.0, 1.0, 1.0, np.inf], np.nan),
    ],
)
def test_a_curve_has_converged_when_it_stays_within_a_twentieth_of_a_nat(
    curve: list[float], expected: float
):
    epochs = np.array([10.0, 20.0, 30.0, 40.0, 50.0])
    assert epochs_to_converge(epochs, np.array(curve)[:, None]) == pytest.approx(
        [expected], nan_ok=True
    )


def test_every_member_converges_at_its_own_epoch():
    curves = np.array([[1.0, 3.0, 2.0], [1.0, 2.0, 2.0], [1.0, 2.0, np.nan]])
    assert epochs_to_converge(np.array([1.0, 2.0, 3.0]), curves) == pytest.approx(
        [1, 2, np.nan], nan_ok=True
    )


def test_flops_of_a_realnvp_agree_with_a_count_of_its_products_by_hand():
    members, couplings, hidden, rows = 3, 4, 8, 50
    flow = flows.build(flows.RealNVP(couplings=couplings, hidden=hidden), (2,), members=members)
    kept, outputs = 1, 2  # one feature in, a scale and a shift out
    forward = 2 * rows * hidden * (kept + hidden + outputs) * couplings
    # The backward pass computes two products for each product: for weights and for inputs. Only
    # the data need no gradient
    backward = 2 * forward - 2 * rows * hidden * kept
    assert flops_per_epoch(flow, rows) == forward + backward
