"""Notices, which count each row once."""

from __future__ import annotations

import pandas as pd
from frames import clinic
from helpers import changed

import flows
from flows.tables.questions import question
from flows.tables.questions.asking import run
from flows.tables.questions.collector import Collector
from flows.tables.questions.predict import Predict

QUICK = {"recipe": "quick"}


def test_notices_and_progress_count_each_row_once_for_all_targets(capsys):
    how = {"members": 1, "settings": QUICK, "missing": "drop"}
    density = flows.fit(clinic(80), target=["visits", "state"], **how)
    rows = clinic(3).fillna(0.0).assign(ward=["elsewhere", "a", "b"], age=[40.0, 1e6, 1e6])
    capsys.readouterr()
    counted: list[int] = []
    collector, asks = Collector(), Predict(density.targets)
    how = {"on_rows": counted.append}
    [(asked, answer)] = run(asks, density._array, [rows], collector, **how)
    predicted = asks.added(density._array, asked, answer)
    assert counted == [3]
    said = "\n".join(notice.problem for notice in collector.notices())
    assert "holds elsewhere, which is not one of its labels (a, b); the value is treated as" in said
    assert "is given as 1e+06 and 1 more, far outside" in said
    single = density.predict(rows, "state")
    pd.testing.assert_frame_equal(predicted[["state_ill"]], single[["ill"]].add_prefix("state_"))
    with changed({question: {"ENOUGH": 10**9}}):
        density.predict(given={"age": 40.0})
    assert "the predictions of 1 of 1 rows are rough" in capsys.readouterr().err
