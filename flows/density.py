"""The density of a table in three lines of Python, on which the command line is built::

density = flows.fit(frame)        # a data frame, or an array of rows
new = density.sample(1000)        # a data frame
log_q = density.log_prob(frame)   # nats a row, in the units of the frame
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import ValidationError

from flows import answers
from flows.conditionals import questions
from flows.conditionals.distillation import SAMPLES, Distilled
from flows.conditionals.labels import log_probability
from flows.conditionals.questions import Estimate
from flows.conditionals.unknowns import Unknowns
from flows.core.arrays import Array, Mask, Whole
from flows.core.errors import UserError
from flows.core.seeds import numpy_generator
from flows.core.settings import TrainingSettings, explain
from flows.evaluation.likelihood import ensemble, log_density
from flows.networks import registry
from flows.networks.architecture import ImageModel
from flows.networks.population import Population
from flows.tables import frames
from flows.tables.columns import WHOLE, Column, dequantise
from flows.training.train import train

CALIBRATED = 2_000  # rows with labels that tail probabilities are counted on, at most
PIECE = 50_000  # rows that are drawn at a time: bounds the memory
# What the automatic recipe uses of the settings of training
USED = {"recipe", "learning_rate", "clip", "batch_size"}


class Density:
    """A fitted population and the columns of its table.

    Columns of a frame are found by name, in any order; others are ignored. Only the columns of an
    array are found by their place.
    """

    def __init__(self, network: Population) -> None:
        self.network = network
        self.columns = network.columns
        if not self.columns and len(network.event_shape) == 1:  # an image has no columns
            self.columns = [Column(f"x{d}") for d in range(network.event_shape[0])]
        self.names = [column.name for column in self.columns]
        self.kinds = {column.name: column.word for column in self.columns}

    @classmethod
    def load(cls, path: str | Path) -> Density:
        """Return the density in a file. Raises ``CheckpointError``, which names it."""
        return cls(registry.load(path))

    def save(self, path: str | Path) -> None:
        """Write the density to one file, whole or not at all."""
        registry.save(self.network, path)

    def log_prob(self, frame: Any, given: Sequence[str] = ()) -> Array:
        """Return the log-density of the ensemble in nats, ``(n,)``.

        Args:
            frame: rows of the table. A missing value is unknown: the log-density of such a row is
                that of the values that are there, the marginal.
            given: columns to condition on: the log-density is that of the others, given these.

        It is minus infinity for a row that a column's kind does not allow, and for a label that
        was not there when the density was fitted; a line on standard error tells of the latter.
        """
        return self.log_prob_and_error(frame, given)[0]

    def log_prob_and_error(self, frame: Any, given: Sequence[str] = ()) -> tuple[Array, Array]:
        """Return what ``log_prob`` does, and its standard errors in nats, ``(n,)``.

        They are 0 for rows without a gap, and where the one unknown column is a category or the
        table has none: that is summed or integrated, and not drawn.
        """
        found = self._estimated(frame, given)
        return self.ensemble(found.log_q), found.error

    def log_prob_members(self, frame: Any) -> Array:
        """Return the log-densities of the members in nats, ``(n, M)``."""
        return self._estimated(frame).log_q

    def _estimated(self, frame: Any, given: Sequence[str] = ()) -> Estimate:
        [(_, found)] = answers.estimated(self, self._source(frame), given=given)
        return found

    def _source(self, frame: Any) -> answers.Source:
        return answers.Source([_frame(frame, self.names)])

    def estimate(self, rows: Array, numbers: Whole, given: Sequence[str] = ()) -> Estimate:
        """Return the members' log-densities of rows ``(n, D)``, with their errors.

        Values are codes for labels, and ``NaN`` for what is unknown; ``numbers`` ``(n,)`` are those
        of the rows in their table. A label has a probability: the density, integrated over its cell
        (``conditionals/labels.py``). Raises ``UserError`` for columns that can't be ``given``.
        """
        self._check(given)
        is_given = np.isin(self.names, [*map(str, given)])
        if is_given.all():
            raise UserError("every column is given; leave one whose log-density is asked for")
        log_q = np.full((len(rows), self.network.members), -np.inf)
        found = Estimate(log_q, np.zeros(len(rows)), np.full(len(rows), np.inf))
        held = ~self._disallowed(rows).any(axis=1)
        direct = held & ~np.isnan(rows).any(axis=1) & (not given)
        if direct.any():
            found.log_q[direct] = log_probability(self._score, self.columns, rows[direct])
        places = np.flatnonzero(held & ~direct)
        if len(places):
            asked = self.unknowns, rows[places]
            if given:
                own = questions.conditional(*asked, is_given, numbers[places])
            else:
                own = questions.evidence(*asked, numbers[places])
            for part, new in zip(found, own, strict=True):
                part[places] = new
        return found

    def _score(self, rows: Array) -> Array:
        return log_density(self.network, rows)

    def _disallowed(self, rows: Array) -> Mask:
        """Return which of the values ``(n, D)`` the columns' kinds do not allow."""
        held = [column.holds(x) for column, x in zip(self.columns, rows.T, strict=True)]
        return ~(np.stack(held, axis=1) | np.isnan(rows))

    @cached_property
    def unknowns(self) -> Unknowns:
        """What answers questions on unknown columns; it is made of samples at the first one.

        Raises ``UserError`` for a model that is not of a table.
        """
        if not self.columns:
            raise UserError("a model of images has no columns to ask about")
        samples = np.concatenate([*self.draws(SAMPLES)])
        distilled = Distilled(self.columns, samples)
        return Unknowns(self._score, distilled, self.network.member_weights.log().numpy())

    def impute(self, frame: Any, draws: int = 0, seed: int = 0) -> Any:
        """Return the frame with its gaps filled, given what is known of each row.

        They hold conditional medians, and the likeliest label of a category. With ``draws``, it is
        a list of so many frames, in each of which the gaps of a row are drawn together: how far
        results differ between them is what the gaps leave open (multiple imputation, Rubin 1987).
        Everything else stays as it is. A value that its column does not allow is no gap, but is
        taken as unknown.
        """
        if draws < 0:
            raise UserError(f"draws = {draws}: must be 0 or more")
        [filled] = answers.imputed(self, self._source(frame), draws, seed)
        return [filled.iloc[k::draws, 1:].copy() for k in range(draws)] if draws else filled

    def predict(
        self, frame: Any, column: str, quantiles: Sequence[float] = questions.QUANTILES
    ) -> pd.DataFrame:
        """Return the distribution of ``column`` given what the frame holds of the other columns.

        There is a line a row, with its index: ``mean``, ``sd``, and ``q0.05`` and so on, in the
        column's units, or the probability of each label of a category. ``effective_draws`` is the
        effective number of draws, empty where nothing had to be drawn. Columns that the frame lacks
        are unknown. ``questions.predict`` says what mean and sd are of.
        """
        [(_, found)] = answers.predicted(self, self._source(frame), str(column), quantiles)
        return found

    def surprise(self, frame: Any) -> pd.DataFrame:
        """Return by how much the rest of its row speaks against every value, in nats.

        It has the frame's index, and the density's columns. Above 0 the others speak against a
        value; where they say nothing of it, it has about -0.5. One that its column does not allow
        is infinitely odd; a gap has ``NaN``. ``questions.surprise`` has the formula.
        """
        frame = _frame(frame, self.names)
        found = answers.surprise(self, frames.parse(frame, self.kinds), np.arange(len(frame)))
        return pd.DataFrame(found, frame.index, self.names)

    def _check(self, names: Sequence[str]) -> None:
        """Raise ``UserError`` for a column that is not there, or for one name in place of many."""
        if isinstance(names, str):
            raise UserError(f"given = {names!r}: must be a list of columns, as [{names!r}]")
        for name in names:
            frames.position(self.names, str(name), "the density")

    def known(self, table: frames.Table) -> tuple[Array, Mask, str]:
        """Return a parsed table as numbers ``(n, D)``, ``NaN`` for what its columns do not allow.

        With them come which cells these are, ``(n, D)``, and a text on the first, if there is one.
        """
        frame, source = frames.complete(table, "keep")
        rows = frames.numbers(frames.Table(frame, source), self.columns)
        disallowed, text = self._disallowed(rows), ""
        for k, d in np.argwhere(disallowed)[:1]:
            column = self.columns[d]
            why = f"which its kind, {column.word}, does not allow"
            if column.labels:
                why = f"which is none of its labels ({', '.join(map(str, column.labels))})"
            text = f"column {column.name}, row {frame.index[k]} holds {frame.iat[k, d]}, {why}"
        return np.where(disallowed, np.nan, rows), disallowed, text

    def widened(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a frame with gaps in place of the columns that it lacks."""
        lacking = [name for name in self.names if name not in map(str, frame.columns)]
        return frame.assign(**dict.fromkeys(lacking, np.nan))

    def ensemble(self, log_q: Array, members: Any = slice(None)) -> Array:
        """Return the log-density ``(n,)`` of the mixture of ``members`` by their weights.

        ``log_q`` ``(n, M)`` are the log-densities of all members.
        """
        weights = self.network.member_weights[members]
        return ensemble(log_q[:, members], weights / weights.sum())[:, 0]

    def unseen(self, fold: float) -> Mask:
        """Return which members did not see the rows of a fold, ``(M,)``."""
        members = self.network.description["training"]["members"]
        return np.array([member["fold"] == fold for member in members])

    def tail_probability(self, log_q: Array) -> Array:
        """Return the probability that a row of the table has so low a density, ``(n,)``.

        It is a cross-conformal p-value, computed from the members' log-densities ``log_q``
        ``(n, M)``::

            p(x) = (1 + sum_f #{i in fold f: log q_f(x_i) <= log q_f(x)}) / (1 + n)

        ``q_f`` is the ensemble of the members that did not see fold f of the n training rows. It is
        ``NaN`` where no whole row was held out. Source: Vovk 2015 (Cross-conformal predictors).
        """
        if not (self.network.history.get("fold", np.full(1, -1.0)) >= 0).any():
            return np.full(len(log_q), np.nan)
        fold, held_out = self.network.history["fold"], self.network.history["held_out"]
        count = np.zeros(len(log_q))
        for f in np.unique(fold[fold >= 0]):
            known, new = np.sort(held_out[fold == f]), self.ensemble(log_q, self.unseen(f))
            count += np.searchsorted(known, new, side="right")
        return (1 + count) / (1 + (fold >= 0).sum())

    def sample(self, n: int | None = None, seed: int = 0, *, given: Any = None) -> pd.DataFrame:
        """Draw rows from the ensemble.

        The same ``n`` and ``seed`` give the same rows each time: for others, give another seed.

        Args:
            n: how many.
            seed: the seed of all that is random.
            given: what is known of the rows: values by column, as ``{"age": 50}``, of all ``n``
                rows; or a frame, to each row of which one is drawn, with its index. Its gaps, and
                the columns that it lacks, are drawn.
        """
        if given is None and n is None:
            raise TypeError("sample needs n, the number of rows, or rows that are given")
        if n is not None and n < 0:
            raise UserError(f"n = {n}: must be 0 or more")
        if given is None or isinstance(given, Mapping):
            return pd.concat(self.pieces(1 if n is None else n, seed, given), ignore_index=True)
        if n is not None:
            raise TypeError("sample takes n or a frame of given rows, and not both")
        [drawn] = answers.completed(self, self._source(given), seed)
        return drawn

    def pieces(
        self, n: int, seed: int = 0, given: Mapping[str, Any] | None = None
    ) -> Iterator[pd.DataFrame]:
        """Yield the rows of ``sample``, a piece at a time; ``given`` are values by column."""
        if given is None:
            yield from map(self.typed, self.draws(n, seed))
            return
        given = {str(name): value for name, value in given.items()}  # as ``fit`` names columns
        self._check(list(given))
        frame = self.widened(pd.DataFrame([given], index=[1]))
        row, _, disallowed = self.known(frames.parse(frame, self.kinds, "given"))
        if disallowed:
            raise UserError(f"given: {disallowed}")
        least, none = np.inf, [(row[:0], np.inf)]
        for drawn, share in questions.samples(self.unknowns, row[0], n, seed) if n else none:
            yield self.typed(drawn)
            least = min(least, share)
        if least < 1:
            frames.say([f"draws repeat: {least:.0%} of them are effectively different"])

    def typed(self, rows: Array) -> pd.DataFrame:
        """Return numbers ``(n, D)`` as a frame of what a user's columns hold."""
        columns = zip(self.columns, rows.T, strict=True)
        return pd.DataFrame({column.name: _typed(column, x) for column, x in columns})

    def draws(self, n: int, seed: int = 0) -> Iterator[Array]:
        """Yield the rows of ``sample`` as numbers ``(n, D)``, with codes for labels, in pieces.

        Every row is drawn from a member, which is chosen by the weights.
        """
        rng = numpy_generator(seed, "sample")
        for start in range(0, max(n, 1), PIECE):
            yield draw(self.network, min(PIECE, n - start), rng)

    def __repr__(self) -> str:
        about = self.network.description
        training = about.get("training", {})
        settings = sorted(about.get("settings", {}).items())  # as a file keeps them
        chosen = [f"{self.network.members} members", *(f"{key} {value}" for key, value in settings)]
        name = about.get("model", type(self.network).__name__)
        lines = [f"{name} of {', '.join(chosen)}"]
        gaps = training.get("gaps", [0] * len(self.columns))
        for column, gap in zip(self.columns, gaps, strict=True):
            is_rounded = column.step and column.kind not in WHOLE
            steps = f", rounded to steps of {column.step:g}" if is_rounded else ""
            labels = shorten(", ".join(map(str, column.labels)), 60, placeholder=" ...")
            labels = f" of {len(column.labels)} labels: {labels}" if labels else ""
            lacks = f", missing in {gap} row{'s' * (gap > 1)}" if gap else ""
            lines.append(f"column {column.name}: {column.word}{labels}{steps}{lacks}")
        recipe, rows = training.get("recipe"), training.get("rows")
        if training:
            lines.append(f"trained by the {recipe} recipe on {rows} rows, seed {about.get('seed')}")
        if "members" in training:
            members = pd.DataFrame(training["members"])
            members["weight"] = self.network.member_weights.numpy()
            for way, own in members.groupby("regularisation", sort=False):
                steps = f"steps {own['steps'].min()} to {own['steps'].max()}"
                weight = f"weight {own['weight'].sum():.2f}"
                lines.append(f"{len(own)} members with {way}: {weight}, {steps}")
        if "held_out" in training:
            of_what = "what is known of unseen rows" if any(gaps) else "unseen rows"
            score = f"{training['held_out']:.2f} +- {training['held_out_se']:.2f} nat"
            references = [f"{name} {value:.2f}" for name, value in training["references"].items()]
            lines.append("; ".join([f"log-density of {of_what}: {score}", *references]))
        return "\n".join(lines)


def fit(
    frame: Any,
    model: str = "nsf",
    *,
    members: int = 10,
    columns: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    missing: Literal["learn", "drop", "stop"] = "learn",
) -> Density:
    """Return the density of a table, fitted by the automatic recipe.

    Args:
        frame: a data frame, an array ``(n, D)``, or what ``flows.tables.files.read`` returns.
        model: a model of tables with a density: ``"nsf"``, ``"realnvp"``, ``"glow"`` or ``"vae"``.
        members: networks of the ensemble: up to 5, or a multiple of 5.
        columns: the kind of a column that is not real: ``{"age": "integer", "visits": "count",
            "share": "interval:0:1", "price": "positive", "ward": "category"}``. Booleans, pandas'
            categories, and text of at most 20 values are categories without being named.
        settings: settings of training (``TrainingSettings``) or of the model's class. The automatic
            recipe finds most of the former by itself, and refuses them.
        seed: the seed of all that is random.
        missing: what is done with rows that lack a value: ``"learn"`` from what is there, which
            takes the automatic recipe and a flow; ``"drop"`` leaves them out, and counts them;
            ``"stop"`` makes them an error, as does ``"learn"`` otherwise.

    Notices, as on a rounded column, are printed on standard error. Raises ``UserError`` for a table
    that can't be fitted, ``LookupError`` for a model that is not of tables, ``ValueError`` for
    settings, ``TypeError`` for a network.
    """
    if isinstance(frame, Population):
        raise TypeError("flows.fit fits a table; flows.train(model, rows) trains a network")
    if missing not in ("learn", "drop", "stop"):
        raise ValueError(f"missing = {missing!r}: must be 'stop', 'drop' or 'learn'")
    training, architecture = _checked(model, settings or {}, members, seed)
    kinds = {str(name): word for name, word in (columns or {}).items()}
    if not isinstance(frame, frames.Table):
        frame = _frame(frame)
        frame = frames.parse(frame, {name: kinds.get(name, "") for name in map(str, frame)})
    learns = training.recipe == "auto" and registry.is_vector_flow(model)
    inspected, values, notices = frames.take(
        frame, kinds, "stop" if missing == "learn" and not learns else missing
    )
    if "batch_size" in (settings or {}) and training.batch_size > len(values):
        raise ValueError(f"batch_size = {training.batch_size}: there are {len(values)} rows")
    network = registry.build(
        model, (len(inspected),), architecture, members=members, seed=seed, columns=inspected
    )
    frames.say(notices)  # now that nothing is in the way of training
    train(network, dequantise(inspected, values, seed), settings=training, name=model)
    density = Density(network)
    if "held_out" in network.history and any(column.labels for column in inspected):
        _score_cells(density, values)
    return density


def _checked(
    model: str, settings: Mapping[str, Any], members: int, seed: int
) -> tuple[TrainingSettings, dict[str, Any]]:
    """Return the settings of training, and what is left of ``settings`` for the model.

    Raises ``LookupError`` for a model that is not of tables, and ``ValueError`` for a setting that
    is wrong, or would be ignored.
    """
    kinds = {name: registry.find(name) for name in registry.names()}
    silent = [name for name, kind in kinds.items() if not kind.has_density]
    images = [name for name, kind in kinds.items() if issubclass(kind, ImageModel)]
    models = [name for name in kinds if name not in (*silent, *images)]
    if model not in models:
        why = ", as it has no density" if model in silent else ""
        raise LookupError(f"no model {model!r} of tables{why}; these are: {', '.join(models)}")
    own = kinds[model].model_fields
    known = [key for key in TrainingSettings.model_fields if key != "seed"]
    given = {key: settings[key] for key in settings if key in known}
    if "seed" in settings:
        raise ValueError("seed is no setting: write --seed, or flows.fit(..., seed=) in Python")
    for key in settings:
        if key not in (*own, *known):
            raise ValueError(
                f"{key} is not a known key; allowed in {model}: {', '.join(own)}; "
                f"in training: {', '.join(known)}"
            )
    try:
        training = TrainingSettings(**{"recipe": "auto", "seed": seed, **given})
    except ValidationError as error:
        raise ValueError(explain(error, TrainingSettings)) from None
    if training.recipe == "auto" and registry.is_vector_flow(model):
        for key in sorted(given.keys() - USED):
            raise ValueError(f"{key}: the automatic recipe does not use it; recipe=fixed does")
    return training, {key: settings[key] for key in settings if key not in given}


def _score_cells(density: Density, values: Array) -> None:
    """Score some of the held-out rows again, as new rows will be: labels by their cells.

    The others are in no fold any more: ``tail_probability`` counts the scored ones.
    """
    history = density.network.history
    fold, places = history["fold"], np.flatnonzero(history["fold"] >= 0)
    places = places[:: -(-len(places) // CALIBRATED) or 1]
    log_q = density.estimate(values[places], places).log_q
    history["fold"] = np.full(len(fold), -1.0)
    history["fold"][places] = fold[places]
    for f in np.unique(fold[places]):
        own = fold[places] == f
        history["held_out"][places[own]] = density.ensemble(log_q[own], density.unseen(f))


def draw(network: Population, n: int, rng: np.random.Generator) -> Array:
    """Draw ``n`` points from the ensemble, ``(n, *event)``.

    Each is drawn from a member, which is chosen by the weights.
    """
    points = np.empty((n, *network.event_shape))
    if n == 0:
        return points
    weights = network.member_weights.numpy()
    member = rng.choice(len(weights), size=n, p=weights / weights.sum())
    draws = network.sample((int(np.bincount(member).max()),), generator=rng).double().numpy()
    for m in range(len(weights)):
        points[member == m] = draws[: (member == m).sum(), m]
    return points


def _typed(column: Column, values: Array) -> Any:
    """Return numbers ``(n,)`` as what a user's column holds: labels, whole numbers or floats."""
    if column.labels:
        codes = values.astype(np.int64)
        if column.ordered:
            return pd.Categorical.from_codes(codes, list(column.labels), ordered=True)
        return np.array(column.labels)[codes]
    is_whole = column.kind in WHOLE and (column.step or 0) % 1 == 0
    return values.astype(np.int64) if is_whole else values


def _frame(rows: Any, names: list[str] | None = None) -> pd.DataFrame:
    """Return ``rows`` as a data frame; an array's columns are in the order of ``names``."""
    if isinstance(rows, pd.DataFrame):
        return rows
    values = np.asarray(rows)
    if values.ndim != 2 or (names and values.shape[1] != len(names)):
        wanted = f"rows of {len(names)} numbers" if names else "rows"
        raise UserError(f"expected an array of {wanted}; got one of shape {values.shape}")
    columns = names or [f"x{d}" for d in range(values.shape[1])]
    return pd.DataFrame(values, columns=columns, index=range(1, len(values) + 1))


def load(path: str | Path) -> Density | Population:
    """Return what was saved to ``path``: the ``Density`` of a table, or any other population.

    Raises ``CheckpointError``, which names the file.
    """
    network = registry.load(path)
    return Density(network) if network.description.get("columns") else network


def save(model: Density | Population, path: str | Path) -> None:
    registry.save(model.network if isinstance(model, Density) else model, path)
