"""Labels: which columns hold them, their texts, and rare labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import cities, every_sort
from helpers import field, learned

from flows.tables.columns import files as table
from flows.tables.columns import parsing
from flows.tables.columns.parsing import numbers_of
from flows.tables.command_line.wording import shell_words

pytestmark = pytest.mark.usefixtures("few_samples")


def labels(frame, kinds=None):
    """Return the labels of the first column that is learned, of a frame or of a file."""
    found = (
        frame if isinstance(frame, parsing.Table) else parsing.parse(frame, dict.fromkeys(frame))
    )
    return learned(found, kinds or {})[0][0].labels


def with_values(values):
    return pd.DataFrame({"a": np.arange(60.0) ** 2, "b": (list(values) * 60)[:60]})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False], (False, True)),
        (["TRUE", "False"], (False, True)),
        (pd.array([True, None, False], "boolean"), (False, True)),
        (pd.Categorical(["2", "10"]), ("10", "2")),
        ([f"group {k:02}" for k in range(20)], tuple(f"group {k:02}" for k in range(20))),
    ],
)
def test_text_with_few_values_booleans_and_categories_are_categories_by_default(values, expected):
    frame = with_values(values)
    if isinstance(values, pd.Categorical):
        frame["b"] = frame["b"].astype("category")
    parsed = parsing.parse(frame, {"a": "", "b": ""})
    (column, _), codes, _, notices, *_ = learned(parsed, {}, missing="drop")
    assert repr(column.labels) == repr(expected)
    said = f"column b is taken as a category of {len(expected)} labels"
    assert said in [notice.text(shell_words) for notice in notices]
    assert set(codes[:, 0]) == {*range(len(expected))}


def test_an_ordered_category_keeps_its_order_but_drops_unused_labels(tmp_path):
    sizes = pd.CategoricalDtype(["none", "small", "mid", "tall"], ordered=True)
    frame = with_values(["tall", "small", "mid"]).astype({"b": sizes})
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=7)
    for found in (frame, table.read(tmp_path / "t.parquet")):
        assert labels(found) == ("small", "mid", "tall")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [(["2", "10"], (2, 10)), (["007", "7"], ("007", "7")), (["3+", "1"], ("1", "3+"))],
)
def test_any_column_can_be_declared_a_category(tmp_path, fields, expected):
    with_values(fields).to_csv(tmp_path / "t.csv", index=False)
    kinds = {"b": "category"}
    assert labels(table.read(tmp_path / "t.csv", kinds), kinds) == expected
    many = with_values(np.arange(60) / 2)
    assert len(labels(parsing.parse(many, {"a": "", "b": "category"}), kinds)) == 60


def test_labels_are_identified_by_their_text_in_all_formats():
    column = field("b", "category", step=1.0, labels=(3, 4))
    for values in ([4, 3, 5], [4.0, 3.0, 5.0], ["4", " 3 ", "four"], pd.array([4, 3, 9], "Int64")):
        found = parsing.parse(pd.DataFrame({"b": values}), {"b": "category"})
        codes = numbers_of([column], parsing.apply_missing_policy(found))
        assert codes[:, 0].tolist() == [1, 0, -1]
    zeros = with_values([-0.0, 0.0, 1.0])
    found = learned(parsing.parse(zeros, dict.fromkeys(zeros)), {}, missing="drop")
    assert found.columns[0].labels == (0, 1)
    assert found.values[:3, 0].tolist() == [0, 0, 1]
    flags = field("b", "category", step=1.0, labels=(False, True))
    found = parsing.parse(pd.DataFrame({"b": ["True", "false", "TRUE"]}), {"b": "category"})
    assert numbers_of([flags], found)[:, 0].tolist() == [1, 0, 1]


@pytest.mark.parametrize("word", ["May", "T1", "18-25", "Q3", "mon"])
def test_words_that_pandas_parses_as_dates_are_labels(word):
    assert labels(with_values([word, "other"])) == tuple(sorted([word, "other"]))


def test_sixty_labels_of_text_are_labels(of_sorts):
    city = next(each for each in of_sorts.columns if each.name == "city")
    assert {*city.labels} == {*every_sort()["city"]}
    assert not city.pooled


@pytest.mark.slow
def test_rare_labels_are_pooled_drawn_by_frequency_and_given_as_they_are(of_cities):
    city = of_cities.columns[0]
    assert len(city.labels) == 200
    assert city.labels[-1] == "6 others"
    assert city.pooled == tuple((f"small {k}", k + 1) for k in range(6))
    rare = city.pooled[0][0]
    assert (of_cities.sample(3, given={"city": rare})["city"] == rare).all()
    chunk = cities()[:3].assign(city=["a new city", rare, None], x=np.nan)
    drawn = of_cities.sample(given=chunk)["city"].tolist()
    assert drawn[:2] == ["a new city", rare]
    rows = cities()[:1]
    one, other = (of_cities.log_prob(rows.assign(city=name))[0] for name in (rare, "a new city"))
    assert one == other
    assert np.isfinite(one)
