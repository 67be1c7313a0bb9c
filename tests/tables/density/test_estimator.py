"""The estimator of scikit-learn: its checks, pipelines and searches, and tables."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import flows
from flows import DensityEstimator

SMALL = {"recipe": "quick", "couplings": 2, "hidden": 4, "bins": 3}
COLUMNS = {"visits": "integer"}


def estimator(**changes: Any) -> DensityEstimator:
    return DensityEstimator(**{"members": 2, "settings": SMALL, **changes})


def frame(count: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    height = rng.normal(170, 10, count)
    weight = 0.5 * height + rng.normal(0, 5, count)
    return pd.DataFrame({"height": height, "weight": weight, "visits": 1.0 * rng.poisson(3, count)})


@pytest.mark.slow
def test_the_estimator_passes_the_checks_of_scikit_learn():
    found = check_estimator(estimator(members=1), on_skip=None)
    assert {each["check_name"] for each in found if each["status"] != "passed"} == {
        "check_array_api_input"  # skipped unless an option of SciPy is set
    }


def test_columns_of_a_data_frame_are_found_by_name():
    table = frame()
    fitted = estimator(columns=COLUMNS, random_state=7).fit(table)
    density = flows.fit(table, members=2, columns=COLUMNS, settings=SMALL, seed=7)
    expected = density.log_prob(table)
    np.testing.assert_array_equal(fitted.score_samples(table), expected)
    other = table[table.columns[::-1]].assign(name="somebody")
    np.testing.assert_array_equal(fitted.score_samples(other), expected)
    assert fitted.score(table) == pytest.approx(expected.sum())
    assert list(fitted.feature_names_in_) == [column.name for column in density.columns]
    pd.testing.assert_frame_equal(fitted.sample(4, random_state=3), density.sample(4, seed=3))


def test_samples_after_an_array_are_arrays_and_differ_between_calls_without_a_seed():
    fitted = estimator().fit(frame().to_numpy())
    first, second = fitted.sample(5), fitted.sample(5)
    assert first.shape == (5, 3)
    assert (first[:, :2] != second[:, :2]).all()  # the third column holds whole numbers
    np.testing.assert_array_equal(fitted.sample(5, random_state=1), fitted.sample(5, 1))


@pytest.mark.slow
def test_a_pipeline_and_a_search_over_two_settings_run():
    rows = frame().to_numpy()
    line = make_pipeline(StandardScaler(), estimator()).fit(rows)
    scaled = StandardScaler().fit_transform(rows)
    alone = estimator().fit(scaled)
    np.testing.assert_array_equal(line.score_samples(rows), alone.score_samples(scaled))
    # NumPy numbers, as in many grids
    search = GridSearchCV(line, {"densityestimator__members": np.array([1, 2])}, cv=2).fit(rows)
    assert search.best_params_["densityestimator__members"] in (1, 2)
    assert search.score(rows) == search.best_estimator_.score(rows)


def test_a_fitted_estimator_can_be_pickled_and_its_density_saved(tmp_path: Path):
    rows = frame()
    fitted = estimator().fit(rows)
    joblib.dump(fitted, tmp_path / "estimator")
    fitted.density_.save(tmp_path / "density.flow")
    expected = fitted.score_samples(rows)
    for again in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "estimator")):
        np.testing.assert_array_equal(again.score_samples(rows), expected)
        pd.testing.assert_frame_equal(again.sample(3, 0), fitted.sample(3, 0))
    np.testing.assert_array_equal(flows.load(tmp_path / "density.flow").log_prob(rows), expected)
    assert clone(fitted).get_params() == fitted.get_params()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"settings": {"epochs": 9}}, "^epochs is not a known key; allowed in nsf: .* training: "),
        ({"settings": {"recipe": "fixed"}}, "^recipe = 'fixed': must be 'auto' or 'quick'$"),
        ({"model": "nfs"}, "^'nfs' is not a model of tables; these are: "),
    ],
)
def test_an_invalid_parameter_raises_a_one_line_value_error(changes: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says) as error:
        estimator(**changes).fit(frame())
    assert "\n" not in str(error.value)


def test_an_architecture_equals_its_name_with_settings():
    settings = {"recipe": "quick", "clip": 0.5}
    architecture = flows.RealNVP(couplings=2, hidden=4)
    by_object = flows.fit(frame(), architecture, members=2, settings=settings)
    own = {"couplings": 2, "hidden": 4}
    by_name = flows.fit(frame(), "realnvp", members=2, settings=settings | own)
    np.testing.assert_array_equal(by_object.log_prob(frame()), by_name.log_prob(frame()))
    assert by_object.population.description == by_name.population.description
    tables = r"conditional \(with a target\), glow, nsf, realnvp$"
    for other in (flows.GAN(), flows.VAE(), "flow_matching"):
        with pytest.raises(LookupError, match=f"is not a model of tables; these are: {tables}"):
            flows.fit(frame(), other)
    with pytest.raises(TypeError, match="must be an architecture"):
        flows.fit(frame(), flows.NSF)


@pytest.mark.slow
def test_a_search_says_each_notice_once():
    rng = np.random.default_rng(0)
    columns = {"a": rng.integers(0, 9, 90) + 0.5, "b": rng.normal(size=90).round(1)}
    frame = pd.DataFrame({**columns, "ward": rng.choice(["east", "west"], 90)})
    search = GridSearchCV(estimator(), {"members": [1, 2]}, cv=3)
    with pytest.warns(flows.TableNotice) as caught:
        search.fit(frame)
    own = [str(each.message) for each in caught if each.category is flows.TableNotice]
    assert sorted(text.split()[1] for text in own) == ["columns", "ward"]
    with pytest.warns(flows.TableNotice):  # another estimator says them again
        estimator().fit(frame)


def test_an_estimator_that_was_fitted_to_an_array_reads_a_frame_by_position():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    fitted = estimator().fit(rows)
    frame = pd.DataFrame(rows, columns=["a", "b"])
    with pytest.warns(UserWarning, match="was fitted without feature names"):
        found = fitted.score_samples(frame)
    np.testing.assert_array_equal(found, fitted.score_samples(rows))
    with pytest.raises(ValueError, match="X has 1 features, but DensityEstimator is expecting 2"):
        fitted.score_samples(frame[["a"]])


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_an_estimator_that_was_fitted_to_a_frame_reads_an_array_by_position():
    table = frame().assign(ward=np.where(np.arange(60) % 3, "east", "west"), id=range(60))
    fitted = estimator().fit(table)
    assert "id" not in fitted.density_.schema.learned
    expected = fitted.score_samples(table)
    np.testing.assert_array_equal(fitted.score_samples(table.to_numpy()), expected)
    with pytest.raises(ValueError, match=r"^X has 4 features, but .* is expecting 5 .*$"):
        fitted.score_samples(table.to_numpy()[:, :4])
