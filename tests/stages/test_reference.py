"""The references of the pipeline on a table: mixtures on columns of several kinds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import field
from pipeline import TINY
from scipy.stats import norm

import flows
from flows import Problem
from flows.mixtures.fitting import components, fit_gaussian, fit_gmm
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.field import Field
from stages.pipeline.preparation import from_real
from stages.pipeline.report import plot_arrays
from stages.pipeline.schema import Evaluate

COLUMNS = [field("income", "positive"), field("share", "interval", 0, 1), field("height")]
one_gaussian = partial(fit_gaussian, correlated=True)


def rows(count: int = 80) -> np.ndarray:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(count, 3)) @ [[1, 0.6, 0], [0, 1, 0.5], [0, 0, 1]]
    return from_real(COLUMNS, z)


def of_table(
    columns: list[Field], values: np.ndarray, fit: Any = one_gaussian, *, margins: bool = False
) -> flows.GaussianMixture:
    return flows.GaussianMixture.fit(fit, values, ColumnMaps(columns), margins=margins)


def test_independent_gaussians_are_one_gaussian_per_column_on_the_real_line():
    train = rows()
    model = of_table(COLUMNS, train, partial(fit_gaussian, correlated=False))
    income, share, _ = train.T
    line = ColumnMaps(COLUMNS).map_rows(train[:, None])[:, 0]
    slope = -np.log(income * share * (1 - share))
    exact = norm.logpdf(line, line.mean(axis=0), line.std(axis=0)).sum(axis=1) + slope
    np.testing.assert_allclose(model.log_prob(train)[:, 0], exact, rtol=0, atol=1e-5)


def test_a_mixture_on_margins_integrates_to_1_and_samples_its_own_density():
    columns = [field("x", "positive"), field("y")]
    drawn = [np.random.default_rng(2).gamma(2, size=150), np.random.default_rng(3).normal(size=150)]
    fit = partial(fit_gmm, components=[1, 2], folds=3, seed=0, ridges=[1e-3, 1e-1])
    model = of_table(columns, np.stack(drawn, axis=1), fit, margins=True)
    x, y = np.linspace(1e-4, 40, 1000), np.linspace(-20, 20, 500)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(model.log_prob(grid)[:, 0].numpy()).reshape(1000, 500)
    mass = density * (x[1] - x[0]) * (y[1] - y[0])
    assert mass.sum() == pytest.approx(1, abs=0.01)
    sample = model.sample((4000,))[:, 0].numpy()
    assert (sample[:, 0] < 2).mean() == pytest.approx(mass[x < 2].sum(), abs=0.03)


@pytest.mark.parametrize("margins", [False, True])
def test_a_reference_survives_a_round_trip_through_a_file(tmp_path: Path, margins: bool):
    model = of_table(COLUMNS, rows(), margins=margins)
    flows.save(model, tmp_path / "reference.safetensors")
    again = flows.load(tmp_path / "reference.safetensors").population
    np.testing.assert_array_equal(again.log_prob(rows(20)), model.log_prob(rows(20)))


def test_a_mixture_for_a_table_has_at_least_five_rows_per_component():
    assert components(30, 1000) == [1, 2, 3, 4, 6, 8, 12, 16, 24]
    assert components(30, 22) == [1, 2, 3, 4]
    assert components(1, 1000) == components(30, 4) == [1]


def test_the_box_of_a_density_plot_respects_the_bounds_of_the_columns():
    train = rows()[:, :2]
    problem = Problem(train[20:], train[:20], None, ColumnMaps(COLUMNS[:2]))
    model = of_table(COLUMNS[:2], problem.train, margins=True)
    arrays = plot_arrays(model, problem, Evaluate.model_validate(yaml.safe_load(TINY)["evaluate"]))
    assert np.isfinite(arrays["density"]).all()
    assert (arrays["box"] > 0).all()
    assert (arrays["box"][:, 1] < 1).all()
