"""What ``evaluate`` and ``reference`` share: score a model and write its row of the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from flows import seeds
from flows.evaluation.calibration import LEVELS
from flows.evaluation.likelihood import ensemble, log_density
from flows.evaluation.report import EvaluationSettings, evaluate
from flows.population import Population
from flows.targets import Array, Target
from stages import files
from stages.settings import Evaluate

PATH_POINTS = 2_000


def write_report(model: Population, name: str, evaluation: Evaluate, *, draws: int = 1, columns: Mapping[str, Any] | None = None) -> None:
    """Evaluate ``model`` and write its headline, its table of members and what the figures need of it."""
    target, _ = files.read_target()
    mean, std = files.read_scaler()
    test = files.read_rows(files.TEST) * std + mean
    rows = len(test) + len(files.read_rows(files.TRAIN))
    settings = EvaluationSettings(**evaluation.model_dump(exclude={"grid"}))
    report = evaluate(model, target, test, settings, name=name, draws=draws, columns=columns)
    label = "draw" if draws > 1 else "member"
    files.write_json(files.headline(name), {key: _rounded(value) for key, value in report.headline.items()})
    count = len(report.members["kl"])
    files.write_csv(files.members(name), {label: np.arange(count), **report.members}, float_format="%.6g")
    arrays = {**plot_arrays(model, target, rows, evaluation), **report.curves, "levels": LEVELS}
    files.write_npz(files.plot_data(name), {key: array.astype(np.float32) for key, array in arrays.items()})
    broken = np.nansum(report.members["non_finite"])  # NaN: no log-densities at all
    if broken:
        print(f"{name}: {broken:.0f} log-densities were not finite, so the means over them are NaN")
    print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in report.headline.items() if value is not None))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def plot_arrays(model: Population, target: Target, rows: int, evaluation: Evaluate) -> dict[str, Array]:
    """One member's samples, its density and the ensemble's on a grid if it has one, and for a flow the way of its samples from noise to data."""
    generator = seeds.torch_generator(evaluation.seed, "plot")
    arrays: dict[str, Array] = {"samples": model.sample((rows,), generator=generator)[:, 0].double().numpy()}
    if model.has_density():
        low, high = target.box()
        axes = [np.linspace(a, b, evaluation.grid) for a, b in zip(low, high, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="xy"), axis=-1).reshape(-1, 2)
        log_q = log_density(model, points)
        shape = (evaluation.grid, evaluation.grid)
        arrays["density"] = np.exp(log_q[:, 0]).reshape(shape)
        arrays["density_ensemble"] = np.exp(ensemble(log_q)[:, 0]).reshape(shape)
    path = getattr(model, "path", None)  # a flow has one; not asked by its class, so that a reference need not import the bijections
    if path is not None:
        with torch.no_grad():
            states = path((PATH_POINTS,), seeds.torch_generator(evaluation.seed, "plot", 1))
        # Without the last step, which only changes the units: all states then share one scale.
        arrays["path"] = torch.stack([state[:, 0] for state in states[:-1]]).double().numpy()
    return arrays
