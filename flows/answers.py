"""Answers to a file, which is read a piece at a time: its rows, and what a density says of them.

Rows have the numbers that they have in the file, so answers do not depend on the pieces. Notices
are on all rows together, and come at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows import questions
from flows.core.arrays import Array, Whole
from flows.core.errors import UserError
from flows.core.progress import progress
from flows.data import frames, table
from flows.density import Density

BLOCK = 500  # rows that are asked about at a time: the bar moves
DIGITS = 8  # of a prediction
# Of rows and their numbers: answers, and effective draws
Ask = Callable[[Array, Whole], tuple[pd.DataFrame, Array]]


class Source(NamedTuple):
    """A file of rows, how it is written, and whether its answers go into a Parquet file."""

    path: Path
    written: frames.Format
    to_parquet: bool = False


class Scored(NamedTuple):
    """Rows of a file with their log-densities, their numbers ``(n, D)``, and by member."""

    frame: pd.DataFrame
    values: Array
    log_q: Array


def scored(
    density: Density,
    source: Source,
    missing: str = "keep",
    given: Sequence[str] = (),
    added: Sequence[str] = (),
) -> Iterator[Scored]:
    """Yield the rows of a file with their log-densities, given the columns ``given``.

    ``missing`` is as in ``frames.complete``; ``added`` are more columns that will be added. Only
    where something is estimated there are standard errors.
    """
    path, written, to_parquet = source
    is_given = density.is_given(given)
    is_estimated = is_given is not None or (missing == "keep" and _has_gaps(density, source))
    added = ["log_density", "log_density_sd", *["log_density_se"] * is_estimated, *added]
    unknown, effective, read, first = Counter[str](), [np.empty(0)], 0, 0
    with progress("score", None, "row") as bar:
        for piece in table.stream(path, written):
            _refuse(piece, added, path, "score")
            parsed = frames.parse(piece, density.kinds, str(path), written)
            kept = frames.complete(parsed, missing)
            values = frames.numbers(kept, density.columns)
            unknown += frames.count_unknown(kept, density.columns, values)
            frame = piece.loc[kept.frame.index]
            if to_parquet and table.is_csv(path):
                # The fields of a CSV file are text; in a Parquet file numbers are numbers
                columns = zip(density.columns, values.T, strict=True)
                frame = frame.assign(**{c.name: x for c, x in columns if not c.labels})
            size = BLOCK if is_estimated else table.PIECE
            parts = []
            for start in range(0, max(len(values), 1), size):
                some = values[start : start + size]
                parts.append(density.estimate(some, is_given, first + start))
                bar.update(len(some))
            log_q, error, enough = map(np.concatenate, zip(*parts, strict=True))
            # 0 where all are minus infinity
            sd = np.nan_to_num(log_q, neginf=0.0).std(axis=1, ddof=min(1, log_q.shape[1] - 1))
            found = [density.ensemble(log_q), sd, error][: 2 + is_estimated]
            new = {name: x.round(6) for name, x in zip(added, found, strict=False)}
            yield Scored(frame.assign(**new), values, log_q)
            effective.append(enough)
            read, first = read + len(piece), first + len(values)
    notices = [*frames.unknown_labels(unknown), *frames.left_out(read - first)]
    frames.say([*notices, *questions.rough(np.concatenate(effective), "log-densities")])


def least_likely(
    density: Density, source: Source, count: int, missing: str = "keep", given: Sequence[str] = ()
) -> tuple[Scored, Array]:
    """Return the least likely rows of a file, and the surprises of their cells in nats, ``(n, D)``.

    The index of the frame holds the numbers of the rows.
    """
    least: list[Scored] = []
    added = ["row", "tail_probability", "oddest", "surprise"]
    for piece in scored(density, source, missing, given, added):
        least = [_lowest([*least, piece], count)]
    numbers = least[0].frame.index.to_numpy() - 1
    surprise, effective = density.surprise_numbers(least[0].values, numbers)
    frames.say(questions.rough(effective, "surprises"))
    return least[0], surprise


def anomalies(
    density: Density, source: Source, count: int, missing: str = "keep", given: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the least likely rows with tail probabilities, and the oddest cell of each row."""
    (frame, values, log_q), surprise = least_likely(density, source, count, missing, given)
    has_gaps = np.isnan(values).any(axis=1)
    tail = np.where(has_gaps | bool(given), np.nan, density.tail_probability(log_q).round(6))
    oddest = np.nan_to_num(surprise, nan=-np.inf, posinf=np.inf).argmax(axis=1)
    most = surprise[np.arange(len(oddest)), oddest]
    names = np.where(np.isnan(most), "", np.array(density.names, dtype=object)[oddest])
    notices = []
    if "held_out" not in density.network.history:
        notices = [
            "tail_probability is empty: only the automatic recipe keeps rows unseen, "
            "and this density was not fitted by it"
        ]
    elif np.isnan(tail).any():
        why = "has gaps" if not given else "is scored given some columns"
        notices = [f"tail_probability is empty where a row {why}: it is of all columns together"]
    frames.say(notices)
    return frame.assign(tail_probability=tail, oddest=names, surprise=most.round(6)).reset_index(
        names="row"
    )


