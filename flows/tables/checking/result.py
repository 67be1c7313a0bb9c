"""The result of a check: frames, its text and its figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import scipy

from flows.core import markup
from flows.core.plurals import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAR = 3.0  # standard errors from which a difference is put first
REMEMBERED = 20.0  # nat: a memorisation score from which samples may nearly repeat a row
SHOWN = 3  # pairs of columns in the text
SHARE_OF = "share of "  # the beginning of the name of a statistic
NOT_ALLOWED = "values that its kind does not allow, such as "  # the same, after SHARE_OF
NAMES = {  # statistics in words
    "sd": "standard deviation",
    "q0.05": "5% quantile",
    "q0.5": "median",
    "q0.95": "95% quantile",
    "smallest": "smallest value",
    "largest": "largest value",
}
MEASURES = ("rows", "samples", "error", "difference")
FRAMES = {  # the columns of the frames
    "samples": ("column", "statistic", "of_rows", "of_samples", *MEASURES),
    "pairs": ("first", "second", *MEASURES),
    "by_label": ("column", "labels", "label", "of_rows", "of_samples", *MEASURES),
    "carried": ("column", "formula", "allowed", "within"),
    "cover": ("region", "level", "cover", "low", "high", "rows"),
    "traces": ("members", "row", "score"),
    "refits": (
        "statistic",
        "deviation",
        "difference",
        "largest",
        "auc",
        "distance",
        "reference",
    ),
}
NO_TEST = (
    "no p-value: the members of a fold learn from fewer rows, so a test without refits would "
    "reject right fits; 19 refits give p-values"
)
FEW_DEFECTS = (
    "few rows hide defects: in tests with 100 and 300 rows, the p-value of the fit missed two "
    "modes of a column in nearly half of the tables"
)
NOT_PRIVATE = (
    "small traces do not show that the file keeps the rows private: an attack may use more than "
    "log-densities, and a single row may stand out"
)
GROUPED = "dependence within groups is not in the drawn tables"


class Finding(NamedTuple):
    """A difference between the density and the rows.

    Args:
        errors: the size of the difference in standard errors.
        text: the difference in words.
        of: what differs: a statistic of a ``"column"``, the association of a ``"pair"`` of columns,
            or the mean of a column given a ``"label"``.
        columns: the columns.
    """

    errors: float
    text: str
    of: str
    columns: tuple[str, ...]


class Part(NamedTuple):
    """A part of the text of a check: a title, and lines, some of which are indented."""

    title: str
    lines: list[str]

    def __str__(self) -> str:
        return "\n  ".join([self.title, *self.lines])


@dataclass(frozen=True)
class Check:
    """The result of ``Density.check``.

    ``str`` gives the text, ``plot`` the figure.

    Args:
        rows: the number of rows.
        why: why the rows count as new rows; empty for the training table.
        known: the number of new rows that are training rows; ``None`` if the file does not tell.
        samples: statistics of samples beside those of rows (``compare``).
        pairs: associations of pairs of columns, the largest difference first (``compare``).
        by_label: means of columns of numbers given a label, the largest difference first.
        drawn: about 10,000 drawn rows ``(N, D)``, with the gaps of the rows and the context of a
            target, for pictures.
        carried: the columns that samples compute, with their formula, the values that the column
            allows, and the share of samples within its bounds.
        cover: how many rows lie in regions of 50% and 90% (``calibration.cover``).
        ranks: the rank of each row among draws of the density, ``NaN`` for a row with a gap.
        traces: the ten rows with the largest memorisation scores under the networks, and under the
            mixtures: ``members``, ``row``, a label of the index or the number of the row, and
            ``score`` in nats.
        auc: the AUC of a network between its training rows and its held-out rows; ``NaN`` if there
            is none.
        auc_error: the standard error of ``auc``.
        asked: the number of refits that was asked for.
        refits: a row for each refit: ``statistic``, ``deviation``, ``difference`` and ``largest``
            as below, and ``auc``, ``distance`` and ``reference`` (``Refit``).
        statistic: the statistic of the ranks of rows (``Statistics.rows``).
        deviation: the largest deviation of a column (``largest_deviations``).
        column: the column of the largest deviation.
        difference: the largest difference between samples and rows, in standard errors.
        largest: the largest deviation of these three statistics (``largest_deviations``).
        p_fit: the p-value of the fit; ``NaN`` for fewer than two refits.
        p_density: the p-value of the density; ``NaN`` without refits.
        p_columns: the p-value of the columns; ``NaN`` for fewer than two refits.
        p_samples: the p-value of samples beside rows; ``NaN`` without refits.
        band: the 5% and 95% quantiles over refits of the share of ranks below 0, 0.01, ..., 1.
        is_grouped: whether the table has groups.
        is_weighted: whether the rows are repeated by their weights.
    """

    WHOLE: ClassVar[str] = "regions of highest density"  # the name of the regions of whole rows

    rows: int
    why: str
    known: int | None
    samples: pd.DataFrame
    pairs: pd.DataFrame
    cover: pd.DataFrame
    by_label: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=FRAMES["by_label"]))
    drawn: Sequence[Sequence[float]] = ()
    carried: pd.DataFrame = field(default_factory=pd.DataFrame)
    ranks: Sequence[float] = ()
    traces: pd.DataFrame = field(default_factory=pd.DataFrame)
    auc: float = np.nan
    auc_error: float = np.nan
    asked: int = 0
    refits: pd.DataFrame = field(default_factory=pd.DataFrame)
    statistic: float = np.nan
    deviation: float = np.nan
    column: str = ""
    difference: float = np.nan
    largest: float = np.nan
    p_fit: float = np.nan
    p_density: float = np.nan
    p_columns: float = np.nan
    p_samples: float = np.nan
    band: Sequence[Sequence[float]] = ()
    is_grouped: bool = False
    is_weighted: bool = False

    def plot(self) -> Figure:
        """Return a figure: ranks with the band of the refits, cover by column, and traces."""
        from flows.plotting.check import draw_check

        return draw_check(self)

    def __str__(self) -> str:
        lines = [*self.about(), *self.alone()]
        return "\n".join([*lines, *(f"\n{part}" for part in self.parts())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the check as HTML for notebooks, the largest differences first."""
        found = [each.text for each in self.findings] or [f"none above {FAR:g} standard errors"]
        rest = [self.computed(), self.calibration(), self.tests(), self.memory()]
        numbers, shares = self.statistics()
        lines = [f"{name}: {', '.join(own)}" for name, own in shares.items()]
        return "".join(
            [
                markup.lines("; ".join([*self.about(), *self.alone()]), found),
                *(markup.lines(*part) for part in rest if part.lines),
                markup.lines("samples|rows", lines),
                numbers.to_html(),
            ]
        )

    @property
    def findings(self) -> list[Finding]:
        """The large differences between samples and rows, the largest first.

        They are statistics of columns and associations of pairs above ``FAR`` standard errors, and
        means given a label above ``far_of(count)``, as there are many of these.
        """
        found = list[Finding]()
        for frame, worded, limit in (
            (self.samples, _of_column, FAR),
            (self.pairs, _of_pair, FAR),
            (self.by_label, _of_label, far_of(len(self.by_label))),
        ):
            is_far = frame["difference"].abs().to_numpy(float) > limit
            found += [worded(line) for _, line in frame[is_far].iterrows()]
        return sorted(found, key=lambda each: -each.errors)

    def about(self) -> list[str]:
        """Return lines that say which rows were checked."""
        if not self.why:
            repeated = " (repeated by their weights)" if self.is_weighted else ""
            return [f"check of the fit on its {self.rows} training rows{repeated}"]
        lines = [f"check of the fit on {counted(self.rows, 'new row')}: {self.why}"]
        lines.append("not shown: out-of-fold cover, p-values, and traces of single rows")
        if self.known is None:
            lines.append("the file does not tell training rows, whose cover is too high")
        elif self.known:
            lines.append(
                f"{self.known} of the {self.rows} rows are training rows, which some members "
                "learned from, so their cover is too high"
            )
        return lines

    def alone(self) -> list[str]:
        """Return a line on rows that members remember, and that samples may repeat, if any."""
        if self.traces.empty:
            return []
        rows = self.traces.loc[self.traces["score"] > REMEMBERED, "row"].drop_duplicates()
        if not len(rows):
            return []
        own = ", ".join(map(str, rows))
        are = "row stands" if len(rows) == 1 else "rows stand"
        return [f"{len(rows)} {are} alone ({own}): samples may nearly repeat such a row"]

    def parts(self) -> list[Part]:
        """Return the parts of the text, without those that have no line."""
        found = [self.beside(), self.computed(), self.calibration(), self.tests(), self.memory()]
        return [part for part in found if part.lines]

    def beside(self) -> Part:
        """Return the differences between samples and rows, and the statistics of each column.

        All columns with a large difference are named, and the first ``SHOWN`` such pairs and means.
        """
        found, counts = list[str](), Counter[str]()
        for each in self.findings:
            counts[each.of] += 1
            if each.of == "column" or counts[each.of] <= SHOWN:
                found.append(each.text)
        if not found:
            found.append(f"no difference above {FAR:g} standard errors of a table of this size")
            order = np.argsort(-self.samples["difference"].abs().to_numpy(), kind="stable")
            largest = [_of_column(line) for _, line in self.samples.iloc[order[:1]].iterrows()]
            largest += [_of_pair(line) for _, line in self.pairs[:1].iterrows()]
            found += [f"largest: {each.text}" for each in largest]
        numbers, shares = self.statistics()
        lines = numbers.to_string().splitlines() if len(numbers) else []
        lines += [f"{numbers.columns.name} of {k}: {', '.join(own)}" for k, own in shares.items()]
        return Part("samples beside rows", found + lines)

    def statistics(self) -> tuple[pd.DataFrame, dict[str, list[str]]]:
        """Return the statistics of each column as ``samples|rows``, and the shares of its values.

        The frame has a row per column with such statistics, and a column per statistic.
        """
        cells, shares = dict[str, dict[str, str]](), dict[str, list[str]]()
        for _, line in self.samples.iterrows():
            name, values = line["statistic"], f"{line['of_samples']}|{line['of_rows']}"
            if name.startswith(SHARE_OF):
                text = f"{name.removeprefix(SHARE_OF)}: {values}"
                shares.setdefault(line["column"], []).append(text)
            else:
                cells.setdefault(line["column"], {})[name] = values
        frame = pd.DataFrame.from_dict(cells, orient="index").fillna("")
        frame.columns.name = "samples|rows"
        return frame, shares

    def computed(self) -> Part:
        """Return the equation of each column that samples compute."""
        lines = []
        for _, line in self.carried.iterrows():
            share, allowed = line["within"], line["allowed"]
            text = f"`{line['column']}` equals {line['formula']}"
            within = f"; {share:.1%} of samples are within its bounds ({allowed})"
            lines.append(text + within if allowed else text)
        return Part("columns that samples compute", lines)

    def calibration(self) -> Part:
        """Return the cover of the regions of whole rows and of columns."""
        where, lines = "out of fold" if not self.why else "on new rows", []
        table = self.cover.set_index(["region", "level"])
        for region in dict.fromkeys(self.cover["region"]):
            own = table.loc[region]
            words = [
                f"{level:.0%}: {line['cover']:.0%} ({line['low']:.0%} to {line['high']:.0%})"
                for level, line in own.iterrows()
            ]
            lines.append(f"{region}: {', '.join(words)}, {own['rows'].iloc[0]:.0f} rows")
        if not self.why and not len(self.refits):
            lines.append(NO_TEST)
        return Part(f"calibration, {where} (share of rows, with its 95% interval)", lines)

    def tests(self) -> Part:
        """Return the p-values that refits give, and how far refits are from the density."""
        count = len(self.refits)
        fewer = f" of {self.asked}, for lack of time" if count < self.asked else ""
        title = f"{counted(count, 'refit')}{fewer} to tables that are drawn from the density"
        if not count:
            return Part(title, [])
        needs_two = "needs two refits"
        of_fit = f"{self._p(self.p_fit, needs_two)}, from its parts"
        of_density = self._p(self.p_density, "unknown, because no row is complete")
        of_columns = self._p(self.p_columns, needs_two)
        if self.column:
            of_columns += f"; largest deviation: {self.column}, {self.deviation:.1f}"
        of_samples = f"{self._p(self.p_samples)}; largest difference: {self.difference:.1f}"
        lines = [
            f"p-value of the fit: {of_fit}",
            f"  density (ranks of rows): {of_density}",
            f"  columns (ranks of values): {of_columns}",
            f"  samples beside rows: {of_samples} standard errors",
        ]
        distance, reference = self.refits["distance"], self.refits["reference"]
        text = f"a fit to {self.rows} rows of this density is {_mean(distance)} nat per row from it"
        if reference.notna().any():
            text += f"; the best of the references {_mean(reference)} nat"
        lines += [text, FEW_DEFECTS]
        return Part(title, [*lines, GROUPED] if self.is_grouped else lines)

    def memory(self) -> Part:
        """Return the traces of single rows."""
        title, lines = "traces of single rows in the members that learned from them", []
        if self.traces.empty:
            return Part(title, [])
        if not np.isnan(self.auc):
            low, high = self.auc - 1.96 * self.auc_error, self.auc + 1.96 * self.auc_error
            text = f"AUC of a network, training rows against held-out rows: {self.auc:.2f} "
            text += f"({low:.2f} to {high:.2f}; 0.50 is no trace)"
            if len(self.refits):
                text += f"; of refits {_mean(self.refits['auc'])}"
            lines.append(text)
        for kind in dict.fromkeys(self.traces["members"]):
            found = self.traces[self.traces["members"] == kind]
            pairs = zip(found["row"], found["score"], strict=True)
            own = ", ".join(f"{row} ({score:.2f})" for row, score in pairs)
            lines.append(f"rows with the largest memorisation scores of {kind} (nat): {own}")
        return Part(title, [*lines, NOT_PRIVATE])

    def _p(self, value: float, unknown: str = "unknown") -> str:
        if np.isnan(value):
            return unknown
        count = len(self.refits)
        if value * (count + 1) < 1.5:
            return f"{value:.2g} (the smallest that {counted(count, 'refit')} can give)"
        return f"{value:.2g}"


