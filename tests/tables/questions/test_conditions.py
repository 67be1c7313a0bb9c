"""Conditions and events as users write them: values, ranges and sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import flows
from flows.tables.columns.notices import TableError
from flows.tables.posterior.target_density import density_of
from flows.tables.questions.conditions import conditions

INF = np.inf

STEPS = (0.1, 0.01, 0.05, 0.2, 0.25)


@pytest.mark.slow
def test_ranges_of_decimal_steps_hold_their_ends():
    steps = {f"every {step}": step for step in STEPS}
    rows = np.random.default_rng(0).normal(size=(60, 5))
    kinds = {name: f"integer:{step}" for name, step in steps.items()}
    frame = pd.DataFrame({name: np.round(x) for name, x in zip(steps, rows.T, strict=True)})
    quick = {"recipe": "quick", "couplings": 2, "hidden": 4}
    array = density_of(flows.fit(frame, columns=kinds, members=1, settings=quick).population)
    for d, (name, step) in enumerate(steps.items()):
        inverse = round(1 / step)
        for number in range(4 * inverse):
            value, half = number / inverse, step / 2  # as it is written: 0.3, not 3 * 0.1
            for asked, low, high in (
                ((None, value), -INF, value + half),
                ((value, None), value - half, INF),
                ((value, value), value - half, value + half),
                ((None, value + 0.4 * step), -INF, value + half),
            ):
                found = conditions(array, {name: asked}).intervals[d]
                assert found == pytest.approx(np.array([[low, high]]), abs=1e-9)


@pytest.mark.slow
def test_a_label_that_no_row_held_is_no_event(of_cities):
    with pytest.raises(TableError, match="city holds 'nowhere', which no row of the fitted table"):
        of_cities.probability({"city": "nowhere"})


@pytest.mark.parametrize(
    ("event", "given", "message"),
    [
        ({}, {}, "an event needs a column"),
        ({"pressure": 120.0}, {}, "column pressure is learned as a number with decimals"),
        ({"ward": ("a", "b")}, {}, "column ward has labels, so a range has no meaning"),
        ({"ward": "east"}, {}, "column ward holds east, which is not one of its labels"),
        ({"age": (70, 60)}, {}, "the first end must not be larger"),
        ({"age": (None, None)}, {}, "a range is"),
        ({"age": (60, None)}, {"ward": []}, "column ward is given as an empty set"),
    ],
)
def test_wrong_conditions_are_one_clear_error(of_pressures, event, given, message):
    with pytest.raises(TableError, match=message):
        of_pressures.probability(event, given=given)


@pytest.mark.slow
def test_a_range_that_ends_at_a_rounded_value_holds_its_cell(capsys):
    rng = np.random.default_rng(0)
    price = np.round(rng.gamma(4, 3, 300) / 0.25) * 0.25 + 0.5
    frame = pd.DataFrame({"price": price, "x": rng.normal(size=300)})
    density = flows.fit(frame, columns={"price": "real"}, settings={"recipe": "quick"})
    [column, _] = density.columns
    assert column.cell == 0.25
    assert column.range_of(12, 12) == (11.875, 12.125)
    assert column.range_of(-INF, 12.1) == (-INF, 12.1)
    end = float(np.median(price))
    found = density.probability({"price": (None, end)}).probability
    assert found == pytest.approx((price <= end).mean(), abs=0.03)
