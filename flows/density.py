"""The density of a table in three lines of Python, on which the command line is built::

density = flows.fit(frame)        # a data frame of numbers, or an array of rows
new = density.sample(1000)        # a data frame
log_q = density.log_prob(frame)   # nats a row, in the units of the frame
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from flows.core.arrays import Array
from flows.core.checkpoint import save
from flows.core.columns import Column, inspect
from flows.core.errors import UserError
from flows.core.population import Population
from flows.core.scaler import Scaler
from flows.core.seeds import numpy_generator
from flows.core.settings import TrainingSettings, explain
from flows.data import table
from flows.data.preparation import learnable
from flows.evaluation.likelihood import ensemble, log_density
from flows.networks import registry
from flows.networks.architecture import ImageModel
from flows.training.trainer import train


class Density:
    """A fitted population and the columns of its table.

    Columns of a frame are found by name, in any order; others are ignored.
    """

    def __init__(self, network: Population) -> None:
        self.network = network
        self.columns: list[Column] = getattr(network, "columns", [])
        if not self.columns and len(network.event_shape) == 1:  # an image has no columns
            self.columns = [Column(f"x{d}") for d in range(network.event_shape[0])]
        self.names = [column.name for column in self.columns]

    @classmethod
    def load(cls, path: str | Path) -> Density:
        """Return the density in a file. Raises ``CheckpointError``, which names it."""
        return cls(registry.load(path))

    def save(self, path: str | Path) -> None:
        """Write the density to one file, whole or not at all."""
        save(self.network, path)

    def log_prob(self, frame: Any) -> Array:
        """Return the log-density of the ensemble in nats, ``(n,)``.

        It is minus infinity for a row that a column's kind does not allow.
        """
        return self.ensemble(self.log_prob_members(frame))

    def log_prob_members(self, frame: Any) -> Array:
        """Return the log-densities of the members in nats, ``(n, M)``."""
        rows, _ = table.numbers(_frame(frame, self.names), self.names)
        allowed = [column.holds(x) for column, x in zip(self.columns, rows.T, strict=True)]
        held = np.all(allowed, axis=0)
        log_q = np.full((len(rows), self.network.members), -np.inf)
        if held.any():
            log_q[held] = log_density(self.network, rows[held])
        return log_q

    def ensemble(self, log_q: Array, members: Any = slice(None)) -> Array:
        """Return the log-density ``(n,)`` of the mixture of ``members`` by their weights.

        ``log_q`` ``(n, M)`` are the log-densities of all members.
        """
        weights = self.network.member_weights[members]
        return ensemble(log_q[:, members], weights / weights.sum())[:, 0]

    def tail_probability(self, log_q: Array) -> Array:
        """Return the probability that a row of the table has so low a density, ``(n,)``.

        It is a cross-conformal p-value, computed from the members' log-densities ``log_q``
        ``(n, M)``::

            p(x) = (1 + sum_f #{i in fold f: log q_f(x_i) <= log q_f(x)}) / (1 + n)

        ``q_f`` is the ensemble of the members that did not see fold f of the n training rows. It is
        ``NaN`` where training had no folds. Source: Vovk 2015 (Cross-conformal predictors).
        """
        if "held_out" not in self.network.history:
            return np.full(len(log_q), np.nan)
        fold, held_out = self.network.history["fold"], self.network.history["held_out"]
        members = self.network.description["training"]["members"]
        unseen = np.array([member["fold"] for member in members])
        count = np.zeros(len(log_q))
        for f in np.unique(fold[fold >= 0]):
            known, new = np.sort(held_out[fold == f]), self.ensemble(log_q, unseen == f)
            count += np.searchsorted(known, new, side="right")
        return (1 + count) / (1 + (fold >= 0).sum())

    def sample(self, n: int, seed: int = 0) -> pd.DataFrame:
        """Draw ``n`` rows from the ensemble."""
        return pd.concat(list(self.pieces(n, seed)))

    def pieces(self, n: int, seed: int = 0) -> Iterator[pd.DataFrame]:
        """Yield the rows of ``sample``, a piece at a time.

        Every row is drawn from a member, which is chosen by the weights.
        """
        rng = numpy_generator(seed, "sample")
        whole = [c.name for c in self.columns if c.kind == "integer" and (c.step or 0) % 1 == 0]
        for start in range(0, max(n, 1), table.PIECE):
            rows = draw(self.network, min(table.PIECE, n - start), rng)
            frame = pd.DataFrame(rows, columns=self.names, index=range(start, start + len(rows)))
            yield frame.astype(dict.fromkeys(whole, "int64"))

    def __repr__(self) -> str:
        about = self.network.description
        training = about.get("training", {})
        settings = sorted(about.get("settings", {}).items())  # as a file keeps them
        chosen = ", ".join(f"{key} {value}" for key, value in settings)
        lines = [f"{about['model']} of {self.network.members} members, {chosen}"]
        for column in self.columns:
            is_rounded = column.step and column.kind != "integer"
            steps = f", rounded to steps of {column.step:g}" if is_rounded else ""
            lines.append(f"column {column.name}: {column.word}{steps}")
        lines.append(
            f"trained by the {training.get('recipe')} recipe on {training.get('rows')} rows, "
            f"seed {about.get('seed')}"
        )
        if "members" in training:
            members = pd.DataFrame(training["members"])
            members["weight"] = self.network.member_weights.numpy()
            for way, own in members.groupby("regularisation", sort=False):
                lines.append(
                    f"{len(own)} members with {way}: weight {own['weight'].sum():.2f}, "
                    f"steps {own['steps'].min()} to {own['steps'].max()}"
                )
        if "held_out" in training:
            references = [f"{name} {value:.2f}" for name, value in training["references"].items()]
            lines.append(
                f"log-density of unseen rows: {training['held_out']:.2f} +- "
                f"{training['held_out_se']:.2f} nat; {'; '.join(references)}"
            )
        return "\n".join(lines)


def fit(
    frame: Any,
    model: str = "nsf",
    *,
    members: int = 10,
    columns: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Density:
    """Return the density of a table, fitted by the automatic recipe.

    Args:
        frame: a data frame of numbers, or an array ``(n, D)``.
        model: a model of tables, such as ``"nsf"``, ``"realnvp"`` or ``"glow"``.
        members: networks of the ensemble: up to 5, or a multiple of 5.
        columns: the kind of a column that is not real: ``{"age": "integer",
            "share": "interval:0:1", "price": "positive"}``.
        settings: settings of training (``TrainingSettings``) or of the model's class.
        seed: the seed of all that is random.

    Notices, as on a rounded column, are printed on standard error. Raises ``UserError`` for a table
    that can't be fitted, ``LookupError`` for a model that is not of tables, ``ValueError`` for
    settings, ``TypeError`` for a network.
    """
    if isinstance(frame, Population):
        raise TypeError("flows.fit fits a table; flows.train(model, rows) trains a network")
    models = [each for each in registry.names() if not issubclass(registry.find(each), ImageModel)]
    if model not in models:
        raise LookupError(f"no model {model!r} of tables; these are: {', '.join(models)}")
    frame, kinds = _frame(frame), columns or {}
    names = list(map(str, frame.columns))
    for name in kinds:
        if name not in names:
            raise UserError(f"there is no column {name}; the columns are: {', '.join(names)}")
    values, _ = table.numbers(frame, names)
    declared = [Column.parse(name, kinds.get(name, "real")) for name in names]
    inspected, notices = inspect(declared, values, frame.index.to_numpy())
    for notice in notices:
        print(notice, file=sys.stderr)
    architecture = dict(settings or {})
    fields = TrainingSettings.model_fields
    training = {key: architecture.pop(key) for key in fields if key in architecture}
    try:
        options = TrainingSettings(**{"recipe": "auto", "seed": seed, **training})
    except ValidationError as error:
        raise ValueError(explain(error, TrainingSettings)) from None
    network = registry.build(
        model, (len(names),), architecture, members=members, seed=seed, columns=inspected
    )
    rows = learnable(inspected, values, seed)
    scaler = Scaler.fit(rows, names)
    train(network, scaler.scale(rows), settings=options, scaler=scaler, name=model)
    return Density(network)


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
