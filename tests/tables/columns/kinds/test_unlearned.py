"""Columns that are not learned: carried, excluded, and groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import cities, every_sort
from helpers import SHORT_RECIPE, column, field, quick_fit, rng, taken

import flows
from flows.tables.columns.field import Sampled
from flows.tables.columns.kinds.unlearned import Carried, Excluded, unlearned_of
from flows.tables.columns.notices import TableError

pytestmark = pytest.mark.usefixtures("few_samples")
N = 240


def test_a_description_lists_learned_carried_and_excluded_columns(of_sorts):
    said = repr(of_sorts).splitlines()
    assert "column total: carried along, 2 a - b + 3" in said
    assert "column const: carried along, 'x'" in said
    assert "column id: excluded, samples number their rows" in said
    names = [each.name for each in of_sorts.columns]
    assert not {"const", "total", "copy", "id", "number", "empty"} & {*names}


def test_notices_on_carried_excluded_and_pooled_columns_are_decisions():
    rows, _ = taken(every_sort())
    decided = {notice.column for notice in rows.notices if notice.is_decision}
    assert decided == {"id", "const", "total", "copy", "grade", "number", "empty"}
    rows, _ = taken(cities())
    assert [notice.column for notice in rows.notices if notice.is_decision] == ["city"]


def test_a_redundant_column_changes_no_score():
    frame = every_sort()[["a", "b", "visits"]]
    alone = quick_fit(frame)
    beside = quick_fit(frame.assign(sum=frame["a"] + frame["visits"], c=5, id=range(N)))
    np.testing.assert_array_equal(alone.log_prob(frame), beside.log_prob(frame))


def test_a_carried_column_may_be_missing_or_wrong_in_rows_that_are_scored(of_sorts, capsys):
    frame = every_sort()[:30]
    expected = of_sorts.log_prob(frame)
    capsys.readouterr()
    without = frame.drop(columns=["total", "const", "id", "number"])
    np.testing.assert_array_equal(of_sorts.log_prob(without), expected)
    assert capsys.readouterr().err == ""
    wrong = frame.assign(total=frame["total"] + np.where(frame.index < 3, 1, 0))
    np.testing.assert_array_equal(of_sorts.log_prob(wrong), expected)
    said = capsys.readouterr().err
    assert said == "column total differs from 2 a - b + 3 in 3 rows; log-densities ignore it\n"


def test_missing_values_of_carried_columns_are_imputed(of_sorts):
    gaps = every_sort()[:4].copy()
    gaps.loc[0, ["total", "copy"]] = np.nan
    gaps.loc[1, "const"] = None
    gaps.loc[2, ["a", "total", "copy"]] = np.nan
    filled = of_sorts.impute(gaps)
    assert filled.loc[0, "total"] == every_sort().loc[0, "total"]
    assert filled.loc[1, "const"] == "x"
    expected = round(2 * filled.loc[2, "a"] - filled.loc[2, "b"] + 3, 3)
    assert filled.loc[2, "total"] == pytest.approx(expected)
    assert filled.loc[2, "copy"] == filled.loc[2, "a"]
    assert (filled["id"] == gaps["id"]).all()


@pytest.mark.parametrize(
    "ask",
    [
        lambda density, frame: density.predict(frame, "total"),
        lambda density, frame: density.sample(2, given={"total": 1}),
        lambda density, frame: density.log_prob(frame, given=["total"]),
    ],
    ids=["predict", "sample", "score"],
)
def test_a_question_about_a_carried_column_says_why_there_is_no_answer(of_sorts, ask):
    with pytest.raises(TableError, match=r"column total is not learned: it equals 2 a - b \+ 3"):
        ask(of_sorts, every_sort()[:2])


@pytest.mark.parametrize(
    ("x", "step", "said"),
    [
        (lambda a, b: a + b, None, "a + b"),
        (lambda a, b: 0.1 * a - 3 * b - 7, None, "0.1 a - 3 b - 7"),
        (lambda a, b: -a + 1e6, None, "-a + 1e+06"),
    ],
)
def test_a_linear_combination_is_found_exactly(x, step, said):
    a, b = rng().normal(size=(2, 50)).round(2)
    both = np.column_stack([a, b])
    names = ["a", "b"] if "b" in said else ["a"]
    own = field("x", step=step)
    carried = Carried.from_values(own, x(a, b), names, both[:, : len(names)])
    assert carried.formula == said
    found = carried.values(dict(zip("ab", both.T, strict=True)))
    np.testing.assert_allclose(found, x(a, b), rtol=1e-12)
    assert unlearned_of(carried.to_json()) == carried


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"role": "identifier", "name": "id", "dtype": None}, "is excluded from the density"),
        ({"role": "group", "name": "who", "dtype": "Int64"}, "is excluded from the density"),
        ({"role": "weights", "name": "w", "dtype": None}, "holds the weights of the rows"),
        (
            {
                "role": "carried",
                "field": {"kind": "real", "name": "sum", "decimals": 2},
                "offset": 1.0,
                "terms": [["a", 2.0]],
            },
            "is not learned: it equals 2 a + 1",
        ),
    ],
)
def test_columns_in_files_of_release_0_4_are_read(content, why):
    found = unlearned_of(content)
    assert found.why == why
    assert found.to_json() == content


def test_a_reversed_label_is_computed_from_the_other_label():
    sex = rng().choice(["f", "m"], N)
    frame = pd.DataFrame(
        {"sex": sex, "is_female": np.where(sex == "f", 1, 0), "y": rng().normal(size=N)}
    )
    density = quick_fit(frame)
    drawn = density.sample(200)
    assert [each.name for each in density.columns] == ["sex", "y"]
    assert ((drawn["sex"] == "f") == (drawn["is_female"] == 1)).all()
    assert drawn["is_female"].dtype == frame["is_female"].dtype


@pytest.mark.parametrize(
    ("x", "excluded"),
    [
        (np.arange(100_001, 100_601), True),
        (np.cumsum(rng().integers(1, 3, 600)), True),
        (np.cumsum(rng().integers(1, 9, 600)), False),
        (rng().permutation(600), False),
        (np.arange(600) / 7, False),
    ],
)
def test_whole_numbers_that_count_the_rows_are_excluded(x, excluded):
    assert (column(x) is None) == excluded


def test_rows_of_a_group_share_a_fold_and_the_column_is_not_learned():
    n = 60
    frame = pd.DataFrame({"patient": np.repeat(np.arange(n // 3), 3), "x": rng().normal(size=n)})
    frame["y"] = frame["x"] + rng(1).normal(size=n)
    rows, said = taken(frame, group="patient")
    assert [each.name for each in rows.columns] == ["x", "y"]
    assert (rows.groups[::3] == rows.groups[2::3]).all()
    assert len(np.unique(rows.groups)) == 20
    assert "holds the subjects, 20 in 60 rows; all rows of a subject" in said["patient"]
    density = flows.fit(frame, members=5, group="patient", settings=SHORT_RECIPE)
    fold = density.record.row_scores.fold
    assert (fold[::3] == fold[1::3]).all()
    assert (fold[::3] == fold[2::3]).all()
    assert density.sample(4)["patient"].tolist() == [1, 2, 3, 4]
    for dtype in ("datetime64[ns, UTC]", "timestamp[ns][pyarrow]", "timedelta64[ns]"):
        samples = Sampled((), np.empty((2, 0)), start=3)
        assert Excluded("day", "group", dtype).restored(samples, rng()).tolist() == [4, 5]
    with pytest.raises(TableError, match="there is no column person"):
        flows.fit(frame, group="person")
