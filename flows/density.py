"""The density of a table, in three lines of Python, and what the command line is made of::

density = flows.fit(frame)        # a data frame of numbers, or an array of rows
new = density.sample(1000)        # a data frame
log_q = density.log_prob(frame)   # nats a row, in the units of the frame
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import ValidationError

from flows.core.arrays import Array
from flows.core.checkpoint import save
from flows.core.columns import Column, dequantise, inspect
from flows.core.errors import UserError
from flows.core.population import Population, ensemble_log_prob
from flows.core.seeds import numpy_generator, torch_generator
from flows.core.settings import TrainingSettings, explain
from flows.data import table
from flows.evaluation.likelihood import log_density
from flows.networks.network import Network
from flows.networks.registry import build, load
from flows.training import trainer

if TYPE_CHECKING:
    import pandas as pd


class Density:
    """A fitted population and the columns of its table. Columns are found by name, in any order; others are left alone."""

    def __init__(self, network: Population) -> None:
        self.network = network
        self.columns = getattr(network, "columns", []) or [Column(f"x{d}") for d in range(network.event_shape.numel())]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @classmethod
    def load(cls, path: str | Path) -> Density:
        """The density in a file. Raises ``CheckpointError``, which names it."""
        return cls(load(path))

    def save(self, path: str | Path) -> None:
        """One file, whole or not at all."""
        save(self.network, path)

    def log_prob(self, frame: Any) -> Array:
        """Log-density of the ensemble in nats, ``(n,)``; minus infinity for a row that a column's kind does not allow."""
        return self.ensemble(self.log_prob_members(frame))

    def log_prob_members(self, frame: Any) -> Array:
        """Log-densities of the members in nats, ``(n, M)``."""
        rows = table.numbers(_frame(frame, self.names), self.names)[0]
        held = np.logical_and.reduce([column.holds(x) for column, x in zip(self.columns, rows.T, strict=True)])
        log_q = np.full((len(rows), self.network.members), -np.inf)
        if held.any():
            log_q[held] = log_density(self.network, rows[held])
        return log_q

    def ensemble(self, log_q: Array) -> Array:
        """Log-density ``(n,)`` of the members' mixture by their weights, from theirs ``(n, M)``."""
        return ensemble_log_prob(torch.from_numpy(log_q), self.network.member_weights).numpy()

    def spread(self, log_q: Array) -> Array:
        """Standard deviation ``(n,)`` over the members; 0 where there is one, or where all say minus infinity."""
        return np.where(np.isfinite(log_q).all(axis=1), np.nan_to_num(log_q, neginf=0.0).std(axis=1, ddof=min(1, log_q.shape[1] - 1)), 0.0)

    def tail_probability(self, log_q: Array) -> Array:
        """How likely a row of the table's distribution is to have so low a density, ``(n,)``, from log-densities ``(n, M)`` of the members::

            p(x) = (1 + sum_f #{i in fold f: log q_f(x_i) <= log q_f(x)}) / (1 + n)

        ``q_f`` is the ensemble of the members that did not see fold f of the n training rows. ``NaN`` where there were no folds.
        Source: Vovk 2015 (Cross-conformal predictors).
        """
        if "held_out" not in self.network.history:
            return np.full(len(log_q), np.nan)
        fold, held_out = self.network.history["fold"], self.network.history["held_out"]
        unseen = np.array([member["fold"] for member in self.network.description["training"]["members"]])
        as_low = np.ones(len(log_q))
        for f in np.unique(fold[fold >= 0]):
            weights = self.network.member_weights[unseen == f]
            q = ensemble_log_prob(torch.from_numpy(log_q[:, unseen == f]), weights / weights.sum()).numpy()
            as_low += np.searchsorted(np.sort(held_out[fold == f]), q, side="right")
        return as_low / (1 + (fold >= 0).sum())

    def sample(self, n: int, seed: int = 0) -> pd.DataFrame:
        """``n`` rows drawn from the ensemble."""
        import pandas as pd

        return pd.concat(list(self.pieces(n, seed)))

    def pieces(self, n: int, seed: int = 0) -> Iterator[pd.DataFrame]:
        """What ``sample`` gives, a piece at a time. Every row is of a member drawn by the weights."""
        import pandas as pd

        rng, generator = numpy_generator(seed, "sample"), torch_generator(seed, "sample")
        weights = self.network.member_weights.numpy()
        for start in range(0, n, table.PIECE):
            member = rng.choice(len(weights), size=min(table.PIECE, n - start), p=weights / weights.sum())
            draws = self.network.sample((int(np.bincount(member).max()),), generator=generator).double().numpy()
            rows = np.empty((len(member), len(self.columns)))
            for m in range(len(weights)):
                rows[member == m] = draws[: (member == m).sum(), m]
            frame = pd.DataFrame(rows, columns=self.names, index=range(start, start + len(rows)))
            yield frame.astype({c.name: "int64" for c in self.columns if c.kind == "integer" and (c.step or 0) % 1 == 0})

    def __repr__(self) -> str:
        """What there is to know, a line each."""
        about, weights = self.network.description, self.network.member_weights.tolist()
        training, settings = about.get("training", {}), about.get("settings", {})
        lines = [f"{about['model']} of {len(weights)} members, " + ", ".join(f"{key} {value}" for key, value in settings.items())]
        lines += [
            f"column {c.name}: {c.word}" + (f", rounded to steps of {c.step:g}" if c.step and c.kind != "integer" else "") for c in self.columns
        ]
        lines.append(", ".join([f"seed {about.get('seed')}", *(f"{key} {value}" for key, value in training.items() if isinstance(value, int | str))]))
        for member, weight in zip(training.get("members", ()), weights, strict=False):
            lines.append("member: " + ", ".join(f"{key} {value}" for key, value in {**member, "weight": round(weight, 3)}.items()))
        if "held_out" in training:
            scores = {"this density": training["held_out"], **training["floors"]}
            lines.append(f"log-density of a row that was not seen (nats, standard error {training['held_out_se']:.2f}): ")
            lines[-1] += ", ".join(f"{name} {value:.2f}" for name, value in scores.items())
        return "\n".join(lines)


