"""The density of a table as users see it: data frames in, data frames out::

density = flows.fit(frame)        # a data frame, or an array of rows
new = density.sample(1000)        # a data frame
log_q = density.log_prob(frame)   # nats per row, in the units of the frame
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.density.array_density import ArrayDensity, Estimate
from flows.density.chunks import DENSITY, Chunks
from flows.density.description import describe
from flows.networks import building
from flows.networks.population import Population
from flows.tables.columns import Column
from flows.tables.frames import as_frame, position, to_frame
from flows.tables.notices import Notice, TableError, collecting, show

QUANTILES = (0.05, 0.5, 0.95)


class Density:
    """A fitted population as the density of its table.

    Columns of a data frame are found by name, in any order, and other columns are ignored. Columns
    of an array are found by position. Notices are printed on standard error.

    Args:
        network: the population.
    """

    def __init__(self, network: Population) -> None:
        self._array = ArrayDensity(network)

    @property
    def network(self) -> Population:
        """The population."""
        return self._array.network

    @property
    def columns(self) -> list[Column]:
        """The columns of the table, with their names and kinds."""
        return self._array.columns

    def save(self, path: str | Path, *, record: bool = True) -> None:
        """Write the density to one file, whole or not at all.

        Args:
            path: the file.
            record: whether to write the out-of-fold score of each training row, which identifies
                the rows to anybody who has them. Without the scores, tail probabilities are
                interpolated between counts of the scores in bins of 0.25 nats.
        """
        building.save(self.network, path, rows=record)

    def log_prob(self, frame: Any, given: Sequence[str] = ()) -> Array:
        """Return the log-density of the ensemble in nats, ``(n,)``.

        The log-density of a row with missing values is that of the values that are there, the
        marginal. It is minus infinity for a row with a value that its column does not allow, and
        for a label that the fitted table did not hold.

        Args:
            frame: rows of the table.
            given: columns to condition on; the log-density is that of the other columns.
        """
        return self.log_prob_and_error(frame, given)[0]

    def log_prob_and_error(self, frame: Any, given: Sequence[str] = ()) -> tuple[Array, Array]:
        """Return the result of ``log_prob``, and its standard errors in nats, ``(n,)``.

        The error is 0 for a log-density that is computed without random draws: that of a complete
        row, and that of a row with one unknown column, if the column is a category or the table
        has no category.

        Args:
            frame: rows of the table.
            given: columns to condition on; the log-density is that of the other columns.
        """
        found = self._estimate(frame, given)
        return self._array.ensemble(found.log_q), found.error

    def log_prob_members(self, frame: Any) -> Array:
        """Return the log-densities of the members in nats, ``(n, M)``.

        Args:
            frame: rows of the table.
        """
        return self._estimate(frame).log_q

    def tail_probability(self, frame: Any) -> Array:
        """Return how probable a density as low as that of each row is in the table, ``(n,)``.

        The probability ``(n,)`` is computed from the out-of-fold log-densities of the training
        rows, and ``NaN`` if there are none. ``ArrayDensity.tail_probability`` has the formula.

        Args:
            frame: rows of the table.
        """
        return self._array.tail_probability(self.log_prob_members(frame))

    def sample(self, n: int | None = None, seed: int = 0, *, given: Any = None) -> pd.DataFrame:
        """Draw rows from the ensemble.

        The same ``n`` and ``seed`` give the same rows each time.

        Args:
            n: the number of rows.
            seed: the seed of all random numbers.
            given: known values of the rows: a mapping from columns to values, such as ``{"age":
                50}``, for all ``n`` rows; or a data frame, for each row of which one row is drawn,
                with its index. Its missing values, and the columns that it lacks, are drawn.
        """
        if given is not None and not isinstance(given, Mapping):
            if n is not None:
                raise TypeError("sample takes n or a data frame of given rows, not both")
            chunks = Chunks(self._array)
            drawn = chunks.complete(self._frame(given), seed)
            show(chunks.notices())
            return drawn
        if n is None and given is None:
            raise TypeError("sample needs n, the number of rows, or given rows")
        n = 1 if n is None else n
        if n < 0:
            raise UserError(f"n = {n}: must be 0 or more")
        samples = Samples(self._array, given)
        drawn = pd.concat(samples.draw(n, seed), ignore_index=True)
        show(samples.notices())
        return drawn

    def impute(self, frame: Any, draws: int = 0, seed: int = 0) -> Any:
        """Return the frame with its missing values filled, given the other values of each row.

        A missing value becomes its conditional median; for a category, its most probable label.
        Other values stay as they are. A value that its column does not allow stays, too, but counts
        as unknown.

        Args:
            frame: rows of the table, with all columns.
            draws: if above 0, return a list of this many frames, in each of which the missing
                values of a row are drawn together. The differences between results that are
                computed from the frames show the uncertainty (multiple imputation, Rubin 1987).
            seed: the seed of the draws.
        """
        if draws < 0:
            raise UserError(f"draws = {draws}: must be 0 or more")
        chunks = Chunks(self._array)
        filled = chunks.impute(self._frame(frame), draws, seed)
        show(chunks.notices())
        return [filled.iloc[k::draws].copy() for k in range(draws)] if draws else filled

    def predict(
        self, frame: Any, column: str, quantiles: Sequence[float] = QUANTILES
    ) -> pd.DataFrame:
        """Return the distribution of ``column`` given the other values of each row.

        The result has a line per row: ``mean``, ``sd``, and ``q0.05`` and so on, in the column's
        unit, or the probability of each label of a category. ``effective_draws`` is the effective
        number of draws, empty for rows that need no draws. ``ArrayDensity.predict`` defines the
        mean and the standard deviation.

        Args:
            frame: rows of the table; columns that are missing are unknown.
            column: the column.
            quantiles: the levels of the quantiles, between 0 and 1.
        """
        chunks = Chunks(self._array)
        found = chunks.predict(self._frame(frame), str(column), quantiles)
        show(chunks.notices())
        return found

    def surprise(self, frame: Any) -> pd.DataFrame:
        """Return by how many nats the other values of its row speak against each value.

        The result has the frame's index and the density's columns. A value above 0 is less probable
        given its row than by itself; a value about which the row says nothing has about -0.5. A
        value that its column does not allow has infinity, and a missing value ``NaN``.
        ``ArrayDensity.surprise`` has the formula.

        Args:
            frame: rows of the table.
        """
        frame, chunks = self._frame(frame), Chunks(self._array)
        found = chunks.surprise(frame)
        show(chunks.notices())
        return pd.DataFrame(found, frame.index, chunks.names)

    def _estimate(self, frame: Any, given: Sequence[str] = ()) -> Estimate:
        chunks = Chunks(self._array)
        _, found = chunks.log_prob(self._frame(frame), given)
        show(chunks.notices())
        return found

    def _frame(self, rows: Any) -> pd.DataFrame:
        return as_frame(rows, [column.name for column in self.columns])

    def __repr__(self) -> str:
        return describe(self.network, self.columns)


class Samples:
    """Samples of a density as data frames, piece by piece.

    Args:
        density: the density.
        given: values of columns that all rows have.

    Raises ``TableError`` for a column that is not there, and for a value that its column does not
    allow.
    """

    def __init__(self, density: ArrayDensity, given: Mapping[str, Any] | None = None) -> None:
        self.density = density
        self.row: Array | None = None
        self.effective_share = np.inf
        if given is None:
            return
        names = [column.name for column in density.columns]
        values = {str(name): value for name, value in given.items()}
        for name in values:
            position(names, name, DENSITY)
        frame = pd.DataFrame([dict.fromkeys(names, np.nan) | values])
        chunks, faults = Chunks(density), list[Notice]()
        with collecting(faults):
            [self.row] = chunks.numbers(frame)
        if chunks.disallowed is not None:
            faults.append(chunks.disallowed)
        if faults:
            raise TableError([replace(fault, row=None, advice=()) for fault in faults], "given")

    def draw(self, n: int, seed: int) -> Iterator[pd.DataFrame]:
        """Yield ``n`` rows in data frames."""
        if self.row is not None and n == 0:
            yield to_frame(self.density.columns, self.row[None][:0])
            return
        for rows, share in self.density.sample(n, seed, self.row):
            self.effective_share = min(self.effective_share, share)
            yield to_frame(self.density.columns, rows)

    def notices(self) -> list[Notice]:
        """Return a notice if some of the rows so far are equal draws."""
        if self.effective_share >= 1:
            return []
        share = f"{self.effective_share:.0%}"
        return [Notice(f"some rows are repeated draws; the sample is worth {share} of its rows")]
