"""The maps of values that many rows hold, and of closed ends."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import field
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.lines import (
    Between,
    HalfLine,
    Logarithm,
    SoftRise,
    SquareRoot,
    StraightBetween,
)
from flows.tables.columns.rounding import Peak

PEAKS = [
    field("at a bound", "count", step=0.01, farthest=700.0, peak=Peak(0.0, 4.2, 30.0)),
    field("at an end", "integer", high=300.0, step=1.0, farthest=-5.0, peak=Peak(300.0, 3.0, 9.0)),
    field("in the middle", "integer", step=0.01, peak=Peak(1.0, 4.2, 30.0)),
    field("above an end", "count", farthest=3_900.0, peak=Peak(2_080.0, 40.0, 300.0)),
    field("below an end", "integer", high=0.0, farthest=-3_900.0, peak=Peak(-2_080.0, 40.0, 300.0)),
    field("between ends", "integer", low=0.0, high=5_000.0, peak=Peak(2_080.0, 40.0, 300.0)),
]


@pytest.mark.parametrize("column", PEAKS, ids=lambda column: column.name)
def test_the_map_of_a_peak_is_an_exact_bijection(column):
    bijection, sign = ColumnMaps([column]), -1 if column.high else 1
    away = torch.tensor([0.0, 0.003, 0.3, 2.0, 4.3, 60.0, 1500.0], dtype=torch.float64)
    x = (column.peak.value + sign * away)[None, None]
    if column.peak.value not in column.ends:
        x = torch.cat([x, 2 * column.peak.value - x[..., 1:]], dim=2)
    z, log_det = bijection(x)
    again, log_back = bijection.inverse(z)
    assert_close(again, x, rtol=1e-9, atol=1e-9)
    assert_close(log_back, -log_det)
    slopes = torch.diagonal(jacobian(lambda x: bijection(x)[0].sum((0, 1)), x)[:, 0, 0])
    assert_close(slopes.log()[None], log_det)
    assert (z.ravel()[x.ravel().argsort()].diff() > 0).all()


@pytest.mark.parametrize(
    "column",
    [
        field("months", "integer", low=1.0, high=12.0, edge=1.0),
        field("years", "integer", low=1960.0, high=2009.0, edge=1.0),
        field("of 0.4.0", "integer", low=1.0, high=12.0),
        field("from an end", "integer", low=14_731.0, farthest=26_000.0, edge=1.0),
        field("to an end", "integer", high=70.0, farthest=12.0, edge=2.0),
    ],
    ids=lambda column: column.name,
)
def test_the_map_of_closed_ends_is_an_exact_bijection(column):
    line, (low, high) = column.line, column.bounds
    first = low if math.isfinite(low) else high - 90
    last = high if math.isfinite(high) else low + 90
    away = torch.logspace(-12, 0, 60, dtype=torch.float64) * (last - first) / 2
    x = torch.cat([first + away, last - away[:-1].flip(0)]).sort().values.requires_grad_()
    z, terms = line.forward(x)
    again, terms_back = line.inverse(z)
    (slopes,) = torch.autograd.grad(z.sum(), x)
    assert_close(again.detach(), x.detach(), rtol=1e-8, atol=0)
    assert_close(sum(terms), slopes.log(), rtol=1e-6, atol=1e-3)  # x - low has few digits at low
    assert_close(sum(terms_back), -sum(terms), rtol=1e-6, atol=1e-6)
    assert (z.diff() > 0).all()


@pytest.mark.parametrize("line", [StraightBetween(0.5, 60.5, 1.0), HalfLine(SoftRise(1.0), 0.5)])
def test_a_closed_end_bends_only_the_values_near_it(line):
    x = torch.arange(8.0, 53.0, dtype=torch.float64)
    z, _ = line.forward(x)
    assert (z.diff() - 1).abs().max() < 0.001
    far, _ = line.inverse(torch.tensor([-1e6, 1e6], dtype=torch.float64))
    assert far[0] > 0.5 - 1e-12
    assert far[0] == pytest.approx(0.5)


def test_the_slope_in_the_middle_of_two_bounds_is_finite():
    z = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    x, terms = Between(0.0, 8.0).inverse(z)
    (slope,) = torch.autograd.grad(x.sum(), z)
    assert slope.item() == pytest.approx(2.0)
    assert sum(terms).exp().item() == pytest.approx(2.0)


@pytest.mark.parametrize("rise", [Logarithm(), SquareRoot(1.0)])
def test_the_slope_at_the_farthest_value_is_the_slope_below_it(rise):
    line = HalfLine(rise, 0.0, top=7.0)
    z, [log_slope] = line.forward(torch.tensor([7.0], dtype=torch.float64))
    z.requires_grad_()
    x, _ = line.inverse(z)
    (slope,) = torch.autograd.grad(x.sum(), z)
    assert_close(slope.log(), -log_slope.detach())
