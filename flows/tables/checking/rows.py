"""The rows that a check is about: the training rows with their folds, or new rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.core.rows import digests, matched
from flows.recipe.record import EVERY, NEVER, RowScores
from flows.tables.columns.learning import Sample, fit_schema
from flows.tables.columns.notices import Notice, TableError
from flows.tables.columns.parsing import (
    Table,
    apply_missing_policy,
    numbers_of,
    position,
    refused,
    round_rows,
)
from flows.tables.columns.values import label_text
from flows.tables.fitting.fit_request import FitRequest
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.draw import Draw
from flows.tables.questions.reading import broken_by

Read = Callable[[Mapping[str, Any]], Table]  # parses the table with these kinds of columns


@dataclass(frozen=True)
class CheckedRows:
    """n rows of a table.

    Args:
        values: the values in the user's units, ``(n, D)``, with codes for labels and ``NaN`` for
            gaps.
        fold: the fold of each row, ``(n,)``, whose members did not learn from the row; ``EVERY``
            for new rows, and less for rows that all members learned from.
        labels: how the user names each row, ``(n,)``: the index of a frame, or the numbers of the
            rows of a file.
        sample: the training rows with their copies, groups and labels; ``None`` for new rows.
        known: the number of new rows that are among the training rows; ``None`` if the file does
            not tell.
        why: why these are new rows and not the training table; empty for the training table.
        notices: what the fit said about the training table.
        not_allowed: the values of new rows that their columns do not allow: the column, the first
            such value as text, and the share of the known values of the column.
    """

    values: Array
    fold: Whole
    labels: Sequence[Any] = ()
    sample: Sample | None = None
    known: int | None = 0
    why: str = ""
    notices: Sequence[Notice] = ()
    not_allowed: Sequence[tuple[str, str, float]] = ()

    @classmethod
    def of_fit(cls, density: ArrayDensity, sample: Sample) -> CheckedRows:
        """Return the rows that a density was fitted to."""
        assert density.record is not None
        assert density.record.row_scores is not None
        fold = density.record.row_scores.held_out_in
        return cls(sample.values, fold, sample.labels, sample)

    @property
    def is_held_out(self) -> Mask:
        """Whether members that did not learn from a row can be asked about it, ``(n,)``."""
        return self.fold != NEVER

    @property
    def copies(self) -> Whole:
        """The row that each row repeats, ``(n,)``; of new rows, the row itself."""
        return np.arange(len(self.values)) if self.sample is None else self.sample.copies

    def take(self, places: Whole) -> CheckedRows:
        """Return some of the rows, of which copies stay copies."""
        sample = None if self.sample is None else self.sample.take(places)
        labels = [self.labels[k] for k in places.tolist()] if len(self.labels) else ()
        values, fold = self.values[places], self.fold[places]
        return replace(self, values=values, fold=fold, labels=labels, sample=sample)


def read_rows(density: ArrayDensity, read: Read) -> CheckedRows:
    """Return the rows of a table. If they are the training rows, they have their folds.

    A training row that was never held out has the fold ``NEVER``, and gets no rank.

    Args:
        density: the density.
        read: returns the table.

    Raises ``TableError`` for a table that is not a table of the density, and ``UserError`` if it
    has no row, and for a model of images.
    """
    if not density.columns:
        raise UserError("a model of images has no columns to check")
    record = density.record
    other = "the rows are not exactly those of the training table"
    scores = None if record is None else record.row_scores
    if record is None or scores is None or scores.digest is None or not record.fit:
        why = "the density has no out-of-fold scores of single rows: the file was exported without "
        why += "its record, or holds no fit of this version to a table"
        return _new(density, read, scores, why)
    request = FitRequest.recorded(record)
    try:
        table = read(request.columns)
        names = [name for name in density.schema.names if name in table.frame]
        _, sample, notices = fit_schema(table._replace(frame=table.frame[names]), request.of_table)
    except TableError:
        return _new(density, read, scores, other)
    values = sample.values
    places = matched(digests(values), scores.digest)
    if places is None:
        return _new(density, read, scores, other)
    fold = scores.held_out_in[places]
    return CheckedRows(values, fold, sample.labels, sample, notices=notices)


def _new(density: ArrayDensity, read: Read, scores: RowScores | None, why: str) -> CheckedRows:
    """Return the rows of a table as new rows.

    Args:
        density: the density.
        read: returns the table.
        scores: the out-of-fold scores of the record, whose rows are counted; ``None`` if there are
            none.
        why: why these are new rows.
    """
    table = apply_missing_policy(read({field.name: field for field in density.columns}), "keep")
    for field in density.columns:
        position(list(table.frame), field.name, table.source)
    values = numbers_of(density.columns, table)
    is_refused, is_there = refused(density.columns, values), ~np.isnan(values)
    not_allowed = []
    for d in np.flatnonzero(is_refused.any(axis=0)).tolist():
        share = is_refused[:, d].sum() / is_there[:, d].sum()
        text = label_text(table.frame[density.names[d]].iloc[int(is_refused[:, d].argmax())])
        not_allowed.append((density.names[d], text, float(share)))
    values[is_refused] = np.nan
    labels = table.frame.index.to_numpy()
    if density.targets:  # a row without a target says nothing about p(y | x)
        is_known = ~np.isnan(values[:, ~density.inputs]).any(axis=1)
        values, labels = values[is_known], labels[is_known]
    if not len(values):
        which = " with a target" if density.targets else ""
        raise UserError(f"the table has no rows{which}")
    known = None
    if scores is not None and scores.digest is not None:
        known = int(np.isin(digests(values), scores.digest).sum())
    found = CheckedRows(values, np.full(len(values), EVERY), labels.tolist(), known=known, why=why)
    broken = zip(density.constraints.each, density.constraints.broken(values).T, strict=True)
    notices = [broken_by(int(own.sum()), each.text) for each, own in broken if own.any()]
    return replace(found, notices=notices, not_allowed=not_allowed)


def members_of(density: ArrayDensity, fold: int) -> Mask:
    """Return the members that did not learn from the rows of a fold, ``(M,)``."""
    if fold == EVERY or density.record is None:
        return np.ones(density.population.members, bool)
    return density.record.out_of_fold_members(fold)


def draw_tables(density: ArrayDensity, rows: CheckedRows, count: int, seed: int) -> Array:
    """Draw tables from the density that look like the rows, ``(count, n, D)``.

    A drawn table copies the gaps of the rows, their copies, and the context of a target. Values are
    rounded like those of samples.

    Args:
        density: the density.
        rows: the rows.
        count: the number of tables.
        seed: the seed of the draws.
    """
    values, columns = rows.values, density.columns
    _, first, place = np.unique(rows.copies, return_index=True, return_inverse=True)
    if density.targets:
        hidden = np.flatnonzero(~density.inputs).tolist()
        asked = Region(values[first], first).hiding(hidden)
        drawn = Draw(count, seed).answer(density, asked)["rows"].transpose(1, 0, 2)
    else:
        drawn = np.concatenate([*density.draw(count * len(first), seed)])
        drawn = round_rows(columns, drawn).reshape(count, len(first), -1)
    for d in np.flatnonzero(~density.inputs):
        drawn[:, :, d] = columns[d].shown(drawn[:, :, d].ravel()).reshape(count, -1)
    return np.where(np.isnan(values), np.nan, drawn[:, place.ravel()])
