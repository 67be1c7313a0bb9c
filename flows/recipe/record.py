"""The record of a training: how the members were trained, and the out-of-fold scores of the rows.

The out-of-fold score of a training row is its log-density under members that did not learn from the
row. A checkpoint stores the record as JSON and arrays. The scores of single rows identify the rows
to anybody who has the rows; ``without_rows`` replaces these scores by counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np

from flows.core.arrays import Array, Mask, Whole

BIN = 0.25  # nats: width of the bins in which out-of-fold scores are counted
DECIMALS = 6  # of scores in nats, so that they are the same on every machine
# The names of the arrays in a checkpoint
ROW_ARRAYS = {"held_out": "log_density", "fold": "fold", "state": "state", "digest": "digest"}


# In place of the fold in which a row is held out
EVERY = -1  # for a new row: no member learned from it
NEVER = -2  # for a row that every member learned from


class RowState(IntEnum):
    """Whether a training row has an out-of-fold score or, if not, the reason.

    Attributes:
        SCORED: the row has a score.
        NOT_HELD_OUT: every member learned from the row.
        MISSING_VALUES: the score would be a density of fewer values.
        NOT_RESCORED: the row is not in the subsample that was scored like new rows: the target is
            rounded or has labels, or many rows hold a value at a peak.
    """

    SCORED = 0
    NOT_HELD_OUT = 1
    MISSING_VALUES = 2
    NOT_RESCORED = 3


@dataclass(frozen=True)
class MemberRecord:
    """How a member was trained.

    Args:
        fold: the fold whose rows the member did not learn from.
        settings: the settings of the member: the preprocessing, and the noise and the lasso of a
            network, or the number of components and the ridge of a mixture.
        steps: the number of steps after which the weights of the network were kept; ``None`` for a
            mixture.
    """

    fold: int
    settings: Mapping[str, Any]
    steps: int | None = None


@dataclass(frozen=True)
class RowScores:
    """The out-of-fold scores of the training rows.

    Args:
        fold: the fold in which each row is held out, ``(n,)``; without meaning for a row that is
            never held out.
        state: the ``RowState`` of each row, ``(n,)``.
        log_density: the log-density of each row under the ensemble of members that did not learn
            from the row, ``(n,)``, in nats and in the user's units, with ``DECIMALS``; ``NaN``
            without a score.
        digest: a number for the values of each row, ``(n,)`` (``core.rows.digests``), by which a
            check finds the row in a table; ``None`` in files of earlier versions.
    """

    fold: Whole
    state: Whole
    log_density: Array
    digest: Whole | None = None

    @property
    def held_out_in(self) -> Whole:
        """The fold in which each row is held out, ``(n,)``, or ``NEVER``."""
        return np.where(self.state == RowState.NOT_HELD_OUT, NEVER, self.fold)

    def by_fold(self) -> list[FoldScores]:
        """Return the scores of each fold."""
        scored = self.state == RowState.SCORED
        folds = np.unique(self.fold[scored]).tolist()
        return [FoldScores(f, self.log_density[scored & (self.fold == f)]) for f in folds]


@dataclass(frozen=True)
class FoldScores:
    """The out-of-fold scores of the rows of a fold, ``(m,)``, in nats."""

    fold: int
    scores: Array

    @property
    def total(self) -> int:
        """The number of scores."""
        return len(self.scores)

    @property
    def start(self) -> float:
        """The lower end of the bin of the smallest score, in nats, as ``BinnedScores`` has it."""
        return float(np.floor(self.scores.min() / BIN) * BIN)

    def at_most(self, values: Array) -> Whole:
        """Return how many scores are at most each of ``values`` ``(n,)``."""
        return np.searchsorted(np.sort(self.scores), values.round(DECIMALS), side="right")

    def binned(self) -> BinnedScores:
        """Return the number of scores in each bin of ``BIN`` nats."""
        bins = np.floor(self.scores / BIN).astype(np.int64)
        counts = np.bincount(bins - bins.min()).tolist()
        return BinnedScores(self.fold, self.start, counts)


@dataclass(frozen=True)
class BinnedScores:
    """The out-of-fold scores of a fold, counted in bins of ``BIN`` nats.

    Args:
        fold: the number of the fold.
        start: the lower end of the first bin in nats, a multiple of ``BIN``.
        counts: the number of scores in each bin.
    """

    fold: int
    start: float
    counts: list[int]

    @property
    def total(self) -> int:
        """The number of scores."""
        return sum(self.counts)

    def at_most(self, values: Array) -> Array:
        """Return how many scores are at most each of ``values`` ``(n,)``, interpolated in bins."""
        ends = self.start + BIN * np.arange(len(self.counts) + 1)
        return np.interp(values, ends, np.concatenate([[0], np.cumsum(self.counts)]))


@dataclass(frozen=True)
class Record:
    """How a population of networks was trained.

    Args:
        recipe: ``"fixed"``, ``"auto"`` or ``"quick"``, which is (auto) below.
        rows: the number of training rows.
        folds: (auto) the number of folds; ``None`` for the fixed recipe.
        steps: (auto) the number of steps of the whole training; ``None`` for the fixed recipe.
        members: (auto) one entry per member, in the order of the population.
        held_out: (auto) the mean out-of-fold log-density per row in nats, at dequantised values,
            with the weights that are best for these values. With a target that is rounded or has
            labels, it is the mean of held-out rows that are scored like new rows.
        held_out_se: (auto) the standard error of ``held_out``.
        references: (auto) the same mean for simple models, by name.
        gaps: the number of missing values in each column; empty if no value is missing.
        binned_scores: the out-of-fold scores of each fold in bins, if ``row_scores`` was left out.
        row_scores: the out-of-fold scores of the rows.
        scores: the log-density of each row under the member of each setting that did not learn from
            the row, ``(n, C)``, ``NaN`` for a row that is not held out; not in a file.
        require: the constraints of the table, as the user writes them.
        log_mass: for each member, the log-probability that its draws meet the constraints of the
            table; empty without constraints. The members' log-densities given the constraints are
            larger by this number.
        log_mass_se: the standard errors of ``log_mass``.
        cuts: (auto) the places at which a limit of time cut the recipe (``Cuts``); empty if there
            was no limit.
        fit: the arguments of ``flows.fit`` as JSON, without the limit of time; empty if the
            population was not fitted to a table.
        check: the text of a check, if it was stored. The text names single rows.
    """

    recipe: str
    rows: int
    folds: int | None = None
    steps: int | None = None
    members: Sequence[MemberRecord] = ()
    held_out: float | None = None
    held_out_se: float | None = None
    references: Mapping[str, float] = field(default_factory=dict)
    gaps: Sequence[int] = ()
    binned_scores: Sequence[BinnedScores] = ()
    row_scores: RowScores | None = None
    scores: Array | None = None
    require: Sequence[str] = ()
    log_mass: Sequence[float] = ()
    log_mass_se: Sequence[float] = ()
    cuts: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    check: str = ""

    def out_of_fold_members(self, fold: int) -> Mask:
        """Return which members did not learn from the rows of ``fold``, ``(M,)``."""
        return np.array([member.fold == fold for member in self.members])

    def without_rows(self) -> Record:
        """Return the record with binned scores, without scores of single rows and a check."""
        if self.row_scores is None:
            return self
        binned = [each.binned() for each in self.row_scores.by_fold()]
        return replace(self, binned_scores=binned, row_scores=None, check="")

    def fold_scores(self) -> Sequence[FoldScores | BinnedScores]:
        """Return the out-of-fold scores of each fold."""
        return self.binned_scores if self.row_scores is None else self.row_scores.by_fold()

    @property
    def least_score(self) -> float:
        """The smallest out-of-fold score in nats, rounded down to ``BIN``.

        It is ``NaN`` without scores, and the same for scores of rows and for counts in bins.
        """
        return min((each.start for each in self.fold_scores()), default=math.nan)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are not empty, without ``row_scores``."""
        content = asdict(replace(self, row_scores=None, scores=None))
        return {key: value for key, value in content.items() if value not in (None, (), [], {}, "")}

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of ``row_scores`` by their names in a checkpoint."""
        if self.row_scores is None:
            return {}
        found = {name: getattr(self.row_scores, key) for name, key in ROW_ARRAYS.items()}
        return {name: values for name, values in found.items() if values is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], arrays: Mapping[str, Array]) -> Record:
        """Return the record of a checkpoint."""
        content = {key: content[key] for key in cls.__dataclass_fields__ if key in content}
        content["members"] = [MemberRecord(**member) for member in content.get("members", ())]
        binned = content.get("binned_scores", ())
        content["binned_scores"] = [BinnedScores(**each) for each in binned]
        if "held_out" in arrays:
            fold, state = (arrays[name].astype(np.int64) for name in ("fold", "state"))
            digest = arrays["digest"].astype(np.int64) if "digest" in arrays else None
            content["row_scores"] = RowScores(fold, state, arrays["held_out"], digest)
        return cls(**content)
