"""Verify fits: each option is in the file, and a second fit has the same bytes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from frames import clinic, prices
from helpers import SHORT, SMALL, further, short_recipe

import flows
from flows.core.errors import UserError
from flows.tables.columns.options import FitOptions, options_of
from flows.tables.fitting.fit_request import FitRequest

AUTO = {"recipe": short_recipe(), "learning_rate": 0.01}


def grouped() -> pd.DataFrame:
    """Return prices with groups, weights, marks of missing values and a copy of a column."""
    frame = prices().assign(
        who=np.arange(len(prices())) // 2, often=1 + np.arange(len(prices())) % 2
    )
    frame.loc[3, "bmi"] = -999
    return frame.assign(copied=frame.age)


FITS: dict[str, tuple[pd.DataFrame, dict[str, Any]]] = {
    "quick": (prices(), {"model": "realnvp", "settings": SHORT, "members": 2, "seed": 3}),
    "range": (prices(), {"settings": SHORT, "members": range(1, 3)}),
    "automatic": (
        grouped(),
        {
            "model": SMALL,
            "settings": AUTO,
            "members": 5,
            "mixtures": 1,
            "group": "who",
            "weights": "often",
            "na": [-999],
            "columns": {"age": "integer"},
            "require": ["age >= 0"],
        },
    ),
    "target": (
        prices(),
        {"target": ["bmi"], "settings": {**AUTO, "hidden": 4}, "members": 2, "missing": "drop"},
    ),
    "labels": (clinic(), {"model": SMALL, "settings": AUTO, "members": 2, "minutes": 5.0}),
}


@pytest.mark.parametrize(
    "name",
    [name if name in ("quick", "range") else further(name) for name in FITS],
)
def test_a_second_fit_from_the_file_alone_has_the_same_bytes(name: str, tmp_path: Path):
    frame, options = FITS[name]
    density = flows.fit(frame, **options)
    path = tmp_path / "table.flow"
    density.save(path)
    assert flows.verify(path, frame.assign(unread="text")) is None
    assert flows.verify(flows.load(path), frame) is None
    density.save(path, record=False)
    assert flows.verify(path, frame) is None


def test_every_option_is_recorded_but_the_limit_of_time():
    _, options = FITS["automatic"]
    density = flows.fit(grouped(), **options)
    assert density.record is not None
    found = FitRequest.recorded(density.record)
    assert found.architecture == SMALL
    own = found.settings
    assert {name: getattr(own, name) for name in own.model_fields_set} == AUTO
    names = ("group", "weights", "na", "columns", "require")
    assert {name: getattr(found, name) for name in names} == {
        "group": "who",
        "weights": "often",
        "na": ["-999"],
        "columns": {"age": "integer"},
        "require": ["age >= 0"],
    }
    assert density.record.fit.keys() - {"model", "architecture"} == options_of(
        FitOptions
    ).keys() - {"minutes"}
    of_0_4 = replace(density.record, fit={**density.record.fit, "strict": False})
    assert FitRequest.recorded(of_0_4) == found


def test_the_first_difference_is_said():
    frame = prices()
    density = flows.fit(frame, settings=SHORT, members=2)
    changed = frame.copy()
    changed.loc[0, "bmi"] += 1e-3
    for other in (changed, frame[1:]):
        assert flows.verify(density, other) == "the rows are not those of the fit"
    turned = frame[::-1], "the table holds the rows of the fit in another order"
    mirrored = frame[frame.columns[::-1]], "the table holds the columns of the fit in another order"
    for table, said in (turned, mirrored):
        assert flows.verify(density, table) == said
    assert density.record is not None
    for key, value, said in (
        ("seed", 1, "seed is 0, and 1 in the second fit"),
        (
            "settings",
            {"recipe": "quick", "clip": 0.5},
            r"training\.held_out is \S+, and \S+ in the second fit",
        ),
    ):
        fit = {**density.record.fit, key: value}
        other = flows.Density(density.population, density.schema, replace(density.record, fit=fit))
        assert re.fullmatch(said, flows.verify(other, frame) or "")


def test_a_file_of_another_release_names_the_arguments_that_it_lacks(tmp_path: Path):
    density = flows.fit(prices(), settings=SHORT, members=2)
    assert density.record is not None
    fit = {key: value for key, value in density.record.fit.items() if key not in ("na", "target")}
    old = flows.Density(density.population, density.schema, replace(density.record, fit=fit))
    old.save(tmp_path / "old.flow")
    with pytest.raises(UserError, match=r"cannot be repeated, .*lacks .*: na, target; fit the"):
        flows.verify(tmp_path / "old.flow", prices())
    flows.save(flows.build(SMALL, (2,), members=1), tmp_path / "networks.flow")
    with pytest.raises(UserError, match="only the fit of a table"):
        flows.verify(tmp_path / "networks.flow", prices())


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "nope"},
        {"model": 5},
        {"model": "vae", "architecture": {}},
        {"members": 5},
        {"members": [0]},
        {"settings": {"recipe": "fixed"}},
        {"settings": {"epochs": 3}},
        {"target": ["bmi", "age"]},
    ],
)
def test_a_record_of_a_fit_that_nobody_could_ask_for_is_refused_in_one_line(changed):
    record = flows.fit(prices(), settings=SHORT, members=2).record
    assert record is not None
    with pytest.raises(UserError, match=r"^the fit cannot be repeated, .*; fit the table again \("):
        FitRequest.recorded(replace(record, fit={**record.fit, **changed}))


def test_a_table_without_a_column_and_one_with_another_type_are_named(tmp_path: Path):
    frame = prices().assign(ward=np.resize(["a", "b"], len(prices())))
    density = flows.fit(frame, settings=SHORT, members=2)
    lacking = frame.rename(columns={"bmi": "body"})
    assert flows.verify(density, lacking) == "the table has no column bmi"
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    said = flows.verify(density, path) or ""
    assert re.match(r"column \w+ has another type: verify the fit of a file with the file", said)
