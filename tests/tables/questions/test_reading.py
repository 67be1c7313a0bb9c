"""Rows of users: labels of the index, unknown labels, and values far outside."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import clinic, every_sort, people
from helpers import answered, changed

import flows
from flows.__main__ import main
from flows.tables.columns import files
from flows.tables.columns.notices import Notice
from flows.tables.questions import question, reading
from flows.tables.questions.asking import Asking
from flows.tables.questions.predict import Predict
from flows.tables.questions.reading import UserRows
from flows.tables.questions.score import Score

QUICK = {"recipe": "quick"}
pytestmark = pytest.mark.usefixtures("few_samples")


def run(*words):
    main([str(word) for word in words])


def test_an_unknown_label_has_density_0_and_one_notice_for_all_rows(of_people, tmp_path, capsys):
    frame = people()[:20].assign(ward=["south"] * 9 + ["east"] * 11)
    frame.to_csv(tmp_path / "t.csv", index=False)
    of_people.save(tmp_path / "m.flow")
    with changed({files: {"ROWS_PER_PIECE": 7}, reading: {"PIECE": 6}}):
        run("score", tmp_path / "m.flow", tmp_path / "t.csv", "-o", tmp_path / "o.csv")
    said = (
        "column ward holds the label 'south' in 9 rows; the fitted table did not hold it, so the "
        "log-density is minus infinity there\n"
    )
    assert capsys.readouterr().err == said
    assert (
        np.isneginf(pd.read_csv(tmp_path / "o.csv")["log_density"]).tolist()
        == [True] * 9 + [False] * 11
    )
    assert np.isneginf(of_people.log_prob(frame)).sum() == 9
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("missing", ["keep", "drop"])
def test_rows_with_repeated_index_labels_are_scored_as_if_they_were_numbered(of_sorts, missing):
    frame = every_sort()[:6].copy()
    frame.loc[2, "a"] = np.nan
    repeated = frame.set_axis([0, 0, 1, 1, 2, 2])
    kept, expected = answered(of_sorts, Score(missing=missing), frame)
    found, answer = answered(of_sorts, Score(missing=missing), repeated)
    np.testing.assert_array_equal(answer["members"], expected["members"])
    pd.testing.assert_frame_equal(found.frame.set_axis(kept.frame.index), kept.frame)
    assert len(found.frame) == (5 if missing == "drop" else 6)


@pytest.mark.slow
def test_rows_with_repeated_index_labels_are_answered_as_if_they_were_numbered(of_sorts):
    frame = every_sort()[:6].copy()
    frame.loc[2, "a"] = np.nan
    repeated = frame.set_axis([0, 0, 1, 1, 2, 2])
    for ask in (
        of_sorts.impute,
        of_sorts.surprise,
        lambda rows: of_sorts.predict(rows, "b"),
        lambda rows: of_sorts.sample(given=rows.drop(columns="b")),
    ):
        pd.testing.assert_frame_equal(ask(repeated).set_axis(frame.index), ask(frame))


def test_a_given_value_far_outside_of_the_data_gets_a_notice(of_sorts, capsys):
    capsys.readouterr()
    of_sorts.sample(3, given={"a": 0.5})
    assert "far outside" not in capsys.readouterr().err
    of_sorts.sample(3, given={"a": 50})
    said = capsys.readouterr().err
    assert "column a is given as 50, far outside of its range, which is about " in said
    of_sorts.predict(every_sort()[:3].assign(a=[0.1, 70, 80]), "visits")
    assert "column a is given as 70 and 1 more, far outside" in capsys.readouterr().err
    of_sorts.sample(2, given={"day": "01.01.2050"})
    assert "column day is given as 01.01.2050, far outside" in capsys.readouterr().err


@pytest.mark.slow
def test_notices_and_progress_count_each_row_once_for_all_targets(capsys):
    how = {"members": 1, "settings": QUICK, "missing": "drop"}
    density = flows.fit(clinic(80), target=["visits", "state"], **how)
    rows = clinic(3).fillna(0.0).assign(ward=["elsewhere", "a", "b"], age=[40.0, 1e6, 1e6])
    capsys.readouterr()
    counted, notices = list[int](), list[Notice]()
    asks, array = Predict(density.targets), density._array
    asking = Asking(asks, array, UserRows([rows]), notices.extend, counted.append)
    predicted = asking.added()
    assert counted == [3]
    said = "\n".join(notice.problem for notice in notices)
    assert "holds elsewhere, which is not one of its labels (a, b); the value is treated as" in said
    assert "is given as 1e+06 and 1 more, far outside" in said
    single = density.predict(rows, "state")
    pd.testing.assert_frame_equal(predicted[["state_ill"]], single[["ill"]].add_prefix("state_"))
    with changed({question: {"ENOUGH": 10**9}}):
        density.predict(given={"age": 40.0})
    assert "the predictions of 1 of 1 rows are rough" in capsys.readouterr().err
