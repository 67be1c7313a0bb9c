"""The density of a table, for users: the methods take and return data frames::

    density = flows.fit(frame)        # a data frame, or an array of rows
    new = density.sample(1000)        # a data frame
    log_q = density.log_prob(frame)   # nats per row, in the units of the frame

The methods ask the questions of ``flows/tables/questions`` (``asking.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from flows import saving
from flows.core.arrays import Array, Mask
from flows.core.errors import UserError
from flows.networks.densities import Densities
from flows.recipe.record import Record
from flows.tables.checking.check import check
from flows.tables.checking.result import Check
from flows.tables.checking.rows import CheckedRows, read_rows
from flows.tables.columns.field import Field
from flows.tables.columns.notices import Notice, python_words, warn
from flows.tables.columns.parsing import Table, as_frame, from_user
from flows.tables.columns.schema import Schema
from flows.tables.density.anomalies import check_rate, discoveries
from flows.tables.density.description import describe
from flows.tables.posterior.region import Region
from flows.tables.posterior.target_density import density_of
from flows.tables.questions.asking import Asking
from flows.tables.questions.conditions import conditions, event_conditions
from flows.tables.questions.draw import Draw, Sampling
from flows.tables.questions.impute import Impute
from flows.tables.questions.predict import QUANTILES, Predict
from flows.tables.questions.probability import EventProbability, Probability, probability_of
from flows.tables.questions.question import Question
from flows.tables.questions.reading import UserRows
from flows.tables.questions.score import Score
from flows.tables.questions.surprise import Surprise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flows.tables.density.report import Report


class Density:
    """A fitted population as the density of its table.

    Columns of a data frame are found by name, in any order, and other columns are ignored. Columns
    of an array are found by position. Notices are warnings of the class ``flows.TableNotice``.

    After a fit with a target, this is the density of the target given the other columns:
    ``log_prob`` is log p(target | others), ``predict`` needs no column, and ``sample`` needs given
    values. Questions about the other columns raise ``UserError``.

    Args:
        population: the population.
        schema: the schema of the table; by default, all columns are learned.
        record: how the population was trained; ``None`` if it was not.
        on_notices: takes the notices on rows and answers; by default, each is a warning.

    The examples of the methods go on after this one.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> import flows
        >>> rng = np.random.default_rng(0)
        >>> age = rng.normal(50, 10, 60)
        >>> frame = pd.DataFrame({"age": age, "pressure": age + rng.normal(60, 5, 60)})
        >>> quick = {"recipe": "quick"}  # a good fit takes longer
        >>> density = flows.fit(frame, flows.NSF(couplings=2, hidden=4), settings=quick)
        >>> print(density)
        10 networks and 10 mixtures; nsf with bins 8, couplings 2, hidden 4
        column age: real
        column pressure: real
        trained with the quick recipe on 60 rows, seed 0
        ...
        >>> list(density.sample(5))
        ['age', 'pressure']
        >>> density.log_prob(frame).shape
        (60,)
    """

    def __init__(
        self,
        population: Densities,
        schema: Schema | None = None,
        record: Record | None = None,
        on_notices: Callable[[Sequence[Notice]], None] = warn,
    ) -> None:
        self._array = density_of(population, schema, record)
        self._on_notices = on_notices

    @property
    def population(self) -> Densities:
        """The population of networks and mixtures."""
        return self._array.population

    @property
    def record(self) -> Record | None:
        """How the population was trained, and its out-of-fold scores."""
        return self._array.record

    @property
    def columns(self) -> list[Field]:
        """The learned columns, with their names and kinds: labels first, and targets last."""
        return self._array.columns

    @property
    def schema(self) -> Schema:
        """All columns of the table, in order: also those that are carried or excluded."""
        return self._array.schema

    def save(self, path: str | Path, *, record: bool = True) -> None:
        """Write the density to one file, whole or not at all.

        Args:
            path: the file.
            record: whether to write the out-of-fold score of each training row, which identifies
                the rows to anybody who has them. Otherwise, counts of the scores in bins of 0.25
                nats replace the scores, and tail probabilities are interpolated between the counts;
                the rest of the record is written.

        Raises ``OSError`` if the file cannot be written.

        Examples:
            >>> density.save("patients.flow")
            >>> loaded = flows.load("patients.flow")
            >>> bool((loaded.log_prob(frame) == density.log_prob(frame)).all())
            True
        """
        own = self.record if record or self.record is None else self.record.without_rows()
        saving.save(self.population, path, own, self.schema.to_json())

    def log_prob(self, frame: Any, given: Sequence[str] = ()) -> Array:
        """Return the log-density of the ensemble in nats, ``(n,)``.

        For a row with missing values, this is the marginal log-density of its known values. It is
        minus infinity for a row with a value that its column does not allow, and for a label that
        the fitted table did not hold, unless rare labels of its column are pooled.

        Args:
            frame: rows of the table.
            given: columns to condition on; the result is then the log-density of the other columns.

        Raises ``TableError`` for a missing column, for text that is not a number, and if all
        columns are given.

        Examples:
            >>> of_age = density.log_prob(frame.assign(pressure=np.nan))
            >>> of_pressure = density.log_prob(frame, given=["age"])
            >>> bool(np.allclose(of_age + of_pressure, density.log_prob(frame), atol=0.01))
            True
        """
        return self._ask(Score(given), frame).answer()["log_density"]

    def log_prob_and_error(self, frame: Any, given: Sequence[str] = ()) -> tuple[Array, Array]:
        """Return the result of ``log_prob``, and its standard errors in nats, ``(n,)``.

        The error is 0 for a row that needs no random draws: a row without unknown values, with one
        unknown number, or with unknown labels alone, if these have at most 1,024 combinations.

        Args:
            frame: rows of the table.
            given: columns to condition on, as in ``log_prob``.
        """
        found = self._ask(Score(given), frame).answer()
        return found["log_density"], found["error"]

    def log_prob_members(self, frame: Any) -> Array:
        """Return the log-densities of the members in nats, ``(n, M)``.

        Args:
            frame: rows of the table.
        """
        return self._ask(Score(), frame).answer()["members"]

    def tail_probability(self, frame: Any) -> Array:
        """Return the probability that a row of the table has at most this density, ``(n,)``.

        The probability is estimated from the out-of-fold log-densities of the training rows: the
        log-densities under the members that were trained without the row. A training row in the
        frame has its out-of-fold log-density, too. The result is ``NaN`` if the record has no such
        log-densities. ``ArrayDensity.tail_probability`` has the formula.

        Args:
            frame: rows of the table.

        Examples:
            >>> rows = pd.DataFrame({"age": [50, 90], "pressure": [110, 60]})
            >>> usual, outlier = density.tail_probability(rows)
            >>> bool(outlier < 0.1 < usual)
            True
        """
        return self._ask(Score(tails=True), frame).answer()["tail_probability"]

    def discoveries(self, frame: Any, fdr: float = 0.1) -> Mask:
        """Return which new rows are anomalies, at a rate of false discoveries, ``(n,)``.

        The procedure of Benjamini and Hochberg is applied to the tail probabilities of the rows.
        ``docs/tables-reference.md`` states the guarantees.

        Args:
            frame: new rows of the table. A row with a gap is no anomaly, because its density is one
                of fewer values.
            fdr: the expected share of rows of the density among the kept rows, at most.

        Raises ``UserError`` for a wrong rate, and for a density without out-of-fold scores.

        Examples:
            >>> rows = pd.DataFrame({"age": [50, 90], "pressure": [110, 60]})
            >>> density.discoveries(rows).tolist()
            [False, True]
        """
        check_rate(fdr, self._array)
        parts = [
            np.where(asked.region.missing.any(axis=1), np.nan, answer["tail_probability"])
            for asked, answer in self._ask(Score(tails=True), frame)
        ]
        return discoveries(np.concatenate(parts), fdr)

    def sample(self, n: int | None = None, seed: int = 0, *, given: Any = None) -> pd.DataFrame:
        """Draw rows from the ensemble.

        The same ``n`` and ``seed`` give the same rows each time.

        Args:
            n: the number of rows; 1 by default if there are conditions.
            seed: the seed of all random numbers.
            given: conditions: a mapping from columns to values, such as ``{"age": 50}``, to ranges
                with both ends, ``{"age": (60, 70)}`` or ``(60, None)``, or to lists of labels or
                whole numbers, for all ``n`` rows; or a data frame without ``n``, whose missing
                values and columns are drawn, once for each row.

        Raises ``TypeError`` without ``n`` and ``given``, and for ``n`` with a data frame, and
        ``TableError`` for a given value that its column does not allow.

        Examples:
            >>> density.sample(3, given={"age": 60})["age"].tolist()
            [60.0, 60.0, 60.0]
        """
        if given is not None and not isinstance(given, Mapping):
            if n is not None:
                raise TypeError("sample takes n or a data frame of given rows, not both")
            return self._ask(Draw(1, seed), given).frame()
        if n is None and given is None:
            raise TypeError("sample needs n, the number of rows, or given rows")
        n = 1 if n is None else n
        if not isinstance(n, Integral) or n < 0:
            raise UserError(f"n = {n!r}: must be a whole number of 0 or more")
        region = conditions(self._array, given)
        sampling = Sampling(self._array, n, seed, region, self._on_notices)
        return pd.concat([*sampling]).reset_index(drop=True)

    def impute(self, frame: Any, draws: int = 0, seed: int = 0) -> Any:
        """Return the frame with its missing values filled, given the other values of each row.

        A missing value becomes its conditional median; for a category, its most probable label.
        Other values do not change. A value that its column does not allow does not change either,
        but the other columns are filled as if it were unknown.

        Args:
            frame: rows of the table, with all columns.
            draws: if above 0, return a list of this many frames, in which the missing values of
                each row are drawn jointly. If a result is computed from each frame, the spread of
                the results shows their uncertainty (multiple imputation, Rubin 1987).
            seed: the seed of the draws.

        Raises ``UserError`` for negative ``draws``, and ``TableError`` for a missing column.

        Examples:
            >>> gaps = frame.assign(pressure=np.nan)[:2]
            >>> int(density.impute(gaps).isna().sum().sum())
            0
            >>> len(density.impute(gaps, draws=5))
            5
        """
        filled = self._ask(Impute(draws, seed), frame).frame()
        # Without the number of the version
        return [filled.iloc[k::draws, 1:].copy() for k in range(draws)] if draws else filled

    @property
    def targets(self) -> list[str]:
        """The names of the targets, the last of the ``columns``; empty without a target."""
        return self._array.targets

    def probability(
        self, event: Mapping[str, Any], *, given: Mapping[str, Any] | None = None, seed: int = 0
    ) -> Probability:
        """Return the probability of an event, with two errors.

        The interval of 95% from ``low`` to ``high`` is for the error that few rows leave, and
        includes the error of the draws. ``integration_error`` is the standard error of the
        integration. The draws end when this error is below 2% of the probability, or after 200,000
        draws for an event, and as many for the conditions; a notice says so.

        Args:
            event: ranges ``(low, high)``, lists of labels or whole numbers, or single ones, by
                column. All must hold.
            given: conditions, as in ``sample``.
            seed: the seed of all random numbers.

        Raises ``TableError`` for an unknown column, and for a value that its column does not allow.

        Examples:
            >>> found = density.probability({"pressure": (110, None)}, given={"age": (60, 70)})
            >>> 0.7 < found.probability < 1
            True
        """
        question = EventProbability(event_conditions(self._array, event), seed)
        return probability_of(self._ask(question, conditions(self._array, given)).answer())

    def predict(
        self,
        frame: Any = None,
        column: str | None = None,
        quantiles: Sequence[float] = QUANTILES,
        *,
        given: Mapping[str, Any] | None = None,
        interval: float | None = None,
    ) -> pd.DataFrame:
        """Return the distribution of ``column`` given the other values of each row.

        The result has the frame's index. Its columns are ``mean``, ``sd`` and quantiles such as
        ``q0.05``, in the column's unit, or as durations for a column of durations; or the labels of
        a category with their probabilities; and ``effective_draws``, the effective number of draws,
        which is ``NaN`` for a row without draws. ``Predict`` defines the mean and the
        standard deviation.

        Args:
            frame: rows of the table; the values of missing columns are unknown. Leave it out if
                there are conditions.
            column: the column; with a target, by default the target. Without a column and with
                several targets, the results of all targets are side by side, and their names start
                with the name of the target, such as ``y_mean``.
            quantiles: the levels of the quantiles, between 0 and 1.
            given: conditions in place of ``frame``, as in ``sample``; the result has one row.
            interval: a level such as 0.95, for the interval that few rows leave in each result:
                columns such as ``mean_low`` and ``mean_high``. They are ``NaN`` for a row without
                an interval, which a notice explains.

        Raises ``TableError`` for an unknown column, ``TypeError`` without a column if there is no
        target, and ``UserError`` for a wrong level.

        Examples:
            >>> list(density.predict(frame[:3], "pressure", quantiles=[0.1, 0.9]))
            ['mean', 'sd', 'q0.1', 'q0.9', 'effective_draws']
        """
        names = self.targets if column is None else [str(column)]
        if not names:
            raise TypeError("predict needs a column, because the density has no target")
        rows = self._either("predict", frame, given)
        return self._ask(Predict(names, quantiles, interval), rows).added()

    def surprise(self, frame: Any) -> pd.DataFrame:
        """Return the surprise of each value, given the other values of its row, in nats.

        The result has the frame's index and the density's columns. A value with a surprise above 0
        is less probable given its row than in its column alone. The surprise is about -0.5 if the
        column is independent of the others, infinite for a value that its column does not allow,
        and ``NaN`` for a missing value. ``Surprise`` has the formula.

        Args:
            frame: rows of the table.

        Examples:
            >>> found = density.surprise(pd.DataFrame({"age": [50, 50], "pressure": [110, 160]}))
            >>> bool(found.loc[1, "pressure"] > found.loc[0, "pressure"])
            True
        """
        return self._ask(Surprise(), frame).added().set_axis(self._array.names, axis=1)

    def check(
        self,
        frame: Any,
        refits: int = 0,
        *,
        minutes: float | None = None,
        seed: int = 0,
        store: bool = False,
    ) -> Check:
        """Return a check of the fit: samples beside rows, calibration, and traces of single rows.

        ``str`` gives the text of the result, and ``plot`` a figure. ``docs/tables-reference.md``
        defines each part.

        Args:
            frame: the training table, with the columns that the fit read. The rows are found in the
                record, in any order. Other rows count as new rows: their check has no folds, no
                refits and no traces.
            refits: the number of fits of the same recipe to tables that are drawn from the density.
                With 19 refits, the smallest p-value is 0.05. They run on the workers that the
                environment variable ``FLOWS_WORKERS`` names: empty for this process, or a number of
                processes.
            minutes: the limit of time for the refits. The refits that end in this time count; the
                first one ends in any case.
            seed: the seed of all random numbers.
            store: whether to keep the result in the density, so that ``save`` writes it and
                ``print(density)`` shows it.

        Raises ``UserError`` for refits without the training table, and for a density without a
        record that is to store the check, and ``TableError`` for rows that are not rows of the
        table.

        Examples:
            >>> list(density.check(frame).cover["region"].unique())
            ['regions of highest density', 'age', 'pressure']
        """
        rows = self._checked(self._frame(frame))
        return check(self._array, rows, refits, minutes, seed, store=store)

    def report(
        self, frame: Any, *, refits: int = 0, minutes: float | None = None, seed: int = 0
    ) -> Report:
        """Return a report of the fit as one page of HTML, which a notebook shows.

        The page says what to mind, the worst first, and shows columns, pairs, calibration, the
        strangest rows and, with a target, predictions. ``save`` writes the page to a file.

        Args:
            frame: the training table, or other rows, as in ``check``.
            refits: the number of refits, as in ``check``.
            minutes: the limit of time for the refits.
            seed: the seed of all random numbers.

        Raises the errors of ``check``, and ``UserError`` for a density that is not a model.

        Examples:
            >>> density.report(frame).save("report.html")
        """
        from flows.tables.density.report import report

        return report(
            self._array,
            self._checked(self._frame(frame)),
            python_words,
            title="a fit",
            repeat="flows.verify(density, frame)",
            refits=refits,
            minutes=minutes,
            seed=seed,
        )

    def ask(
        self, question: Question, frame: Any = None, *, given: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return rows with the answer to any question, such as a question of your own.

        The methods above ask the questions of ``flows/tables/questions``.
        ``docs/extending.md`` shows how to add a question.

        Args:
            question: the question.
            frame: rows of the table. Leave it out if there are conditions.
            given: conditions in place of ``frame``, as in ``sample``.

        Raises ``TypeError`` unless there are either rows or conditions, ``UserError`` for rows with
        a column that the question adds, and the errors of the question.

        Examples:
            >>> from flows.tables.questions.score import Score
            >>> list(density.ask(Score(), frame))
            ['age', 'pressure', 'log_density', 'log_density_sd', 'log_density_se']
        """
        rows = self._either("ask", frame, given)
        there = () if isinstance(rows, Region) else map(str, self._frame(rows).columns)
        for name in {*question.adds(self._array)}.intersection(there):
            raise UserError(f"column {name}: the answer adds a column of this name; rename yours")
        return self._ask(question, rows).frame()

    def plot(
        self,
        frame: Any,
        *,
        row: Any = None,
        anomalies: int | None = None,
        along: str | None = None,
    ) -> Figure:
        """Return a picture of rows of the table as a matplotlib figure.

        By default, the picture shows samples over the rows: pairs of the six most dependent
        columns, or the single column. With a target, it shows quantiles of the target, or the
        probabilities of its labels, along another column.

        The figure is displayed at the end of a cell of a notebook; ``figure.savefig`` writes a
        file. pyplot does not know the figure, so the backend is not changed.

        Args:
            frame: rows of the table, with all columns.
            row: a label of the index: draw the density of each column given the other values of
                this row, or of the target given the other columns.
            anomalies: draw the surprise of each value of this number of least likely rows. Rows
                with a missing value are left out.
            along: the column along which the targets are drawn, by default the one with the largest
                association with a target. The other columns are at their medians.

        Raises ``TypeError`` for more than one of ``row``, ``anomalies`` and ``along``,
        ``UserError`` for a wrong value of these, and ``TableError`` for a missing column.

        Examples:
            >>> density.plot(frame, row=7).get_suptitle()
            'what the rest of row 7 says of each column'
        """
        from flows.tables.density import pictures

        which: Any = {"row": row, "anomalies": anomalies, "along": along}
        return pictures.plot(self._array, self._frame(frame), self._on_notices, **which)

    def _checked(self, frame: pd.DataFrame) -> CheckedRows:
        """Return the rows of a frame for a check."""

        def read(kinds: Mapping[str, Any]) -> Table:
            return from_user(frame, kinds, self.schema.na, self.schema.names)

        return read_rows(self._array, read)

    def _either(self, caller: str, frame: Any, given: Mapping[str, Any] | None) -> Any:
        """Return rows, or the region of conditions. Raises ``TypeError`` for both or neither."""
        if (frame is None) == (given is None):
            raise TypeError(f"{caller} needs either a frame or given conditions")
        return frame if given is None else conditions(self._array, given)

    def _ask(self, question: Question, rows: Any) -> Asking:
        """Return a question about rows or about the region of conditions."""
        about = rows if isinstance(rows, Region) else UserRows([self._frame(rows)])
        return Asking(question, self._array, about, self._on_notices)

    def _frame(self, rows: Any) -> pd.DataFrame:
        return as_frame(rows, self._array.schema.names)

    def __repr__(self) -> str:
        return str(describe(self.population, self.schema, self.record))

    def _repr_html_(self) -> str:
        """Return the table of the columns and the score for notebooks."""
        return describe(self.population, self.schema, self.record).to_html()
