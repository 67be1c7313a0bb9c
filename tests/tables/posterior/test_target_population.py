"""The factors of a conditional flow over a table."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from helpers import field
from shaking import shake

import flows
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.posterior.target_population import TargetPopulation


def mixed() -> tuple[TargetPopulation, np.ndarray]:
    """Return a population of a label, a positive number and a count given two columns, and rows."""
    columns = [
        field("a"),
        field("b", kind="positive"),
        field("label", kind="category", step=1.0, labels=("u", "v", "w")),
        field("size", kind="positive"),
        field("count", kind="count", step=1.0),
    ]
    rng, n = np.random.default_rng(0), 300
    numbers = [rng.normal(size=n), rng.gamma(2, 1, n), rng.integers(0, 3, n)]
    rows = np.column_stack([*numbers, rng.gamma(3, 1, n), rng.poisson(3, n)])
    population: Any = flows.build(
        flows.Conditional(), (3,), members=2, context=2, to_real=ColumnMaps(columns)
    )
    preprocessing = population.preprocessing
    preprocessing.add_margins()
    preprocessing.add_whitening()
    preprocessing.fit(rows[:, None], margins=True, whiten=True)
    return TargetPopulation.of(shake(population, 0.05, seed=0), rows, 0), rows


def test_the_factors_of_the_chain_rule_multiply_to_the_density():
    population, rows = mixed()
    x, y = rows[:20, :2], rows[:20, 2:]
    factors = population.flow.log_factors(y, x)
    joint = population.flow.log_prob(y, context=x)
    np.testing.assert_allclose(factors.sum(2), joint, atol=1e-5)


def test_probabilities_of_cells_and_densities_have_mass_1_together():
    population, rows = mixed()
    sizes = np.geomspace(1e-3, 200, 300)
    cells = [(*rows[0, :2], *each) for each in product(range(3), sizes, range(40))]
    q = np.exp(population.log_factors(np.array(cells)).sum(axis=2))
    mass = np.trapezoid(q.reshape(3, 300, 40, 2), sizes, axis=1).sum(axis=(0, 1))
    np.testing.assert_allclose(mass, 1, atol=1e-3)


def test_samples_have_the_probabilities_of_labels():
    population, rows = mixed()
    x = rows[:1, :2]
    drawn = population.flow.sample((4_000,), np.random.default_rng(0), context=x)[:, 0, 0]
    share = np.bincount(drawn[:, 0].numpy().astype(int), minlength=3) / 4_000
    asked = np.array([[*x[0], label, 2.0, 3.0] for label in range(3)])
    np.testing.assert_allclose(share, np.exp(population.log_factors(asked)[:, 0, 0]), atol=0.03)
