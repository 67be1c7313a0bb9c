"""The regressor of scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

import flows
from flows.core.errors import UserError


def quick_regressor(**changes: Any) -> flows.DensityRegressor:
    settings = {"recipe": "quick", "hidden": 8, "bins": 3}
    return flows.DensityRegressor(**{"members": 1, "settings": settings, **changes})


@pytest.mark.slow
def test_the_regressor_follows_the_interface_of_scikit_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(quick_regressor(), on_skip=None)
    assert {each["check_name"] for each in found if each["status"] != "passed"} == {
        "check_array_api_input"  # skipped unless an option of SciPy is set
    }


def test_the_regressor_returns_means_quantiles_densities_and_samples():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=300), "target": rng.normal(size=300)})
    y = 2 * X["a"] + 0.2 * rng.normal(size=300)
    regressor = quick_regressor().fit(X, y)
    assert regressor.score(X, y) > 0.95
    quantiles = regressor.predict_quantiles(X, [0.1, 0.9])
    inside = (quantiles[:, 0] <= y) & (y <= quantiles[:, 1])
    assert inside.mean() == pytest.approx(0.8, abs=0.1)
    assert regressor.log_prob(X, y).mean() > norm.logpdf(0.2, scale=0.2)
    drawn = regressor.sample(X[:5], 100, random_state=0)
    np.testing.assert_allclose(drawn.mean(axis=1), regressor.predict(X[:5]), atol=0.15)
    with pytest.raises(NotFittedError):
        quick_regressor().predict(X)
    with pytest.raises(UserError, match="a regressor needs a target of numbers"):
        quick_regressor(kind="category").fit(X, y)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
@pytest.mark.parametrize("names", [["ward", "a"], [3, 1]])
def test_arrays_are_read_by_position_after_a_fit_to_a_frame(names):
    rng = np.random.default_rng(0)
    first = rng.choice(["east", "west"], 60) if names[0] == "ward" else rng.normal(size=60)
    X = pd.DataFrame({names[0]: first, names[1]: rng.normal(size=60)}, index=range(5, 65))
    y = rng.normal(size=60)
    regressor = quick_regressor().fit(X, y)
    asks = [
        regressor.predict,
        regressor.predict_quantiles,
        lambda rows: regressor.score(rows, y),
        lambda rows: regressor.log_prob(rows, y),
        lambda rows: regressor.sample(rows, 2, random_state=0),
    ]
    for ask in asks:
        for rows in (X.to_numpy(), X.to_numpy().tolist()):
            np.testing.assert_array_equal(ask(rows), ask(X))
        for wrong in (X.to_numpy()[:, :1], X.assign(more=y).to_numpy()):
            with pytest.raises(ValueError, match=r"^X has \d features, but .* expecting 2 .*\.$"):
                ask(wrong)
