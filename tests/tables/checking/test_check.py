"""Checks of fits: which rows are found, tables of all sorts, files, text and figure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import error_message, few_samples, short_recipe

import flows
from flows import workers
from flows.core.errors import UserError
from flows.tables.checking import refits
from flows.tables.checking.result import FRAMES, Check

QUICK: dict[str, Any] = {"settings": {"recipe": short_recipe()}, "members": 2}


def paid(n: int = 120) -> pd.DataFrame:
    """Return a table of numbers, labels, gaps, subjects and weights, in which most pay nothing."""
    rng = np.random.default_rng(0)
    age, is_free = rng.integers(20, 80, n), rng.random(n) < 0.7
    amount = np.where(is_free, 0.0, np.exp(rng.normal(3, 1, n)).round(2))
    y = np.where(rng.random(n) < 0.1, np.nan, age / 10 + rng.normal(size=n))
    ward, subject = rng.choice(["a", "b", "c"], n), rng.integers(0, 50, n)
    columns = {"age": age, "ward": ward, "paid": amount, "y": y, "subject": subject}
    return pd.DataFrame({**columns, "w": rng.choice([1, 2], n)})


def numbers(n: int = 100) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(1).normal(size=(n, 2)), columns=["a", "b"])


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    with few_samples():
        yield


@pytest.fixture(scope="module")
def fitted() -> flows.Density:
    return flows.fit(numbers(), **QUICK)


def test_training_rows_are_found_in_any_order_and_beside_other_columns(fitted: flows.Density):
    found = fitted.check(numbers())
    assert found.why == ""
    assert found.rows == 100
    assert 0.4 < found.auc < 1
    shuffled = numbers().sample(frac=1, random_state=0).assign(other=1)
    again = fitted.check(shuffled[["other", "b", "a"]])
    assert again.why == ""
    assert again.traces["row"].tolist() == found.traces["row"].tolist()  # labels of the index
    assert again.auc == pytest.approx(found.auc)


def test_other_rows_and_some_of_the_training_rows_are_new_rows(fitted: flows.Density):
    for rows, known in ((numbers(30), 30), (numbers() + 1, 0), (numbers()[["a", "b"]][::2], 50)):
        found = fitted.check(rows)
        assert "not exactly those of the training table" in found.why
        assert found.known == known
        assert len(found.ranks) == len(rows)
        assert np.isnan(found.auc)
        assert ("training rows, which some members learned from" in str(found)) == bool(known)
    message = error_message(fitted.check, numbers(30), 2)
    assert message.startswith(
        "refits = 2: need the training table, but the rows are not exactly those"
    )


def test_a_file_without_its_record_says_what_it_cannot_show(fitted: flows.Density, tmp_path: Path):
    fitted.save(tmp_path / "public.flow", record=False)
    text = str(flows.load(tmp_path / "public.flow").check(numbers()))
    assert "exported without its record" in text
    assert "not shown: out-of-fold cover, p-values, and traces of single rows" in text
    found = flows.Density(fitted.population, fitted.schema).check(numbers())
    assert "holds no fit of this version" in found.why
    assert "the file does not tell training rows" in str(found)


def test_text_that_the_fit_took_as_missing_is_missing_in_a_check():
    rows = numbers().astype({"a": object})
    rows.loc[7, "a"] = "error"
    found = flows.fit(rows, **QUICK).check(rows)
    assert found.why == ""
    assert np.isnan(found.ranks[7])


def test_wrong_numbers_and_rows_are_refused(fitted: flows.Density):
    assert error_message(fitted.check, numbers(), -1) == "refits = -1: must be 0 or more"
    message = error_message(fitted.check, numbers(), 1, minutes=0)
    assert message == "minutes = 0: must be a finite number above 0"
    message = error_message(fitted.check, numbers(), 1, minutes="5")
    assert message == "minutes = '5': must be a finite number above 0"
    message = error_message(fitted.check, numbers(), minutes=1)
    assert message == "minutes = 1: limits the time of refits, and refits = 0"
    assert error_message(fitted.check, numbers()[:0]) == "the table has no rows"
    assert "there is no column a" in error_message(fitted.check, pd.DataFrame({"x": [1.0]}))


@pytest.mark.slow
def test_a_planted_far_row_leaves_a_trace():
    rows = numbers()
    rows.loc[17] = [9.0, -9.0]
    longer = {"settings": {"recipe": short_recipe(steps=400)}, "members": 10}
    traces = flows.fit(rows, **longer).check(rows).traces.groupby("members", sort=False)
    assert 17 in traces.get_group("networks")["row"].tolist()
    assert traces.get_group("mixtures")["score"].max() < 20  # no component holds the row alone
    assert all(part.is_monotonic_decreasing for _, part in traces["score"])


def test_a_row_that_samples_may_repeat_is_named_first(fitted: flows.Density):
    found = fitted.check(numbers())
    assert "stand" not in str(found).splitlines()[1]
    traces = pd.DataFrame([("mixtures", 17, 272.0)], columns=["members", "row", "score"])
    said = str(replace(found, traces=traces)).splitlines()[1]
    assert said == "1 row stands alone (17): samples may nearly repeat such a row"


def test_the_smallest_p_value_is_called_so(fitted: flows.Density):
    found = fitted.check(numbers())
    refits = pd.DataFrame(np.zeros((4, 7)), columns=[*FRAMES["refits"]])
    p_values = {"p_fit": 0.2, "p_density": 0.2, "p_columns": 0.4, "p_samples": 0.6}
    numbers_of = {"column": "x", "deviation": 1.5, "difference": 2.25}
    said = str(replace(found, refits=refits, asked=4, **p_values, **numbers_of))
    assert "p-value of the fit: 0.2 (the smallest that 4 refits can give)" in said
    assert "density (ranks of rows): 0.2 (the smallest" in said
    assert "columns (ranks of values): 0.4; largest deviation: x, 1.5\n" in said
    assert "samples beside rows: 0.6; largest difference: 2.2 standard errors" in said


def test_another_table_is_told_before_a_second_fit(fitted: flows.Density):
    assert flows.verify(fitted, numbers()[1:]) == "the rows are not those of the fit"


def test_the_result_is_stored_on_request_and_is_not_exported(fitted: flows.Density, tmp_path: Path):
    density = flows.Density(fitted.population, fitted.schema, fitted.record)
    found = density.check(numbers(), store=True)
    assert str(density).endswith(str(found))
    density.save(tmp_path / "own.flow")
    loaded = flows.load(tmp_path / "own.flow")
    assert str(found) in str(loaded)
    loaded.save(tmp_path / "public.flow", record=False)
    public = flows.load(tmp_path / "public.flow").record
    assert public is not None
    assert public.check == ""
    unrecorded = flows.Density(fitted.population, fitted.schema)
    with pytest.raises(UserError, match="no record"):
        unrecorded.check(numbers(), store=True)


@pytest.mark.slow
def test_refits_end_in_time_and_meet_the_same_recipe(
    fitted: flows.Density, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(workers.VARIABLE, "")
    seen = []
    learn = refits.learn_again
    monkeypatch.setattr(
        refits, "learn_again", lambda *given: seen.append(given[0]) or learn(*given)
    )
    found = fitted.check(numbers(), 3)
    assert len(found.refits) == found.asked == 3
    for p in (found.p_fit, found.p_density, found.p_columns, found.p_samples):
        assert p in (1 / 4, 2 / 4, 3 / 4, 1)
    assert (found.refits["distance"] > -0.1).all()
    assert len({each.seed for each in seen}) == 3
    assert {each.recipe.most_steps for each in seen} == {20}
    text = str(found)
    assert "p-value of the fit" in text
    assert "nat per row from it; the best of the references" in text
    late = fitted.check(numbers(), 9, minutes=0.001)
    assert len(late.refits) == 1
    assert "1 refit of 9, for lack of time" in str(late)
    assert "p-value of the fit: needs two refits" in str(late)
    figure = found.plot()
    assert len(figure.axes) == 3
    assert len(figure.axes[0].collections) == 1  # the band of the refits


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "left_out"),
    [
        ({}, ["subject", "w"]),
        ({"target": "y"}, ["subject", "w"]),
        ({"target": "ward", "missing": "drop"}, ["subject", "w"]),
        ({"group": "subject", "weights": "w"}, []),
        ({"target": ["y", "paid"]}, ["subject", "w"]),
        ({"require": ["paid >= 0"]}, ["subject", "w", "ward", "y"]),
    ],
    ids=["labels and gaps", "target", "label", "weights and groups", "targets", "constraint"],
)
def test_tables_of_all_sorts_are_checked(options: dict[str, Any], left_out: list[str]):
    frame = paid(60).drop(columns=left_out)
    density = flows.fit(frame, **QUICK, **options)
    found = density.check(frame, 1)
    text = str(found)
    assert found.why == ""
    assert len(found.refits) == 1
    assert np.isfinite(found.statistic)
    assert np.isnan(found.p_columns)  # needs three refits
    assert ("dependence within groups" in text) == ("group" in options)
    assert ("repeated by their weights" in text) == ("weights" in options)
    asked = density.targets or density.schema.learned
    assert found.cover["region"].drop_duplicates().tolist() == [Check.WHOLE, *asked]
    assert set(found.samples["column"]) == set(asked)
    rows = density.check(frame[:20])
    assert "not exactly those of the training table" in rows.why


def test_a_share_that_differs_comes_first_in_words(fitted: flows.Density):
    rows = numbers()
    rows.loc[:79, "a"] = 0.0
    lines = str(fitted.check(rows)).splitlines()
    first = lines[lines.index("samples beside rows") + 1]
    assert first.startswith("  `a` is 0 in 0% of samples, 80% of rows (")


def test_differences_of_columns_and_pairs_come_in_one_order(fitted: flows.Density):
    rows = numbers()
    rows["a"] += 0.6
    rows["b"] = rows["a"]
    text = str(fitted.check(rows)).split("samples beside rows\n")[1].split("\n\n")[0]
    errors = [float(x) for x in re.findall(r"\(([\d.]+) standard errors\)", text)]
    assert len(errors) > 1
    assert errors == sorted(errors, reverse=True)
    assert " have the association " in text.splitlines()[0]
