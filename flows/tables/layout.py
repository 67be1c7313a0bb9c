"""The columns of a table as its user sees them: their order, their types, and those not learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from flows.core.arrays import Array, plain
from flows.core.seeds import numpy_generator
from flows.tables.carried import Carried
from flows.tables.columns import LARGEST_WHOLE, Column, Label
from flows.tables.dates import from_times
from flows.tables.values import are_durations, label_text

DURATION = "timedelta64[ns]"  # the type of durations of Python in samples
DURATIONS = ("timedelta", "duration")  # the beginnings of the types of durations, also of Arrow


@dataclass(frozen=True)
class Layout:
    """The columns of a table, of which a density learns some.

    Args:
        names: the names of all columns, in the order of the table.
        carried: the columns that are computed from the learned columns.
        excluded: the columns that are not learned. Samples number their rows there.
        decimals: how many decimals the numbers of a column have, by name, if they have a few.
        types: the types of the columns of a data frame, by name, as ``type_of`` returns them.
        na: marks of missing values that the user named.
        weights: the column of weights of the rows. It is not learned; samples have the weight 1.
    """

    names: tuple[str, ...]
    carried: tuple[Carried, ...] = ()
    excluded: tuple[str, ...] = ()
    decimals: Mapping[str, int] = field(default_factory=dict)
    types: Mapping[str, Any] = field(default_factory=dict)
    na: tuple[str, ...] = ()
    weights: str | None = None

    @classmethod
    def of(cls, description: Mapping[str, Any], columns: Sequence[Column]) -> Layout:
        """Return the layout in the ``description`` of a network, or else that of its columns."""
        if "table" not in description:
            return cls(tuple(column.name for column in columns))
        content = description["table"]
        return cls(
            names=tuple(content["names"]),
            carried=tuple(map(Carried.from_dict, content["carried"])),
            excluded=tuple(content["excluded"]),
            decimals=content["decimals"],
            types=content["types"],
            na=tuple(content["na"]),
            weights=content.get("weights"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that JSON can hold; ``of`` reads it as ``"table"``."""
        content = {
            "names": list(self.names),
            "carried": [each.to_dict() for each in self.carried],
            "excluded": list(self.excluded),
            "decimals": dict(self.decimals),
            "types": dict(self.types),
            "na": list(self.na),
        }
        return content if self.weights is None else {**content, "weights": self.weights}

    def holds_durations(self, column: Column) -> bool:
        """Return whether numbers of a learned column are the seconds of durations."""
        kind = self.types.get(column.name)
        return isinstance(kind, str) and kind.startswith(DURATIONS) and not column.labels

    def without_density(self, name: str) -> str | None:
        """Return why the column ``name`` has no density; ``None`` for any other column."""
        for each in self.carried:
            if each.column.name == name:
                return f"is not learned: it equals {each}"
        if name == self.weights:
            return "holds the weights of the rows"
        return "is excluded from the density" if name in self.excluded else None

    def natural_types(self, column: Column) -> tuple[str, ...]:
        """Return the types of a data frame and of Arrow that numbers of a column have in samples.

        These need not be stored, so that files of equal tables in two formats are equal.
        """
        if column.labels or column.kind == "date":
            return ()
        is_whole = column.is_whole or self.decimals.get(column.name) == 0
        return ("int64", "int64[pyarrow]") if is_whole else ("float64", "double[pyarrow]")

    def frame(
        self,
        columns: Sequence[Column],
        rows: Array,
        *,
        seed: int = 0,
        start: int = 0,
        rare: Mapping[int, Set[Label]] = {},
    ) -> pd.DataFrame:
        """Return rows as a data frame with all columns of the table.

        Args:
            columns: the learned columns.
            rows: their numbers ``(n, D)``, with codes for labels.
            seed: the seed of the draws of rare labels.
            start: the number of rows before these.
            rare: the rare labels to draw from, by the place of their column; by default all.
        """
        generator = numpy_generator(seed, "unknown", start, 2)
        shown = [self._rounded(column, x) for column, x in zip(columns, rows.T, strict=True)]
        found = {
            column.name: self._typed(column, x, generator, rare.get(d))
            for d, (column, x) in enumerate(zip(columns, shown, strict=True))
        }
        rows = np.stack(shown, axis=1)
        for each in self.carried:
            x = self._rounded(each.column, each.values(columns, rows))
            found[each.column.name] = self._typed(each.column, x, generator)
        for name in self.excluded:
            kind = self.types.get(name)
            numbers = np.arange(start + 1, start + len(rows) + 1)
            if isinstance(kind, Mapping):  # its labels are no numbers of rows
                found[name] = cast(numbers, "str").astype("category")
            else:
                found[name] = cast(numbers, kind)
        if self.weights is not None:
            found[self.weights] = cast(np.ones(len(rows), np.int64), self.types.get(self.weights))
        return pd.DataFrame({name: found[name] for name in self.names})

    def _rounded(self, column: Column, x: Array) -> Array:
        """Round numbers ``x`` ``(n,)`` to the decimals of the column, but not onto a bound."""
        if column.labels or (decimals := self.decimals.get(column.name)) is None:
            return x
        nearest, unit = np.round(x, decimals), 10.0**-decimals
        low, high = column.bounds
        nearest = np.where(nearest <= low, np.round(nearest + unit, decimals), nearest)
        nearest = np.where(nearest >= high, np.round(nearest - unit, decimals), nearest)
        return np.where((low < nearest) & (nearest < high), nearest, x)

    def _typed(
        self,
        column: Column,
        x: Array,
        generator: np.random.Generator,
        rare: Set[Label] | None = None,
    ) -> pd.Series:
        """Return numbers ``x`` ``(n,)`` of a column as values of its type."""
        kind = self.types.get(column.name)
        if column.labels:
            return cast(_labels(column, x, generator, rare), kind)
        if column.kind == "date":
            return cast(from_times(x, column), kind)
        is_whole = "int64" in self.natural_types(column)
        if is_whole and kind is None and not np.isnan(x).any():
            return pd.Series(x.clip(-LARGEST_WHOLE, LARGEST_WHOLE).astype(np.int64))
        return cast(x, kind)


