"""The page of columns given all others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from studies.engine import Study
from studies.tables import given_others_report as report


def scores() -> pd.DataFrame:
    """Return scores of two tables: ratios of two columns of numbers, a difference of labels."""
    frame = pd.DataFrame(
        {
            "table": ["p", "p", "q"],
            "column": ["x", "town", "x"],
            "labels": [0, 30, 0],
            "boosting": [1.0, 0.5, 2.0],
            "joint": [0.5, 0.25, 2.0],
            "target": [0.4, 1.0, 1.6],
            "change": [0.8, 0.75, 0.8],
        }
    )
    for name in ("joint", "target", "change"):
        frame[f"{name}_low"], frame[f"{name}_high"] = frame[name] - 0.1, frame[name] + 0.1
    return frame.assign(better=frame[["joint", "target"]].min(axis=1))


def test_sizes_are_logarithms_of_ratios_and_differences():
    np.testing.assert_allclose(report.size(scores(), "joint"), [np.log(0.5), 0.25, np.log(2)])


def test_means_of_numbers_are_geometric_and_far_columns_are_counted():
    numbers = scores()[scores()["labels"] == 0]
    lines = report.summary(numbers).splitlines()
    assert lines[2].startswith("| joint fit | 1.00 (0.50 to 2.00) | 1.00 | 1 | 1 | 1 |")
    assert lines[4].startswith("| better of the two | 0.80 (0.40 to 1.60) |")


def test_verdicts_are_those_of_the_intervals():
    assert report.verdicts(scores(), "joint").tolist() == [-1, 1, 1]
    assert report.verdicts(scores(), "change").tolist() == [-1, 1, -1]


def test_the_worst_columns_come_first_whatever_they_hold():
    first = report.worst(scores()).splitlines()[:2]
    assert [line.split(" (")[0] for line in first] == ["- `x` of q", "- `town` of p"]


def test_targets_are_compared_by_the_number_of_labels():
    lines = report.changes(scores()).splitlines()
    assert lines[2] == "| numbers | 2 | 0.80 (0.80 to 0.80) | 2 | 0 | 0 |"
    assert lines[4].startswith("| labels, more than 20 | 1 | +0.750")


def test_the_page_is_that_of_the_rows():
    study = Study("tables")
    page = (study.folder / "given_others.md").read_text(encoding="utf-8")
    assert report.document(study) == page


@pytest.mark.parametrize("are_numbers", [True, False])
def test_a_mean_is_shown_on_the_scale_of_its_scores(are_numbers: bool):
    expected = "2.00" if are_numbers else "+0.693"
    assert report.shown(are_numbers, np.log(2)) == expected
