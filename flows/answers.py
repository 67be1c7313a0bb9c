"""Answers to rows that come in pieces: a data frame is one piece, and a file is many.

``Density`` asks for frames, the command line for files. Rows are numbered over all pieces, so
answers do not depend on the pieces. Notices are on all rows together, and come at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from flows.conditionals import questions
from flows.conditionals.questions import Estimate
from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.core.progress import progress
from flows.tables import files as table
from flows.tables import frames

if TYPE_CHECKING:
    from flows.density import Density

BLOCK = 500  # rows that are asked about at a time: the bar moves
SCORES = ["log_density", "log_density_sd", "log_density_se"]
NO_TAIL = (
    "tail_probability is empty: it is counted on rows that members did not see, by the automatic "
    "recipe, and that lack no value; this density has none"
)
ODDITY = ["row", "tail_probability", "oddest", "surprise"]  # are added to the least likely rows


class Source(NamedTuple):
    """Frames of rows, what messages call them, and how their text is written.

    ``verb`` is the work on the rows of a file, of which a bar shows the progress.
    """

    pieces: Iterable[pd.DataFrame]
    name: str = frames.FRAME
    written: frames.Format = frames.PLAIN
    verb: str = ""

    def parsed(self, piece: pd.DataFrame, kinds: Mapping[str, str]) -> frames.Table:
        return frames.parse(piece, kinds, self.name, self.written)

    def bar(self) -> tqdm:
        """Return a bar of progress through a file; a frame has none."""
        return progress(self.verb, None, "row") if self.verb else tqdm(disable=True)


def read(path: Path, written: frames.Format, verb: str, added: Sequence[str] = ()) -> Source:
    """Return a file of rows as a source.

    While it is read, ``UserError`` is raised for a column whose name the ``verb`` adds.
    """

    def pieces() -> Iterator[pd.DataFrame]:
        for piece in table.stream(path, written):
            for name in piece.columns.intersection(added)[:1]:
                raise UserError(
                    f"{path}: column {name}: `{verb}` adds a column of this name; "
                    "rename yours, or leave it out"
                )
            yield piece.astype("string") if table.is_csv(path) else piece

    return Source(pieces(), str(path), written, verb)


def write(
    density: Density, written: frames.Format, output: Path | None, pieces: Iterable[pd.DataFrame]
) -> None:
    """Write frames; in a Parquet file, numbers are numbers that are text in a CSV file."""

    def numbered(piece: pd.DataFrame) -> pd.DataFrame:
        numeric = [column.name for column in density.columns if not column.labels]
        texts = piece.select_dtypes("string").columns.intersection(numeric)
        return piece.assign(**{name: frames.as_numbers(piece[name], written) for name in texts})

    is_csv = output is None or table.is_csv(output)
    table.write(output, pieces if is_csv else map(numbered, pieces))


def estimated(
    density: Density, source: Source, missing: str = "keep", given: Sequence[str] = ()
) -> Iterator[tuple[pd.DataFrame, Estimate]]:
    """Yield rows with their log-densities by the members, given the columns ``given``.

    ``missing`` is as in ``frames.complete``.
    """
    ask = partial(density.estimate, given=given)
    unknown, effective, left, first = Counter[str](), list[Array](), 0, 0
    with source.bar() as bar:
        for piece in source.pieces:
            kept = frames.complete(source.parsed(piece, density.kinds), missing)
            rows = frames.numbers(kept, density.columns)
            unknown += frames.count_unknown(kept, density.columns, rows)
            found = Estimate(*map(np.concatenate, _by_blocks(ask, rows, first, bar)))
            effective.append(found.effective)
            left, first = left + len(piece) - len(rows), first + len(rows)
            yield piece if missing == "keep" else piece.loc[kept.frame.index], found
    notices = [*frames.unknown_labels(unknown), *frames.left_out(left)]
    frames.say([*notices, *questions.rough(np.concatenate(effective), "log-densities")])


def scored(
    density: Density, source: Source, missing: str = "keep", given: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """Yield rows with their log-densities, how far members differ, and standard errors."""
    for frame, (log_q, error, _) in estimated(density, source, missing, given):
        # 0 where all are minus infinity
        sd = np.where(np.isneginf(log_q), 0.0, log_q).std(axis=1, ddof=min(1, log_q.shape[1] - 1))
        found = np.stack([density.ensemble(log_q), sd, error]).round(6)
        yield frame.assign(**dict(zip(SCORES, found, strict=True)))


def least_likely(
    density: Density, source: Source, count: int, missing: str = "keep", given: Sequence[str] = ()
) -> tuple[pd.DataFrame, Array]:
    """Return the least likely rows, and the surprises of their cells, ``(n, D)``.

    Rows with gaps are left out and counted, unless columns are ``given``: with fewer values, their
    log-densities are others. The index of the frame holds the numbers of the rows in their file.
    """
    if missing == "keep" and not given:
        missing = "drop"
    least: list[pd.DataFrame] = []
    for frame in scored(density, source, missing, given):
        least = [pd.concat([*least, frame]).nsmallest(count, SCORES[0])]
    frame = least[0]
    if frame.empty:
        raise UserError(f"{source.name}: no row is without a gap, and none can be ranked")
    numbers = frame.index.to_numpy() - 1
    return frame, surprise(density, source.parsed(frame, density.kinds), numbers)


def surprise(density: Density, rows: frames.Table, numbers: Whole) -> Array:
    """Return the surprises of the cells of parsed rows, ``(n, D)``.

    What a column does not allow is infinitely odd, and unknown to the rest of its row.
    """
    values, disallowed, first = density.known(rows)
    found, effective = questions.surprise(density.unknowns, values, numbers)
    notices = frames.taken_as_unknown(first, int(disallowed.sum()))
    frames.say([*notices, *questions.rough(effective, "surprises")])
    return np.where(disallowed, np.inf, found)


def anomalies(
    density: Density, source: Source, count: int, missing: str = "keep", given: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the least likely rows, each with the column that is oddest in it, if one is.

    Where none is ``given``, tail probabilities of whole rows are there, too.
    """
    frame, odd = least_likely(density, source, count, missing, given)
    if not given:
        parsed = frames.complete(source.parsed(frame, density.kinds), "keep")
        rows = frames.numbers(parsed, density.columns)
        log_q = density.estimate(rows, frame.index.to_numpy() - 1).log_q
        tail = density.tail_probability(log_q)
        frame = frame.assign(tail_probability=tail.round(6))
        frames.say([NO_TAIL] * bool(np.isnan(tail).all()))
    most = np.nan_to_num(odd, nan=-np.inf, posinf=np.inf)
    names = np.array(density.names)[most.argmax(axis=1)]
    most = most.max(axis=1)
    most = np.where(np.isneginf(most), np.nan, most)  # nothing is known
    frame = frame.assign(oddest=np.where(most > 0, names, ""), surprise=most.round(6))
    return frame.reset_index(names="row")