def _labels(
    column: Column, x: Array, generator: np.random.Generator, allowed: Set[Label] | None
) -> np.ndarray | pd.Categorical:
    """Return codes as labels; the code of a pool becomes one of its rare labels, at random.

    Only ``allowed`` rare labels are drawn, by default all.
    """
    codes = x.astype(np.int64)
    if column.ordered:
        return pd.Categorical.from_codes(codes, list(column.labels), ordered=True)
    found = np.array(column.labels)[codes]
    if column.pooled:
        pool = [each for each in column.pooled if allowed is None or each[0] in allowed]
        rare, counts = zip(*pool, strict=True)
        pooled = codes == len(column.labels) - 1
        shares = np.array(counts) / sum(counts)
        found = found.astype(object)
        found[pooled] = generator.choice(np.array(rare, dtype=object), pooled.sum(), p=shares)
    return found


def type_of(values: pd.Series) -> Any:
    """Return the type of a column as JSON can hold it; ``cast`` reads it."""
    kind = values.dtype
    if isinstance(kind, pd.CategoricalDtype):
        labels = [each if isinstance(each, str) else _plain(each) for each in kind.categories]
        return {"categories": labels, "ordered": bool(kind.ordered)}
    return DURATION if kind.kind == "O" and are_durations(values) else str(kind)


def to_durations(seconds: Any) -> pd.Series:
    """Return numbers of seconds as durations of pandas, and ``NaN`` as a missing value."""
    return pd.to_timedelta(pd.Series(seconds, dtype=np.float64), unit="s")


def _plain(label: Any) -> Any:
    """Return a label as JSON can hold it: a number or a boolean as it is, others as text."""
    label = plain(label)
    return label if isinstance(label, int | float | bool) else str(label)


def cast(values: Any, kind: Any) -> pd.Series:
    """Return values as a column of the type ``kind``, which ``type_of`` returned.

    Values that do not fit the type, such as fractions in a column of whole numbers, become the
    nearest that do. ``None`` keeps the type that the values have.
    """
    series = pd.Series(values)
    if kind is None:
        return series
    if isinstance(kind, Mapping):
        places = {label_text(label): k for k, label in enumerate(kind["categories"])}
        codes = [places.get(label_text(each), -1) for each in series]
        return pd.Series(
            pd.Categorical.from_codes(codes, kind["categories"], ordered=kind["ordered"])
        )
    if kind.startswith(DURATIONS):
        return to_durations(series).astype(kind)
    dtype = pd.api.types.pandas_dtype(kind)
    if dtype.kind in "iu" and series.dtype.kind == "f":
        numpy_type = np.dtype(getattr(dtype, "numpy_dtype", dtype.type))
        limits = np.iinfo(numpy_type)
        series = series.round().clip(
            max(limits.min, -LARGEST_WHOLE), min(limits.max, LARGEST_WHOLE)
        )
        if series.isna().any():
            return series  # a column that holds no value
    if dtype.kind == "M" and getattr(dtype, "tz", None) is not None:
        series = series.dt.tz_localize("UTC")
    return series.astype(dtype)
