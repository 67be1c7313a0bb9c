"""What ``evaluate`` and ``reference`` share: score a model and write its row of the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from flows.core import seeds
from flows.core.arrays import Array
from flows.core.mixture import Mixture
from flows.core.population import Population
from flows.data.problem import Problem
from flows.evaluation.calibration import LEVELS
from flows.evaluation.likelihood import ensemble, log_density
from flows.evaluation.report import EvaluationSettings, Report, evaluate
from stages.pipeline import files
from stages.pipeline.settings import Evaluate

TRAJECTORY_POINTS = 2_000


def write_report(
    model: Population,
    name: str,
    problem: Problem,
    evaluation: Evaluate,
    *,
    draws: int = 1,
    columns: Mapping[str, Any] | None = None,
) -> None:
    """Evaluate ``model``; write its headline, its table of members, what the figures need."""
    settings = EvaluationSettings(**evaluation.model_dump(exclude={"grid"}))
    report = evaluate(model, problem, settings, name=name, draws=draws, columns=columns)
    arrays = {
        **plot_arrays(model, problem, evaluation),
        **report.curves,
        **report.by_row,
        "levels": LEVELS,
    }
    if not problem.columns:  # a user's units may need every digit
        arrays = {key: array.astype(np.float32) for key, array in arrays.items()}
    write_row(name, report, arrays, label="draw" if draws > 1 else "member")
    broken = np.nansum(report.members["non_finite"])  # NaN: no log-densities at all
    if broken:
        print(f"{name}: {broken:.0f} log-densities were not finite, so the means over them are NaN")
    print(
        f"{name}: "
        + ", ".join(
            f"{key} {value:.4g}" for key, value in report.headline.items() if value is not None
        )
    )


def write_row(name: str, report: Report, arrays: Mapping[str, Array], label: str) -> None:
    files.write_json(
        files.headline(name), {key: files.rounded(value) for key, value in report.headline.items()}
    )
    count = len(report.members["kl"])
    files.write_csv(
        files.members(name), {label: np.arange(count), **report.members}, float_format="%.6g"
    )
    files.write_npz(files.plot_data(name), arrays)


def plot_arrays(model: Population, problem: Problem, evaluation: Evaluate) -> dict[str, Array]:
    """Arrays to plot: in the plane, samples, densities on a grid, and the way from noise to data.

    The samples and their way are one member's, the densities that member's and the ensemble's. Of
    any other number of columns, the ensemble's samples, as many as there are in evaluation.
    """
    generator = seeds.numpy_generator(evaluation.seed, "plot")
    if problem.event_shape != (2,):
        drawn = model.sample((evaluation.samples,), generator=generator)
        member = generator.choice(model.members, evaluation.samples, p=model.member_weights.numpy())
        return {
            "samples": drawn[torch.arange(evaluation.samples), torch.from_numpy(member)]
            .double()
            .numpy()
        }
    rows = len(problem.train) + len(problem.test)
    arrays: dict[str, Array] = {
        "samples": model.sample((rows,), generator=generator)[:, 0].double().numpy()
    }
    if model.supports("log_prob"):
        low, high = plane_box(problem)
        points = np.stack(
            np.meshgrid(*np.linspace(low, high, evaluation.grid).T), axis=-1
        )  # (grid, grid, 2)
        log_q = log_density(model, points.reshape(-1, 2))
        arrays["density"] = np.exp(log_q[:, 0]).reshape(points.shape[:2])
        arrays["density_ensemble"] = np.exp(ensemble(log_q, model.member_weights)[:, 0]).reshape(
            points.shape[:2]
        )
        arrays["box"] = np.stack([low, high])
    if model.supports("trajectory"):
        states = model.trajectory(
            (TRAJECTORY_POINTS,), seeds.numpy_generator(evaluation.seed, "plot", 1)
        )
        # Without the last step, which only changes the units: all states then share one scale.
        arrays["trajectory"] = torch.stack([state[:, 0] for state in states[:-1]]).double().numpy()
    return arrays


def plane_box(problem: Problem) -> tuple[Array, Array]:
    """Corners of the box that the densities are drawn in.

    The truth's, or a fifth of the range around the rows, within what kinds allow.
    """
    if isinstance(problem.truth, Mixture):
        return problem.truth.box()
    rows = np.concatenate([problem.train, problem.test])
    low, high = rows.min(axis=0), rows.max(axis=0)
    bounds, inside = (
        np.array([column.bounds for column in problem.columns] or [(-np.inf, np.inf)]).T,
        1e-6 * (high - low),
    )
    return np.maximum(low - 0.2 * (high - low), bounds[0] + inside), np.minimum(
        high + 0.2 * (high - low), bounds[1] - inside
    )
