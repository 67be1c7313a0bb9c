"""Densities that are known in closed form, and a fit, for several modules."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from closed_forms import FIELDS, labelled, six_numbers
from frames import PRICES, clinic, pressures, prices
from helpers import SHORT

import flows
from flows.core.arrays import Array
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.recipe.ensemble import Ensemble
from flows.tables.columns.column_maps import ColumnMaps


@pytest.fixture(scope="module")
def truth() -> Mixture:
    """Return the true density of six numbers."""
    return six_numbers()


@pytest.fixture(scope="module")
def of_truth(truth: Mixture) -> flows.Density:
    """Return a density of six numbers whose conditionals are known."""
    return flows.Density(GaussianMixture(truth.weights, truth.means, truth.covariances))


@pytest.fixture(scope="module")
def rows(truth: Mixture) -> Array:
    """Return rows of the truth."""
    return truth.sample(200, np.random.default_rng(1))


@pytest.fixture(scope="module")
def with_labels() -> flows.Density:
    """Return a density of labels and numbers whose conditionals are known."""
    mixture = GaussianMixture.of(labelled())
    maps, of_labels = ColumnMaps(FIELDS), [labelled().marginal(0)]
    return flows.Density(Ensemble([mixture], [1.0], of_labels, maps))


@pytest.fixture(scope="module")
def of_pressures() -> flows.Density:
    """Return a fitted density of a whole number, a label and a number."""
    settings = {"recipe": "quick"}
    small = flows.NSF(couplings=4, hidden=16)
    own = {"members": 2, "mixtures": 0, "settings": settings}
    return flows.fit(pressures(), small, columns={"age": "integer"}, **own)


@pytest.fixture(scope="session")
def fitted_prices() -> flows.Density:
    return flows.fit(prices(), members=3, mixtures=0, columns=PRICES, settings=SHORT)


@pytest.fixture
def of_prices(fitted_prices: flows.Density) -> flows.Density:
    """Return a fitted density of a whole number and of three kinds of other numbers."""
    return copy.deepcopy(fitted_prices)  # tests change its weights


@pytest.fixture(scope="module")
def of_visits() -> flows.Density:
    """Return a fitted density of a target given columns with a gap and labels."""
    quick = {"recipe": "quick"}
    return flows.fit(clinic(), target="visits", members=2, settings=quick, missing="drop")
