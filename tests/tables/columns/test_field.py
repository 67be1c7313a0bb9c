"""The kinds of columns: their words, in files, and what they allow."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import field
from pipeline import text

from flows.tables.columns.field import Field, registered
from flows.tables.columns.kinds import Integer
from flows.tables.columns.options import FitOptions, options_of

COUNT = Field.parse("n", "count")
WARDS = field("ward", "category", step=1.0, labels=("east", "north", "west"))


@pytest.mark.parametrize(
    "word",
    [
        "real",
        "interval:-2.5:1000",
        "integer:0.1",
        "integer:-3:120",
        "integer:0:",
        "integer::5",
        "integer:0:6:2",
        "count:5",
        "date",
    ],
)
def test_a_kind_survives_a_round_trip_through_its_word(word):
    column = Field.parse("x", word)
    assert column.word == word
    assert Field.from_json(column.to_json()) == column


def test_only_categories_are_stored_with_labels():
    again = Field.from_json(json.loads(json.dumps(WARDS.to_json())))
    assert again == WARDS
    assert hash(again) == hash(WARDS)
    assert field("a").to_json() == {"name": "a", "kind": "real"}


@pytest.mark.parametrize(
    "word",
    [
        "",
        "real:1",
        "interval:0",
        "interval:0:inf",
        "interval:a:b",
        "integer:0",
        "integer::",
        "integer:1.5:",
        "integer:nan",
        "integer:0:nan",
        "integer:nan:5",
        "integer:NaN:nan",
        "integer:0:5:nan",
        "integer:0:inf",
        "integer:5:5",
        "count:1:",
    ],
)
def test_an_invalid_kind_gives_a_one_line_error_with_the_column(word):
    with pytest.raises(
        ValueError,
        match=r"^column age: '.*' is not a kind; a kind is real, .*category, time or date$",
    ):
        Field.parse("age", word)


def test_help_and_the_settings_name_all_kinds():
    *words, last = (each for cls in registered().values() for each in cls.words)
    assert f"a kind: {', '.join(words)} or {last}" in options_of(FitOptions)["columns"][1].shell
    assert f"{', '.join([*words, last])}; rules choose" in text("params.yaml")


def test_counts_allow_whole_numbers_from_0_and_categories_allow_codes():
    x = np.array([-1, -0.3, 0, 1, 1.5, 2, 3, np.inf, np.nan])
    assert COUNT.holds(x).tolist() == [False, False, True, True, False, True, True, False, False]
    assert WARDS.holds(x).tolist() == [False, False, True, True, False, True, *[False] * 3]


def test_a_file_with_an_unknown_kind_names_the_column():
    content = {"kind": "angle", "name": "way"}
    with pytest.raises(ValueError, match=r"column way has the kind 'angle', .*import the module"):
        Field.from_json(content)


def test_a_subclass_without_a_word_does_not_replace_a_kind():
    class Stars(Integer):
        pass

    assert type(Field.parse("x", "integer")) is Integer
    assert Stars not in Field.kinds.values()
