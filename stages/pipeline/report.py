"""Score a model and write its results, for the stages ``evaluate`` and ``reference``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from common import storage
from flows.core import seeds
from flows.core.arrays import Array
from flows.core.plurals import counted
from flows.evaluation.calibration import LEVELS
from flows.evaluation.problem import Problem
from flows.evaluation.report import Report, evaluate
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population, ensemble_log_prob
from flows.tables.columns.column_maps import ColumnMaps
from stages.pipeline import files
from stages.pipeline.schema import Evaluate

TRAJECTORY_POINTS = 2_000


def write_report(
    model: Population,
    name: str,
    problem: Problem,
    evaluation: Evaluate,
    *,
    draws: int = 1,
    columns: Mapping[str, Any] | None = None,
    scored: int | None = None,
) -> None:
    """Evaluate ``model``; write its headline metrics, the metrics of members and plot data.

    Args:
        model: the population, or a reference.
        name: the name of the model or reference.
        problem: the rows and the true density.
        evaluation: the settings of the evaluation.
        draws: how often samples are drawn and scored; each draw then counts as a member.
        columns: further columns of the table of members.
        scored: the largest number of points that are scored for one metric; ``None`` for all.
    """
    limited = evaluation.limited(scored)
    report = evaluate(
        model, problem, limited, name=name, draws=draws, columns=columns, at_once=scored
    )
    arrays = plot_arrays(model, problem, evaluation, scored)
    arrays |= {**report.curves, **report.by_row, "levels": LEVELS}
    if problem.to_real is None:  # the units of a user may need double precision
        arrays = {key: array.astype(np.float32) for key, array in arrays.items()}
    write_row(name, report, arrays, label="draw" if draws > 1 else "member")
    broken = np.nansum(report.members["non_finite"])  # NaN for a model without log-densities
    if broken:
        were = counted(int(broken), "log-density was", "log-densities were")
        print(f"{name}: {were} not finite, so the means are NaN")
    known = {key: value for key, value in report.headline.items() if value is not None}
    print(f"{name}: {', '.join(f'{key} {value:.4g}' for key, value in known.items())}")


def write_row(name: str, report: Report, arrays: Mapping[str, Array], label: str) -> None:
    """Write the three files of a model's results; ``label`` names the column of member numbers."""
    headline = {key: files.number(value) for key, value in report.headline.items()}
    storage.write_json(files.headline(name), headline)
    members = {label: np.arange(len(report.members["kl"])), **report.members}
    storage.write_csv(files.members(name), members, float_format="%.6g")
    storage.write_npz(files.plot_data(name), arrays)


def plot_arrays(
    model: Population, problem: Problem, evaluation: Evaluate, scored: int | None = None
) -> dict[str, Array]:
    """Return the data of the figures.

    For two columns, the data are samples and a trajectory of the first member, and densities of the
    first member and of the ensemble. For other numbers of columns, the data are samples of the
    ensemble, as many as in the evaluation. If at most ``scored`` points are scored, densities are
    interpolated from a coarser grid.
    """
    generator = seeds.numpy_generator(evaluation.seed, "plot")
    if problem.event_shape != (2,):
        drawn = model.ensemble_sample(evaluation.samples, generator)
        return {"samples": drawn.double().numpy()}
    rows = len(problem.train) + len(problem.test)
    samples = model.sample((rows,), generator=generator)[:, 0]
    arrays: dict[str, Array] = {"samples": samples.double().numpy()}
    if model.supports("log_prob"):
        low, high = plane_box(problem)
        # Half of the points are enough for a picture
        side = min(evaluation.grid, math.isqrt(scored // 2 if scored else evaluation.grid**2))
        axes = np.linspace(low, high, side).T
        points = np.stack(np.meshgrid(*axes), axis=-1)  # (side, side, 2)
        log_q = model.score(points.reshape(-1, 2))
        mixed = ensemble_log_prob(log_q, model.member_weights)
        for key, values in {"density": log_q[:, 0], "density_ensemble": mixed}.items():
            arrays[key] = resized(np.exp(values).reshape(points.shape[:2]), evaluation.grid)
        arrays["box"] = np.stack([low, high])
    if model.supports("trajectory"):
        generator = seeds.numpy_generator(evaluation.seed, "plot", 1)
        states = model.trajectory((TRAJECTORY_POINTS,), generator)
        # The last step only changes the units, and is left out so that all states share one scale.
        key = "paths" if model.is_continuous else "trajectory"
        arrays[key] = torch.stack([state[:, 0] for state in states[:-1]]).double().numpy()
    return arrays


def resized(picture: Array, side: int) -> Array:
    """Return a square picture with ``side`` points along each edge, interpolated linearly."""
    if len(picture) == side:
        return picture
    places = np.linspace(0, len(picture) - 1, side)
    below = places.astype(np.int64).clip(max=len(picture) - 2)
    share = places - below
    rows = picture[below] * (1 - share)[:, None] + picture[below + 1] * share[:, None]
    return rows[:, below] * (1 - share) + rows[:, below + 1] * share


def plane_box(problem: Problem) -> tuple[Array, Array]:
    """Return the corners of the box in which densities are drawn.

    The true density has a box. Otherwise the box extends beyond the rows by a fifth of their range,
    within the bounds of the columns.
    """
    if isinstance(problem.truth, Mixture):
        return problem.truth.box()
    rows = np.concatenate([problem.train, problem.test])
    low, high = rows.min(axis=0), rows.max(axis=0)
    around, inside = 0.2 * (high - low), 1e-6 * (high - low)
    bounds = [(-np.inf, np.inf)]
    if isinstance(problem.to_real, ColumnMaps):
        bounds = [field.bounds for field in problem.to_real.fields]
    least, most = np.array(bounds).T
    return np.maximum(low - around, least + inside), np.minimum(high + around, most - inside)
