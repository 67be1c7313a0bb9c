"""The figures can be drawn of every kind of row: a reference, a flow, a model with a density that is no flow, one without a density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from flows import plotting
from flows.evaluation.calibration import LEVELS
from flows.evaluation.report import EvaluationSettings, evaluate
from flows.population import Population
from flows.realnvp import RealNVP
from flows.references import truth
from flows.targets import Array, Target, grid, ring
from stages.report import plot_arrays
from stages.settings import Evaluate

SMALL = Evaluate(fresh=500, samples=200, neighbours=5, projections=16, grid=10, seed=0)


class Sampler(Population):
    """A GAN by its interface: two members that sample and have no density."""

    def __init__(self, target: Target) -> None:
        super().__init__(2, 2, {})
        self.truth = truth(target)

    def sample(self, sample_shape: Any = (), generator: torch.Generator | None = None) -> torch.Tensor:
        return self.truth.sample((*sample_shape, 2), generator=generator).squeeze(-2)


class Density(Sampler):
    """A VAE by its interface: samples and a density, but no way from points to noise."""

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        return self.truth.log_prob(value[..., :1, :]).expand(*value.shape[:-2], 2)


def row(name: str, model: Population, target: Target, draws: int = 1) -> plotting.Row:
    rng = np.random.default_rng(1)
    settings = EvaluationSettings(**SMALL.model_dump(exclude={"grid"}))
    report = evaluate(model, target, target.sample(60, rng), settings, name=name, draws=draws)
    arrays = {**plot_arrays(model, target, 100, SMALL), **report.curves, "levels": LEVELS}
    return plotting.Row(name, report.headline, pd.DataFrame(report.members), arrays, is_model=name not in ("truth", "kde"))


@pytest.fixture(scope="module")
def rows() -> list[plotting.Row]:
    target = ring()
    flow = RealNVP(dim=2, members=3, couplings=2, hidden=4, transform="affine", bins=8, seed=0)
    flow.initialize(torch.from_numpy(target.sample(500, np.random.default_rng(0))))
    models = {"kde": truth(target), "realnvp": flow, "vae": Density(target), "gan": Sampler(target)}
    return [row("truth", truth(target), target, draws=4), *(row(name, model, target) for name, model in models.items())]


def test_a_row_holds_what_its_model_can_give(rows: list[plotting.Row]):
    keys = {row.name: set(row.arrays) - {"samples", "levels", "mode_mass"} for row in rows}
    density = {"density", "density_ensemble", "hdr"}
    assert keys == {"truth": density, "kde": density, "realnvp": density | {"path", "radius"}, "vae": density, "gan": set()}


FIGURES: dict[str, Callable[[list[plotting.Row], Path], None]] = {
    "modes": lambda rows, path: plotting.mode_bars(rows, ring().weights, 800, path),
    "quality": plotting.quality_against_diversity,
    "calibration": lambda rows, path: plotting.calibration_curves(rows, SMALL.fresh, path),
    "samples": lambda rows, path: plotting.sample_panels(rows[0].arrays["samples"], rows, path),
    "density": lambda rows, path: plotting.density_panels(rows, (-5, 5, -5, 5), path),
    "summary": plotting.summary,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_all_kinds_of_rows_is_drawn_without_a_warning(rows: list[plotting.Row], name: str, tmp_path: Path):
    FIGURES[name](rows, tmp_path / "figure.png")
    picture: Array = np.asarray(Image.open(tmp_path / "figure.png").convert("L"), dtype=np.float64)
    assert picture.shape[1] > 800
    assert picture.std() > 10  # it shows something


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_figure_that_can_not_be_written_leaves_the_last_good_one_alone(
    rows: list[plotting.Row], error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "figure.png"
    plotting.summary(rows, path)
    before = path.read_bytes()

    def fail(figure: object, unfinished: Path, **_: object) -> None:
        unfinished.write_bytes(b"half")
        raise error

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(error):
        plotting.summary(rows[:2], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.filterwarnings("error")
def test_the_modes_of_a_grid_of_25_are_drawn_without_a_warning(rows: list[plotting.Row], tmp_path: Path):
    mass = {row.name: np.full((len(row.members), 26), 1 / 26) for row in rows}
    many = [replace(row, arrays={**row.arrays, "mode_mass": mass[row.name]}) for row in rows]
    plotting.mode_bars(many, grid().weights, 800, tmp_path / "modes.png")
    assert (tmp_path / "modes.png").is_file()


@pytest.mark.filterwarnings("error")
def test_a_model_that_diverged_is_left_out_of_the_curves_without_a_warning(rows: list[plotting.Row], tmp_path: Path):
    flow = next(row for row in rows if "radius" in row.arrays)
    spoilt = {key: np.full_like(flow.arrays[key], np.nan) for key in ("hdr", "radius", "mode_mass")}
    diverged = replace(flow, members=flow.members * np.nan, arrays={**flow.arrays, **spoilt})
    for name in ("modes", "quality", "calibration", "summary"):
        FIGURES[name]([rows[0], diverged], tmp_path / f"{name}.png")
