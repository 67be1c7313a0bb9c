"""A request is checked, and goes to JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers import SMALL, error_message, short_recipe

import flows
from flows.core.errors import UserError
from flows.recipe.record import Record
from flows.tables.columns.options import FitOptions, options_of, resolve
from flows.tables.fitting.fit_request import FitRequest


def request(model: Any = None, **options: Any) -> FitRequest:
    return FitRequest.of(model, resolve(FitOptions, options, "fit"))


def recorded(own: FitRequest, **changes: Any) -> FitRequest:
    """Return the request that is read from the JSON of another one."""
    fit = json.loads(json.dumps(own.model_dump(mode="json")))
    return FitRequest.recorded(Record("auto", 9, fit={**fit, **changes}))


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (None, {}),
        ("realnvp", {"settings": {"recipe": "quick", "couplings": 4}, "members": range(3, 5)}),
        (SMALL, {"settings": {"recipe": short_recipe(), "clip": 0.5}, "require": ["a < b"]}),
        (None, {"target": ["b", "a"], "settings": {"linear": False}, "seed": 3, "na": [-9]}),
    ],
    ids=str,
)
def test_a_request_goes_to_json_and_back(model: Any, options: dict[str, Any]) -> None:
    own = request(model, **options)
    assert recorded(own) == own
    assert recorded(own).model_dump(mode="json") == own.model_dump(mode="json")


def test_every_option_is_a_field() -> None:
    assert options_of(FitOptions).keys() <= FitRequest.model_fields.keys()


def test_the_json_keeps_the_settings_that_the_caller_gave_and_no_limit_of_time() -> None:
    found = request(settings={"clip": 0.5, "hidden": 4}, minutes=3).model_dump(mode="json")
    assert found["settings"] == {"clip": 0.5}
    assert found["architecture"] == {"couplings": 8, "hidden": 4, "bins": 8}
    assert found["members"] == [0, 10]
    assert "minutes" not in found


def test_a_record_of_another_release_is_read_or_refused_in_one_line() -> None:
    own = request()
    assert recorded(own, unknown=1) == own
    said = error_message(recorded, own, missing="skip", error=UserError)
    assert said.startswith("the fit cannot be repeated, because the file was written by another")
    assert said.endswith("(missing = 'skip': input should be 'learn', 'drop' or 'stop')")


def test_members_of_a_request_are_those_that_the_recipe_keeps() -> None:
    assert (request(members=10).folds, request(members=10).kept) == (5, 2)
    with pytest.raises(ValueError, match="members = 7: the automatic recipe keeps at most 5"):
        flows.fit([[0.0]], members=7)
