"""The tables of reports in Markdown: their numbers, intervals, bold cells and lists of losses.

A table is a data frame of texts. Its index and its columns are the names in the table.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pandas as pd

from tools.markdown import NONE, minus, table

Texts = TypeVar("Texts", str, pd.Series, pd.DataFrame)


def number(value: float, digits: int = 3, sign: str = "") -> str:
    """Return a number with ``digits`` decimals, or with a power of ten from 10,000 on.

    ``sign`` is ``"+"`` for a sign before positive numbers, too.
    """
    text = f"{value:{sign},.{digits}f}" if abs(value) < 10_000 else f"{value:.0e}"
    return minus(text).replace("inf", "\u221e").replace("nan", NONE)


def numbers(values: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Return numbers as texts; a number that does not exist is empty."""
    return values.map(lambda value: number(value, digits), na_action="ignore").fillna("")


def plus_minus(mean: float, half: float, digits: int = 3) -> str:
    """Return the mean and what is written after ``\u00b1``, which is left out if it is ``NaN``."""
    text = number(mean, digits)
    return text if np.isnan(half) else f"{text} \u00b1 {number(half, digits)}"


def spread(values: pd.Series, digits: int = 3) -> str:
    """Return the mean and the standard deviation."""
    return f"{number(values.mean(), digits)} \u00b1 {number(values.std(), digits)}"


def within(mean: float, low: float, high: float, digits: int = 3, sign: str = "") -> str:
    """Return the mean and the ends of its interval."""
    mean_text, low_text, high_text = (number(each, digits, sign) for each in (mean, low, high))
    return f"{mean_text} ({low_text} to {high_text})"


def bold(text: Texts) -> Texts:
    """Return a text, or each of several texts, in bold."""
    return "**" + text + "**"


def grid(
    values: pd.DataFrame,
    best: pd.Series | str = "",
    errors: pd.DataFrame | None = None,
    digits: int = 2,
) -> pd.DataFrame:
    """Return numbers as texts, with the best cells in bold.

    Args:
        values: the numbers.
        best: the best number of each column, or ``"max"`` or ``"min"`` for the best number of each
            row; empty for no bold number.
        errors: what is written after ``\u00b1``, where it is not ``NaN``.
        digits: the number of decimals.
    """
    texts = values.map(lambda value: number(value, digits))
    if errors is not None:
        after = errors.map(lambda each: f" \u00b1 {number(each, digits)}", na_action="ignore")
        texts += after.fillna("")
    if isinstance(best, pd.Series):
        return texts.mask(values == best, bold(texts))
    return texts.mask(values.eq(values.agg(best, axis=1), axis=0), bold(texts)) if best else texts


def frame(texts: pd.DataFrame, *heads: str, align: str = "lr") -> str:
    """Return a table in Markdown with the rows of a data frame of texts.

    ``heads`` are the titles of the levels of the index, by default one empty title. ``align`` is as
    in ``tools.markdown.table``.
    """
    keys = [key if isinstance(key, tuple) else (key,) for key in texts.index]
    rows = [[*key, *cells] for key, cells in zip(keys, texts.to_numpy().tolist(), strict=True)]
    return table([*(heads or ("",)), *map(str, texts.columns)], rows, align)


def losses(gains: pd.Series) -> str:
    """Return the negative gains as a list, the largest loss first.

    The first level of the index is the name of a method, and the others name a place.
    """
    lost = gains[gains < 0].sort_values(kind="stable")
    lines = [
        f"{method} on {', '.join(where)} ({number(-gain, 2)})"
        for (method, *where), gain in lost.items()
    ]
    return "; ".join(lines) or "nowhere"