def _lowest(pieces: Sequence[Scored], count: int) -> Scored:
    """Return the ``count`` least likely rows of the pieces, the least likely first."""
    frame = pd.concat([piece.frame for piece in pieces])
    order = np.argsort(frame["log_density"].to_numpy(), kind="stable")[:count]
    values, log_q = (np.concatenate([piece[k] for piece in pieces])[order] for k in (1, 2))
    return Scored(frame.iloc[order], values, log_q)


def sampled(
    density: Density, n: int, seed: int, given: Mapping[str, Any] | None = None
) -> Iterator[pd.DataFrame]:
    """Yield ``n`` rows; ``given`` are values by column."""
    with progress("sample", n, "row") as bar:
        for piece in density.pieces(n, seed, given):
            yield piece
            bar.update(len(piece))


def completed(density: Density, source: Source, seed: int) -> Iterator[pd.DataFrame]:
    """Yield a draw of the density's columns for each row, given what the row holds of them."""

    def ask(rows: Array, numbers: Whole) -> tuple[pd.DataFrame, Array]:
        versions, effective = questions.complete(density.unknowns, rows, numbers, 1, seed)
        return density.typed(versions[0]), effective

    for _, _, typed in _answered(density, source, ("sample", "draws"), ask):
        yield typed


def imputed(density: Density, source: Source, draws: int, seed: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file with their gaps filled: ``Density.impute``.

    With ``draws`` each row comes so many times, one below the other, and a column ``draw`` counts.
    """
    mark = source.written.decimal
    numeric = [column.name for column in density.columns if not column.labels]

    def ask(rows: Array, numbers: Whole) -> tuple[pd.DataFrame, Array]:
        if not draws:
            filled, effective = questions.fill(density.unknowns, rows, numbers)
            return density.typed(filled), effective
        versions, effective = questions.complete(density.unknowns, rows, numbers, draws, seed)
        return density.typed(versions.swapaxes(0, 1).reshape(-1, rows.shape[1])), effective

    for piece, gaps, typed in _answered(
        density, source, ("impute", "imputed values"), ask, all_columns=True
    ):
        _refuse(piece, ["draw"] * bool(draws), source.path, "impute --draws")
        count = max(draws, 1)
        frame = piece.loc[piece.index.repeat(count)]
        typed = typed.set_axis(frame.index)
        texts = typed
        if table.is_csv(source.path):  # where numbers are text, too
            texts = typed.map(
                lambda x: str(x).replace(".", mark) if isinstance(x, float) else str(x)
            )
        if source.to_parquet:  # where they are numbers
            frame, texts = frame.assign(**typed[numeric]), texts.assign(**typed[numeric])
        frame = density.filled(frame, gaps.repeat(count, axis=0), texts)
        if draws:
            frame.insert(0, "draw", np.arange(len(frame)) % draws + 1)
        yield frame


def predicted(
    density: Density, source: Source, column: str, levels: Sequence[float]
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a file with the distribution of a column: ``Density.predict``."""
    d = int(np.flatnonzero(density.places([column]))[0])

    def ask(rows: Array, numbers: Whole) -> tuple[pd.DataFrame, Array]:
        found = questions.predict(density.unknowns, rows, d, levels, numbers)
        return found.rename(columns=str), found["effective_draws"].to_numpy()

    what = ("predict", "predictions")
    for piece, _, found in _answered(density, source, what, ask, without=[column]):
        _refuse(piece, [*found], source.path, "predict")
        rounded = found.map(lambda x: float(f"{x:.{DIGITS}g}"))
        yield pd.concat([piece, rounded.set_axis(piece.index)], axis=1)


def conditionals(
    density: Density, source: frames.Table, number: int
) -> tuple[Array, Array, list[tuple[Array, Array]]]:
    """Return the rows of a table, ``(n, D)``, and what the rest of row ``number`` says of it.

    That is the surprises of its cells, ``(D,)``, and a curve for each column
    (``questions.curve``). The number of the first row is 1.
    """
    rows, places = density.known(source)
    row = rows[number - 1]
    surprise, effective = density.surprise_numbers(row[None], np.array([number - 1]))
    unknowns, names = density.unknowns, density.names
    curves = [questions.curve(unknowns, row, d, number - 1) for d in range(len(names))]
    notices = frames.taken_as_unknown(places[:1], len(places))
    frames.say([*notices, *questions.rough(effective, "surprises")])
    return rows, surprise[0], curves


def _answered(
    density: Density,
    source: Source,
    what: tuple[str, str],
    ask: Ask,
    *,
    without: Sequence[str] = (),
    all_columns: bool = False,
) -> Iterator[tuple[pd.DataFrame, NDArray[np.bool_], pd.DataFrame]]:
    """Yield the pieces of a file, their gaps ``(n, D)``, and the answers to their rows.

    ``what`` are the names of the work and of the answers. Columns ``without`` are unknown, and so
    are those that the file lacks, unless it must have ``all_columns``.
    """
    path, written, _ = source
    effective, odd = [np.empty(0)], 0
    first: list[str] = []
    with progress(what[0], None, "row") as bar:
        for piece in table.stream(path, written):
            known = piece.drop(columns=list(without), errors="ignore")
            if not {*density.names} & {*piece.columns}:
                names = ", ".join(density.names)
                raise UserError(f"{path}: holds no column of the density; these are: {names}")
            known = known if all_columns else density.widened(known)
            parsed = frames.parse(known, density.kinds, str(path), written)
            rows, places = density.known(parsed)
            first, odd = [*first, *places][:1], odd + len(places)
            parts = []
            for start in range(0, len(rows), BLOCK):
                some = slice(start, start + BLOCK)
                answer, enough = ask(rows[some], piece.index.to_numpy()[some] - 1)
                parts.append(answer)
                effective.append(enough)
                bar.update(len(enough))
            yield piece, np.isnan(rows), pd.concat(parts, ignore_index=True)
    notices = frames.taken_as_unknown(first, odd)
    frames.say([*notices, *questions.rough(np.concatenate(effective), what[1])])


def _has_gaps(density: Density, source: Source) -> bool:
    """Return whether a file lacks a value of the density's columns, before it is scored."""
    path, written, _ = source
    parsed = (
        frames.complete(frames.parse(piece, density.kinds, str(path), written), "keep")
        for piece in table.stream(path, written)
    )
    return any(each.frame.isna().to_numpy().any() for each in parsed)


def _refuse(piece: pd.DataFrame, added: Sequence[str], path: Path, verb: str) -> None:
    """Raise ``UserError`` for a column of a name that is to be added."""
    for name in piece.columns.intersection(added)[:1]:
        raise UserError(
            f"{path}: column {name}: `{verb}` adds a column of this name; "
            "rename yours, or leave it out"
        )
