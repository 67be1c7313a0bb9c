"""Rows with their missing values filled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from flows.core.arrays import Mask
from flows.core.errors import UserError
from flows.tables.columns.lazy import pd
from flows.tables.columns.parsing import round_rows
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.draw import Draw
from flows.tables.questions.predict import label_probabilities
from flows.tables.questions.question import Answer, Asked, Question

COUNTER = "draw"  # the added column, which numbers the versions of a row


@dataclass(frozen=True)
class Impute(Question):
    """Rows with their missing values filled, given the other values of each row.

    A missing value becomes its conditional median; for a category, its most probable label. If
    these values break a constraint together, the nearest draw that meets it replaces them. With
    draws, there are several versions of each row, in which the missing values are drawn jointly.
    The result is ``rows``, ``(n, versions, D)``.

    Args:
        draws: the number of versions; 0 for medians.
        seed: the seed of the draws.
        decimal: the decimal mark of numbers that are text.
        one_type: whether whole numbers become floats in columns that may be filled with floats, so
            that all pieces of a file have the same types.
    """

    draws: int = 0
    seed: int = 0
    decimal: str = "."
    one_type: bool = False

    noun: ClassVar[str] = "imputed values"
    fills_gaps: ClassVar[bool] = True

    def check(self, density: ArrayDensity) -> None:
        if self.draws < 0:
            raise UserError(f"draws = {self.draws}: must be 0 or more")

    def describes(self, density: ArrayDensity, region: Region) -> Sequence[str]:
        return [density.names[d] for d in np.flatnonzero(region.missing.any(axis=0))]

    def answer(self, density: ArrayDensity, region: Region) -> Answer:
        if self.draws:
            return Draw(self.draws, self.seed).answer(density, region)
        filled, effective = region.rows.copy(), np.full(len(region), np.inf)
        places = np.flatnonzero(region.gaps.any(axis=1))
        for place, posterior in density.posteriors(region.take(places)):
            k, gaps = places[place], np.flatnonzero(region.gaps[places[place]]).tolist()
            posterior.possible()
            effective[k] = posterior.effective
            for d in gaps:
                column, values = density.columns[d], posterior.values[:, d]
                if column.labels:
                    [shares] = label_probabilities(column, values, posterior.weights[None])
                    filled[k, d] = shares.argmax()
                else:
                    filled[k, d] = posterior.quantiles(d, np.array(0.5))
            if density.constraints:
                met = partial(density.constraints.met, known=region.rows[k])
                if not met(filled[k : k + 1])[0]:
                    filled[k] = posterior.nearest(filled[k], gaps, met)
        filled = np.where(region.gaps, round_rows(density.columns, filled), region.rows)
        return Answer({"rows": filled[:, None]}, effective)

    def adds(self, density: ArrayDensity) -> list[str]:
        return [COUNTER] if self.draws else []

    def rows(self, density: ArrayDensity, asked: Asked, answer: Answer) -> pd.DataFrame:
        """Return the user's rows without gaps; with draws, versions of a row are adjacent."""
        region, versions = asked.region, max(self.draws, 1)
        each, start = np.arange(len(region)).repeat(versions), 0
        if len(region):
            start = int(region.row_numbers[0]) * versions
        filled = answer["rows"].reshape(-1, len(density.columns))
        values = density.schema.frame(filled, seed=self.seed, start=start)
        if not len(asked.frame.columns):  # conditions
            return values
        gaps = np.concatenate([region.missing, asked.carried.isna().to_numpy(bool)], axis=1)[each]
        values = values[[*density.names, *asked.carried]]
        frame = _with_floats(density, asked.frame) if self.one_type else asked.frame
        found = _filled(frame.iloc[each], gaps, values, self.decimal)
        if self.draws:
            found.insert(0, COUNTER, np.arange(len(found)) % versions + 1, allow_duplicates=True)
        return found


def _with_floats(density: ArrayDensity, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with integers as floats in columns that may be filled with floats."""
    real = [each.name for each in density.columns if not each.is_discrete or each.cell % 1]
    whole = frame.select_dtypes("integer").columns.intersection(real)
    return frame.astype(dict.fromkeys(whole, np.float64))


def _filled(frame: pd.DataFrame, gaps: Mask, values: pd.DataFrame, decimal: str) -> pd.DataFrame:
    """Return a data frame with ``values`` in place of its ``gaps``; columns of text stay text.

    ``gaps`` ``(n, K)`` and ``values`` have the same columns: the learned columns, then the carried
    columns of the frame. ``decimal`` is the decimal mark of numbers in text.
    """
    found, names = frame.copy(), list(map(str, frame))
    for (name, column), gap in zip(values.items(), gaps.T, strict=True):
        if gap.any():
            place, new = names.index(str(name)), column[gap]
            own = found.iloc[:, place].copy()
            is_text = own.dtype != object and pd.api.types.is_string_dtype(own.dtype)
            holds_numbers = own.dtype.kind in "iuf" and own.notna().any()
            if new.dtype.kind == "m" and (is_text or holds_numbers):
                new = new.dt.total_seconds()  # numbers and text are read as seconds
            elif new.dtype.kind == "b" and holds_numbers:
                new = new.astype(np.int64)
            if isinstance(own.dtype, pd.CategoricalDtype):
                own = own.cat.add_categories([*{*new.dropna()} - {*own.cat.categories}])
            elif own.dtype.kind in "iu" and new.dtype.kind == "f":  # types of pandas or Arrow
                own = own.astype(np.float64)
            elif own.dtype.kind == new.dtype.kind == "f":  # perhaps of lower precision
                new = new.astype(own.dtype)
            elif is_text:
                is_real, new = new.dtype.kind == "f", new.astype(str)
                new = new.str.replace(".", decimal, regex=False) if is_real else new
            found.isetitem(place, _written(own, gap, new))
    return found


def _written(own: pd.Series, gap: Mask, new: pd.Series) -> pd.Series:
    """Return a column ``own`` ``(n,)`` with ``new`` values in place of its gaps.

    If the type of the column cannot hold the new values, as floats cannot hold labels, the column
    has the type of the new values; if it holds values of its own, too, it holds objects.
    """
    if not (new.dtype.kind == "b" and own.dtype.kind in "iuf"):  # 1 is not the label True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)  # of pandas 2; pandas 3 raises
                own[gap] = new.to_numpy()
            return own
        except (FutureWarning, NotImplementedError, TypeError, ValueError):
            pass
    if gap.all():
        return new.set_axis(own.index)
    own = own.astype(object)
    own[gap] = new.astype(object).to_numpy()
    return own
