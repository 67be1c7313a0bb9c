"""The values of one column as users write them: numbers, marks of missing values, labels.

Text that is a number in the given ``Format`` becomes a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from flows.core.arrays import Array, Mask
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Advice, Notice, SetFormat, SetKind, TableError
from flows.tables.columns.rounding import ROUNDING, count_decimals

# Texts that mean a missing value, in upper or lower case
MISSING = {"", "na", "n/a", "nan", "nat", "null", "<na>"}
# Marks of a missing value in a column with numbers; in a column of text, they are labels
MARKS = ("-", "none", "None")
UNKNOWN = "?"  # the mark of a missing value in every column
SOME = 1_000  # texts of a column that are examined to find out how numbers are written


class Format(NamedTuple):
    """The format of a CSV file, as arguments of ``pandas.read_csv``.

    Without ``sep`` the separator is a comma, or a tab in a file whose name ends in ``.tsv``.
    """

    sep: str | None = None
    decimal: str = "."
    thousands: str | None = None
    encoding: str = "utf-8"


PLAIN = Format()
# Formats of numbers. If several fit, messages advise the first.
FORMATS: tuple[dict[str, str], ...] = (
    {"decimal": "."},
    {"thousands": ","},
    {"decimal": ","},
    {"decimal": ",", "thousands": "."},
    {"thousands": " "},
    {"decimal": ",", "thousands": " "},
    {"thousands": "'"},
)
CURRENCY = "[%$\u00a2-\u00a5\u20a0-\u20cf]"  # a percent, dollar, cent, pound or other sign
SIGNS = rf"^({CURRENCY}|[-+\u2212\u2013 ])+|({CURRENCY}| )+$"  # around a number
LAST = 1e-16  # the last decimal of numbers in files


def parse_values(
    column: pd.Series,
    *,
    is_category: bool,
    text_is_missing: bool = False,
    written: Format = PLAIN,
    signed: Array | None = None,
) -> pd.Series:
    """Return a column with numbers in place of text.

    A column of numbers becomes floats, a duration its seconds, and booleans become a category of
    pandas. Categories of pandas and dates are returned unchanged. Any other column, and every
    column if ``is_category``, holds objects: numbers, text without spaces around it, and ``NaN``
    for missing values.

    Args:
        column: the column.
        is_category: whether numbers in text are labels.
        text_is_missing: whether text that is a number in no format counts as missing.
        written: the format of text.
        signed: the numbers of values with a currency or percent sign, and ``NaN`` for others.
    """
    if are_durations(column):
        return pd.to_timedelta(column).dt.total_seconds()
    if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind in "mM":
        return column
    if column.dtype.kind == "b" or pd.api.types.infer_dtype(column, skipna=True) == "boolean":
        return column.astype(object).astype(pd.CategoricalDtype([False, True]))
    found = as_numbers(column, written)
    if signed is not None:
        found = np.where(np.isnan(found), signed, found)
    is_text = np.isnan(found) | is_category
    rest = column[is_text].astype(object)
    rest = rest.where(rest.notna(), "")  # also None
    text = [_stripped(value) for value in rest]
    is_missing = np.array([str(value).lower() in MISSING for value in text], bool)
    if text_is_missing:
        is_missing |= ~are_numbers(pd.Series(text, dtype=object).astype(str))
    if is_missing.all():
        return pd.Series(found, column.index)
    values = pd.Series(found, column.index, dtype=object)
    values[is_text] = np.where(is_missing, np.nan, pd.Series(text, dtype=object))
    return values


def _stripped(value: Any) -> Any:
    """Return a number unchanged, and any other value as text without spaces around it."""
    if isinstance(value, str):  # first: the test for a number is slow
        return value.strip()
    return value if isinstance(value, Real) else str(value).strip()


def are_durations(column: pd.Series) -> bool:
    """Return whether a column holds durations, of pandas or of Python."""
    if column.dtype != object:
        return column.dtype.kind == "m"
    return pd.api.types.infer_dtype(column, skipna=True) == "timedelta"


def without_marks(column: pd.Series, na: Sequence[str]) -> pd.Series:
    """Return a column with ``NaN`` in place of the marks ``na`` of missing values.

    A number is a mark in whatever way it is written.
    """
    if not na:
        return column
    is_mark = column.astype(str).str.strip().isin([*na]).to_numpy(bool)
    if column.dtype.kind not in "mM":
        numbers = as_numbers(pd.Series([*na], dtype=object))
        found = as_numbers(column.astype(object))
        is_mark = is_mark | np.isin(found, numbers[~np.isnan(numbers)])
    return column.mask(is_mark)


def missing_values(values: pd.Series) -> Mask:
    """Return which parsed values are missing, ``(n,)``, including marks such as ``"?"``."""
    missing = values.isna().to_numpy()
    if values.dtype == object:
        are_texts = pd.api.types.infer_dtype(values, skipna=True) == "string"
        among_numbers = not are_texts and any(isinstance(value, float) for value in values.dropna())
        marks = [UNKNOWN, *(MARKS if among_numbers else ())]
        missing = missing | values.isin(marks).to_numpy()
    return missing


def as_numbers(column: pd.Series, written: Format = PLAIN) -> Array:
    """Return a column as floats ``(n,)``, with ``NaN`` for values that are not numbers.

    Raises ``TableError`` for complex numbers.
    """
    if column.dtype.kind not in "iuf":
        column = column.astype(object)
    if written.thousands:  # not in 1,5 and 0,040
        mark = r"\s" if written.thousands.isspace() else re.escape(written.thousands)
        groups = rf"(?<=\d)(?<!\b0){mark}(?=\d{{3}}(?!\d))"
        column = column.astype(str).str.replace(groups, "", regex=True)
    if written.decimal != ".":  # 1.5 is not a number then
        swapped = {ord(written.decimal): ".", ord("."): written.decimal}
        column = column.astype(str).str.translate(swapped)
    if column.dtype.kind == "f" and getattr(column.dtype, "itemsize", 8) < 8:
        column = column.astype(str).where(column.notna())  # 0.1 in single precision means 0.1
    found = pd.to_numeric(column, errors="coerce")
    if found.dtype.kind == "c":
        problem = "holds complex numbers; make two columns of the real and the imaginary parts"
        raise TableError([Notice(problem, str(column.name))])
    return found.to_numpy(dtype=np.float64, na_value=np.nan)


def as_written(x: Array) -> Array:
    """Return numbers ``(n,)`` with the decimals that they were written with before a conversion.

    Programs that store numbers in single precision, such as Stata, write 4.575 as
    4.574999809265137. The numbers of a column are read in this way if they have more than nine
    decimals as they are and, as the shortest text of single precision, so few decimals that
    neighbouring numbers of single precision differ in later decimals only.
    """
    known = np.isfinite(x)
    if not known.any() or not are_same_in_single(x, x)[known].all():
        return x
    if count_decimals(x) is not None:
        return x
    found = x.copy()
    found[known] = [float(str(value)) for value in x[known].astype(np.float32)]
    decimals = count_decimals(found)
    if decimals is None or 10.0**-decimals < 2 * np.spacing(np.float32(np.abs(x[known]).max())):
        return x
    return found if are_same_in_single(found, x)[known].all() else x


def are_same_in_single(written: Array, x: Array) -> Mask:
    """Return which numbers ``x`` ``(n,)`` are the numbers ``written`` in single precision.

    Files hold 15 digits, or 16 decimals, of a number in single precision.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.abs(written.astype(np.float32) - x) <= np.maximum(ROUNDING * np.abs(x), LAST)


