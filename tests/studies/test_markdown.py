"""The helper for tables in Markdown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from studies import markdown


@pytest.mark.parametrize(
    ("value", "text"),
    [(-1.234, "\u22121.23"), (1e5, "1e+05"), (np.inf, "\u221e"), (np.nan, "\u2013")],
)
def test_a_number_has_a_minus_sign_and_signs_for_numbers_that_do_not_exist(
    value: float, text: str
) -> None:
    assert markdown.number(value, 2) == text


def test_a_table_has_the_best_numbers_in_bold_and_their_errors() -> None:
    values = pd.DataFrame({"x": [1.0, 2.0], "y": [4.0, np.nan]}, index=["a", "b"])
    errors = pd.DataFrame({"x": [0.5, np.nan], "y": [0.5, 0.5]}, index=["a", "b"])
    by_column = markdown.grid(values, values.max(), errors)
    assert markdown.frame(by_column, "model").splitlines() == [
        "| model | x | y |",
        "|---|---:|---:|",
        "| a | 1.00 \u00b1 0.50 | **4.00 \u00b1 0.50** |",
        "| b | **2.00** | \u2013 \u00b1 0.50 |",
    ]
    by_row = markdown.grid(values, "min", digits=0)
    assert by_row.to_numpy().tolist() == [["**1**", "4"], ["**2**", "\u2013"]]


def test_losses_are_listed_with_the_largest_first() -> None:
    gains = pd.Series({("a", "s"): -0.1, ("b", "s"): 0.3, ("b", "t"): -0.2})
    assert markdown.losses(gains) == "b on t (0.20); a on s (0.10)"
    assert markdown.losses(gains[gains > 0]) == "nowhere"