def conditionals(
    density: Density, whole: frames.Table, number: int
) -> tuple[Array, Array, list[tuple[Array, Array]]]:
    """Return the rows of a table, ``(n, D)``, and what the rest of row ``number`` says of it.

    That is the surprises of its cells, ``(D,)``, and a curve for each column
    (``questions.curve``). The number of the first row is 1.
    """
    k = number - 1
    rows, _, _ = density.known(whole)
    own = frames.Table(whole.frame[k:number], whole.source)
    [found] = surprise(density, own, np.array([k]))
    curves = [questions.curve(density.unknowns, rows[k], d, k) for d in range(len(density.names))]
    return rows, found, curves


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
    ask = partial(_versions, density, 1, seed)
    for piece, _, drawn in _answered(density, source, "draws", ask):
        yield drawn.set_axis(piece.index)


def imputed(density: Density, source: Source, draws: int, seed: int) -> Iterator[pd.DataFrame]:
    """Yield rows with their gaps filled.

    With ``draws``, so many versions of each row come together, and a first column counts them.
    """
    ask = partial(_versions, density, draws, seed)
    for piece, gaps, typed in _answered(density, source, "imputed values", ask, is_whole=True):
        if source.verb:  # all pieces of a file are of one type, whichever of them has the gaps
            real = [name for name in typed.select_dtypes("floating") if name in piece]
            whole = piece[real].select_dtypes("integer")
            piece = piece.astype(dict.fromkeys(whole, np.float64))
        each = np.arange(len(piece)).repeat(max(draws, 1))
        filled = _filled(piece.iloc[each], gaps[each], typed, source.written.decimal)
        if draws:
            filled.insert(0, "draw", np.arange(len(each)) % draws + 1, allow_duplicates=True)
        yield filled


def _versions(
    density: Density, draws: int, seed: int, rows: Array, numbers: Whole
) -> tuple[pd.DataFrame, Array]:
    """Return so many draws of each row together, or the filled rows for 0, and effective draws."""
    if draws:
        versions, effective = questions.versions(density.unknowns, rows, numbers, draws, seed)
        rows = versions.swapaxes(0, 1).reshape(-1, rows.shape[1])
    else:
        rows, effective = questions.fill(density.unknowns, rows, numbers)
    return density.typed(rows), effective