def to_floats(values: pd.Series, name: str, *, is_fit: bool) -> Array:
    """Return parsed values as floats ``(n,)``, with ``NaN`` for missing values.

    Raises ``TableError``, which names the column and the first value that is not a finite number.
    With ``is_fit`` the error may advise another kind for the column.
    """
    found = as_numbers(values)
    if values.dtype == object:  # text is left only if the file's format did not read it
        found = np.where([isinstance(value, str) for value in values], np.nan, found)
    is_missing = values.isna().to_numpy()
    wrong = np.flatnonzero(~np.isfinite(found) & ~is_missing)
    if not len(wrong):
        return found
    value, row = values.iloc[wrong[0]], values.index[wrong[0]]
    if isinstance(value, float):
        raise TableError([Notice(f"holds {value}, which is not finite", name, row)])
    texts = values[np.isnan(found) & ~is_missing].astype(str).head(SOME)
    problem = "which is not a number"
    advice: Advice = (("learn labels", SetKind(name, "category")),) if is_fit else ()
    numbers = texts[are_numbers(texts)]
    if len(numbers):  # in another format, or with another sign
        known = values[~is_missing].map(label_text)
        value, row, problem, advice = _about_numbers(numbers, known, name, is_fit)
    raise TableError([Notice(f"holds {value!r}, {problem}", name, row, advice)])