def fit(what: Any, *arguments: Any, **settings: Any) -> Any:
    """Fit a density to a data frame or an array of rows: ``fit_table``. Of a network, train it: ``flows.training.trainer.fit``."""
    return (trainer.fit if isinstance(what, Network) else fit_table)(what, *arguments, **settings)


def fit_table(
    frame: Any,
    model: str = "nsf",
    *,
    members: int = 10,
    columns: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Density:
    """The density of a data frame of numbers or of an array ``(n, D)``, by a recipe that is found from its rows.

    ``columns`` names the kind of a column that is not real: ``{"age": "integer", "share": "interval:0:1", "price": "positive"}``.
    ``settings`` are of the model or of training. What there is to say of a column is printed on standard error.
    Raises ``UserError`` for a table that can't be fitted, ``LookupError`` for an unknown model, ``ValueError`` for settings.
    """
    kinds, frame = dict(columns or {}), _frame(frame)
    values, frame = table.numbers(frame, None)
    names = list(map(str, frame.columns))
    for name in kinds.keys() - set(names):
        raise UserError(f"there is no column {name}; the columns are: {', '.join(names)}")
    found, notices = inspect([Column.parse(name, kinds.get(name, "real")) for name in names], values, frame.index.to_numpy())
    for notice in notices:
        print(notice, file=sys.stderr)
    of_training = {key: value for key, value in (settings or {}).items() if key in TrainingSettings.model_fields}
    of_model = {key: value for key, value in (settings or {}).items() if key not in of_training}
    try:
        training = TrainingSettings(**{"recipe": "found", "seed": seed, **of_training})
    except ValidationError as error:
        raise ValueError(explain(error, TrainingSettings)) from None
    network = build(model, (len(names),), of_model, members=members, seed=seed, columns=found)
    return Density(trainer.fit(network, dequantise(found, values, seed), settings=training, name=model))


def _frame(rows: Any, names: list[str] | None = None) -> pd.DataFrame:
    """``rows`` as a data frame: an array's columns are in the order of ``names``."""
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        return rows
    values = np.asarray(rows)
    names = [f"x{d}" for d in range(values.shape[-1])] if names is None else names
    if values.ndim != 2 or values.shape[1] != len(names):
        raise UserError(f"expected rows {f'of {len(names)} numbers ' if names else ''}as an array of 2 axes; got the shape {values.shape}")
    return pd.DataFrame(values, columns=names, index=range(1, len(values) + 1))