def _of_column(line: Mapping[str, Any]) -> Finding:
    """Return the difference of a statistic, a row of ``Check.samples``."""
    name, own = line["statistic"], f"`{line['column']}`"
    samples, rows = line["of_samples"], line["of_rows"]
    how = f"({_errors(line['difference'])})"
    if name.startswith(SHARE_OF):
        value = name.removeprefix(SHARE_OF)
        text = f"{own} is {value} in {samples} of samples, {rows} of rows {how}"
        if value.startswith(NOT_ALLOWED):
            text = f"{own} holds {value}, in {rows} of rows; they count as gaps {how}"
    else:
        text = f"{own} has the {NAMES.get(name, name)} {samples} in samples, {rows} in rows {how}"
    return Finding(abs(line["difference"]), text, "column", (line["column"],))


def _of_pair(line: Mapping[str, Any]) -> Finding:
    """Return the difference of an association, a row of ``Check.pairs``."""
    samples, rows = line["samples"] + 0.0, line["rows"] + 0.0
    text = (
        f"`{line['first']}` and `{line['second']}` have the association {samples:.2f} in samples, "
        f"{rows:.2f} in rows ({_errors(line['difference'])})"
    )
    columns = line["first"], line["second"]
    return Finding(abs(line["difference"]), text, "pair", columns)


def _of_label(line: Mapping[str, Any]) -> Finding:
    """Return the difference of a mean given a label, a row of ``Check.by_label``."""
    text = (
        f"`{line['column']}` has the mean {line['of_samples']} in samples, {line['of_rows']} in "
        f"rows where `{line['labels']}` is {line['label']} ({_errors(line['difference'])})"
    )
    return Finding(abs(line["difference"]), text, "label", (line["column"], line["labels"]))


def far_of(count: int) -> float:
    """Return how many standard errors the largest of many equal differences may have by chance.

    Of ``count`` normal numbers, about as many are above it as there are of one above ``FAR``.

    Args:
        count: the number of differences.
    """
    return float(-scipy.special.ndtri(scipy.special.ndtr(-FAR) / max(count, 1)))


def _errors(difference: float) -> str:
    """Return a difference in standard errors in words."""
    if np.isinf(difference):
        return "all samples are equal"
    return f"{abs(difference):.1f} standard errors"


def _mean(values: pd.Series) -> str:
    """Return the mean over refits and their standard deviation."""
    deviation = values.std() if len(values) > 1 else 0.0
    return f"{values.mean():.2f} \u00b1 {deviation:.2f}"