def _about_numbers(
    numbers: pd.Series, known: pd.Series, name: str, is_fit: bool
) -> tuple[str, Any, str, Advice]:
    """Return a text that is not read, its row, what is wrong with it, and the remedy.

    Args:
        numbers: texts that are numbers in some format, perhaps with a sign.
        known: the texts of all known values of the column.
        name: the name of the column.
        is_fit: whether the column is new; otherwise a fit knows its sign.
    """
    are_some = are_numbers(known)
    signs = known[are_some].map(lambda text: "".join(re.findall(CURRENCY, text)))
    usual = signs.mode().iloc[0]
    if not is_fit and usual:
        return numbers.iloc[0], numbers.index[0], "whose sign the column does not have", ()
    if (signs != usual).any():
        other = known[are_some][(signs != usual).to_numpy()]
        lacks = (
            f"which lacks the sign {usual} of other values" if usual else "whose sign others lack"
        )
        return str(other.iloc[0]), other.index[0], lacks, ()
    bare = numbers.str.replace(SIGNS, "", regex=True)
    best = max(FORMATS, key=lambda options: _are_finite(bare, options).sum())
    reads = _are_finite(bare, best)
    numbers, bare = numbers[reads], bare[reads]
    if best == FORMATS[0] and (usual or not _are_finite(numbers, best).any()):
        wrong = numbers if are_some.all() else known[~are_some]
        return str(wrong.iloc[0]), wrong.index[0], "which is not a number such as -12", ()
    only = numbers[~_are_finite(bare, FORMATS[0])]  # not $41 beside $1,234
    numbers = only if len(only) else numbers
    advice: Advice = (("read it as a number", SetFormat.of(name if usual else "", **best)),)
    return numbers.iloc[0], numbers.index[0], "which is not a number", advice


def label_text(label: Any) -> str:
    """Return the text that identifies a label: 4, 4.0 and "4" are one label; 0 and -0.0 are one."""
    text = str(label)
    if text == "-0.0":
        return "0"
    if re.fullmatch(r"-?(0|[1-9]\d*)\.0", text):
        return text[:-2]
    return text.capitalize() if text.lower() in ("true", "false") else text


def are_numbers(words: pd.Series) -> Mask:
    """Return which words are numbers in any of the ``FORMATS``, ``(n,)``, also with ``SIGNS``."""
    bare = words.str.replace(SIGNS, "", regex=True)
    return np.any([_are_finite(bare, options) for options in FORMATS], axis=0)


def _are_finite(words: pd.Series, options: Mapping[str, str]) -> Mask:
    """Return which words are finite numbers in the format of the ``options``, ``(n,)``."""
    return np.isfinite(as_numbers(words, Format(**options)))