def _filled(frame: pd.DataFrame, gaps: Mask, typed: pd.DataFrame, decimal: str) -> pd.DataFrame:
    """Return a frame with the values of ``typed`` rows in its ``gaps``, as text in a column of it.

    Both are of the density's columns, ``(n, D)``; ``decimal`` is the mark in numbers of text.
    """
    found, names = frame.copy(), list(map(str, frame))
    for (name, column), gap in zip(typed.items(), gaps.T, strict=True):
        if gap.any():
            place, values = names.index(str(name)), column[gap]
            own = found.iloc[:, place].copy()
            if own.dtype.kind in "iu" and values.dtype.kind == "f":  # of pandas' or Arrow's
                own = own.astype(np.float64)
            elif own.dtype.kind == values.dtype.kind == "f":  # of fewer digits, perhaps
                values = values.astype(own.dtype)
            elif own.dtype != object and pd.api.types.is_string_dtype(own.dtype):
                is_real, values = values.dtype.kind == "f", values.astype(str)
                values = values.str.replace(".", decimal, regex=False) if is_real else values
            own[gap] = values.to_numpy()
            found.isetitem(place, own)
    return found


def predicted(
    density: Density, source: Source, column: str, levels: Sequence[float]
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield rows and the distribution of a column in each: ``Density.predict``."""
    d = frames.position(density.names, column, "the density")

    def ask(rows: Array, numbers: Whole) -> tuple[pd.DataFrame, Array]:
        found = questions.predict(density.unknowns, rows, d, levels, numbers)
        return found, found["effective_draws"].to_numpy()

    for piece, _, found in _answered(density, source, "predictions", ask, without=[column]):
        yield piece, found.set_axis(piece.index)


def _answered(
    density: Density,
    source: Source,
    what: str,
    ask: Callable[[Array, Whole], tuple[pd.DataFrame, Array]],
    *,
    without: Sequence[str] = (),
    is_whole: bool = False,
) -> Iterator[tuple[pd.DataFrame, Mask, pd.DataFrame]]:
    """Yield the pieces of a source, their gaps ``(n, D)``, and what ``ask`` answers to their rows.

    ``what`` is the name of the answers. ``ask`` takes rows and their numbers, and returns effective
    draws, too. Columns ``without`` are unknown, and so are those that the source lacks, unless it
    must be ``is_whole``: then a value that its column does not allow stays as it stands.
    """
    texts, count, effective, first = list[str](), 0, list[Array](), 0
    with source.bar() as bar:
        for piece in source.pieces:
            if not {*density.names} & {*map(str, piece.columns)}:
                these = f"these are: {', '.join(density.names)}"
                raise UserError(f"{source.name}: holds no column of the density; {these}")
            known = piece.drop(columns=list(without), errors="ignore")
            if not is_whole:
                if not first:
                    frames.say(_unmatched(density.names, piece, without))
                known = density.widened(known)
            rows, disallowed, text = density.known(source.parsed(known, density.kinds))
            found, enough = _by_blocks(ask, rows, first, bar)
            effective, first = [*effective, *enough], first + len(rows)
            texts, count = [*texts, *[text] * bool(text)][:1], count + int(disallowed.sum())
            yield piece, np.isnan(rows) & ~disallowed, pd.concat(found, ignore_index=True)
    also = ", and is left as it stands" if is_whole else ""
    notices = frames.taken_as_unknown("".join(texts), count, also)
    frames.say([*notices, *questions.rough(np.concatenate(effective), what)])


def _unmatched(names: Sequence[str], piece: pd.DataFrame, without: Sequence[str]) -> list[str]:
    """Return a notice where columns are not there and others are, as after a slip of the pen."""
    there = [*map(str, piece.columns), *without]
    lacking, others = ([x for x in a if x not in b] for a, b in ((names, there), (there, names)))
    line = f"no column is called {', '.join(lacking)}, so it is unknown; also there: "
    return [line + ", ".join(others)] * bool(lacking and others)


def _by_blocks(ask: Callable[..., Any], rows: Array, first: int, bar: tqdm) -> Iterator[Any]:
    """Return the parts of the answers to rows, each a list of those to so many of them."""
    numbers, found = first + np.arange(len(rows)), []
    for start in range(0, max(len(rows), 1), BLOCK):
        some = slice(start, start + BLOCK)
        found.append(ask(rows[some], numbers[some]))
        bar.update(len(rows[some]))
    return zip(*found, strict=True)
