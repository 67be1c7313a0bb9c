"""Conditional flows: a context in the library, and fits of a target given other columns."""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from frames import clinic
from helpers import SHORT_RECIPE, answered, error_message, field, short_recipe
from scipy.stats import norm
from shaking import shake
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

import flows
from flows.__main__ import main
from flows.core.errors import UserError
from flows.density.asking import run
from flows.density.collector import Collector
from flows.density.pictures import target_along
from flows.density.questions.predict import Predict
from flows.density.questions.score import Score
from flows.density.questions.surprise import Surprise
from flows.networks.backend import backend
from flows.posterior.region import Region
from flows.posterior.target import TargetPosteriors
from flows.posterior.target_population import TargetPopulation
from flows.tables.column_maps import ColumnMaps
from flows.tables.notices import TableError

QUICK = {"recipe": "fixed", "epochs": 3}


def shaken(architecture: flows.Architecture, features: int, context: int = 2) -> Any:
    """Return a population whose parameters are far from the identity."""
    return shake(flows.build(architecture, (features,), members=3, context=context), 0.1, seed=0)


ARCHITECTURES = [flows.Conditional(), flows.NSF(couplings=3), flows.RealNVP(couplings=3)]


@pytest.fixture(scope="module")
def of_number() -> flows.Density:
    settings = {"recipe": short_recipe(steps=200)}
    return flows.fit(clinic(), target="visits", members=5, settings=settings)


@pytest.fixture(scope="module")
def of_label() -> flows.Density:
    settings = {"recipe": short_recipe(steps=50)}
    return flows.fit(clinic(), target="state", members=5, settings=settings)


# Networks


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("features", [1, 2, 3])
def test_c_and_pytorch_agree_on_a_conditional_density(architecture, features):
    population = shaken(architecture, features)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=(20, features))
    with backend.reference_code():
        expected = population.log_prob(y, context=x)
    torch.testing.assert_close(population.log_prob(y, context=x), expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: type(each).__name__)
def test_a_conditional_density_has_mass_1_in_every_context(architecture):
    population, grid = shaken(architecture, 1), np.linspace(-30, 30, 20_001)[:, None]
    for x in ([0.0, 0.0], [2.0, -1.0]):
        density = population.log_prob(grid, context=np.tile(x, (len(grid), 1))).exp()
        np.testing.assert_allclose(density.sum(0) * (60 / 20_000), 1.0, atol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("features", [1, 3])
def test_encode_inverts_decode_in_a_context(architecture, features):
    population = shaken(architecture, features)
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(20, 2)), rng.normal(size=(20, 3, features))
    y = population.decode(noise, x)
    np.testing.assert_allclose(population.encode(y, context=x), noise, atol=1e-4)


def test_samples_follow_the_conditional_density():
    population = shaken(flows.Conditional(), 1)
    x = np.array([[0.5, -1.0]])
    drawn = population.sample((4_000,), np.random.default_rng(0), context=x)[:, 0, :, 0]
    assert drawn.shape == (4_000, 3)
    u = norm.cdf(population.encode(drawn[:, :, None], context=x.repeat(4_000, axis=0))[:, :, 0])
    np.testing.assert_allclose(u.mean(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(u.std(axis=0), 12**-0.5, atol=0.02)


def test_each_member_may_have_its_own_context():
    population = shaken(flows.Conditional(), 1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3, 2)), rng.normal(size=(7, 1))
    own = population.log_prob(y, context=x)
    for m in range(3):
        expected = population.log_prob(y, context=x[:, m])[:, m]
        torch.testing.assert_close(own[:, m], expected)


def test_a_conditional_loss_has_the_gradient_of_the_mean_log_density():
    population = shaken(flows.Conditional(), 2)
    z = torch.randn(3, 4, 50, generator=torch.Generator().manual_seed(1))
    _, gradient = population.loss(z)
    loss = -population.log_density(z).mean(1).sum()
    expected = torch.autograd.grad(loss, list(population.parameters()))
    flat = torch.cat([each.flatten(1) for each in expected], dim=1)
    torch.testing.assert_close(gradient, flat.float(), rtol=1e-3, atol=1e-4)


def test_a_context_is_needed_exactly_if_the_network_has_one():
    population, plain = shaken(flows.Conditional(), 1), flows.build(flows.NSF(), (2,))
    for ask in (lambda: population.log_prob([[0.0]]), lambda: population.sample((2,))):
        with pytest.raises(ValueError, match="has a context of 2 numbers"):
            ask()
    with pytest.raises(ValueError, match="built without a context"):
        plain.log_prob([[0.0, 0.0]], context=[[1.0]])
    with pytest.raises(ValueError, match="context = 2: must be 0"):
        flows.build(flows.Glow(), (2,), context=2)
    with pytest.raises(ValueError, match="needs a context"):
        flows.build(flows.Conditional(), (2,))
    with pytest.raises(ValueError, match=r"context: expected rows of shape \(n, 2\)"):
        population.log_prob([[0.0]], context=[[1.0, 2.0, 3.0]])


def test_the_fixed_recipe_trains_a_network_with_a_context():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = x[:, :1] + 0.3 * rng.normal(size=(400, 1))
    population = flows.build(flows.Conditional(), (1,), members=2, context=2)
    settings = flows.TrainingSettings(epochs=30, noise=0)
    flows.train(population, np.concatenate([x, y], axis=1), settings=settings)
    entropy = 0.5 * np.log(2 * np.pi * np.e * 0.3**2)
    assert (population.history["train_nll"][-1] < entropy + 0.1).all()


def test_a_gap_in_the_point_is_refused():
    population = flows.build(flows.Conditional(), (1,), members=5, context=1)
    rows = np.random.default_rng(0).normal(size=(50, 2))
    rows[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3 of train has a gap in the point"):
        flows.train(population, rows, settings=flows.TrainingSettings(recipe="auto"))


# Factors


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


# Fits


def test_a_fit_is_better_than_its_references(of_number):
    record = of_number.record
    assert of_number.targets == ["visits"]
    assert list(record.references) == ["a Gaussian without x", "a linear Gaussian"]
    assert record.held_out > max(record.references.values())
    fresh = clinic(400, seed=1)
    visits = fresh["visits"].to_numpy()
    mean = np.exp(fresh["age"] / 40 + 0.5 * (fresh["ward"] == "b"))
    from scipy.stats import poisson

    gap = poisson.logpmf(visits, mean).mean() - of_number.log_prob(fresh).mean()
    assert -0.02 < gap < 0.2


def test_probabilities_of_a_rounded_target_sum_to_1(of_number):
    rows = clinic(1).drop(columns="visits").fillna(0.0)
    repeated = rows.loc[rows.index.repeat(80)].assign(visits=np.arange(80))
    assert np.exp(of_number.log_prob(repeated)).sum() == pytest.approx(1, abs=2e-3)


def test_a_prediction_agrees_with_the_density(of_number):
    rows = clinic(3, seed=2).drop(columns="visits").fillna(0.0)
    predicted = of_number.predict(rows)
    for k in range(3):
        visits = np.arange(80)
        share = np.exp(of_number.log_prob(rows.iloc[[k] * 80].assign(visits=visits)))
        mean = share @ visits
        assert predicted["mean"].iloc[k] == pytest.approx(mean, rel=0.02)
        sd = np.sqrt(share @ (visits - mean) ** 2 + 1 / 12)  # values spread over their cells
        assert predicted["sd"].iloc[k] == pytest.approx(sd, rel=0.05)
        below = share[: int(predicted["q0.5"].iloc[k]) + 1].sum()
        assert below > 0.48


def test_label_probabilities_sum_to_1_and_are_those_of_log_prob(of_label):
    rows = clinic(20, seed=2)
    predicted = of_label.predict(rows)
    assert list(predicted) == ["ill", "well", "effective_draws"]
    np.testing.assert_allclose(predicted[["ill", "well"]].sum(axis=1), 1, atol=1e-6)
    complete = rows.dropna().index
    own = [predicted.loc[k, rows.loc[k, "state"]] for k in complete]
    np.testing.assert_allclose(np.exp(of_label.log_prob(rows.loc[complete])), own, atol=1e-6)
    right = predicted["ill"].gt(0.5) == rows["state"].eq("ill")
    assert right.mean() > 0.7


def test_missing_values_of_the_context_are_averaged_with_a_standard_error(of_number):
    rows = clinic(60, seed=3)
    log_q, error = of_number.log_prob_and_error(rows)
    gap = rows["dose"].isna().to_numpy()
    assert np.isfinite(log_q).all()
    assert gap.any()
    assert (error[~gap] == 0).all()
    assert (error[gap] > 0).all()
    assert (error < 0.1).all()
    # The answer for a row does not depend on other rows
    np.testing.assert_array_equal(of_number.log_prob(rows[:30]), log_q[:30])


def test_an_unknown_label_of_the_context_is_treated_as_missing(of_number, capsys):
    row = clinic(1).fillna(0.0)
    log_q, error = of_number.log_prob_and_error(row.assign(ward="elsewhere"))
    assert np.isfinite(log_q).all()
    assert error > 0
    assert "treated as unknown" in capsys.readouterr().err
    missing = of_number.log_prob(row.assign(ward=None))
    np.testing.assert_array_equal(log_q, missing)


def test_rows_without_a_target_are_left_out(capsys):
    frame = clinic(80)
    frame.loc[:4, "visits"] = np.nan
    density = flows.fit(frame, target="visits", members=2, settings=QUICK, missing="drop")
    assert density.record.rows == len(frame.dropna()) < 75
    learned = flows.fit(frame, target="visits", members=2, settings=SHORT_RECIPE)
    assert learned.record.rows == 75
    assert "5 rows without a target value are left out" in capsys.readouterr().err
    found = learned.log_prob(frame)
    assert np.isnan(found[:5]).all()
    assert np.isfinite(found[5:]).all()


def test_samples_keep_the_given_values(of_number):
    drawn = of_number.sample(200, given={"age": 40.0, "ward": "a"})
    assert (drawn["age"] == 40).all()
    assert (drawn["ward"] == "a").all()
    assert drawn["visits"].mean() == pytest.approx(np.e, abs=0.7)
    assert list(drawn) == list(clinic(1))
    rows = clinic(30, seed=4)
    per_row = of_number.sample(given=rows.drop(columns="visits"))
    pd.testing.assert_series_equal(per_row["age"], rows["age"])
    assert per_row["visits"].notna().all()


def test_missing_targets_can_be_imputed(of_number):
    rows = clinic(10, seed=5).fillna(0.0).astype({"visits": float})
    rows.loc[2, "visits"] = np.nan
    filled = of_number.impute(rows)
    assert filled["visits"].notna().all()
    pd.testing.assert_frame_equal(filled.drop(index=2), rows.drop(index=2))


def test_surprise_and_tail_probability_find_an_odd_target(of_number):
    rows = clinic(5, seed=6).fillna(0.0)
    rows["visits"] = [2, 3, 2, 90, 3]
    surprise = of_number.surprise(rows)
    assert surprise["visits"].idxmax() == 3
    assert surprise.drop(columns="visits").isna().all(axis=None)
    tail = of_number.tail_probability(rows)
    assert tail.argmin() == 3
    assert tail[3] < 0.03


def test_a_file_holds_the_density_of_a_target(of_label, tmp_path):
    of_label.save(tmp_path / "t.flow")
    loaded = flows.load(tmp_path / "t.flow")
    assert isinstance(loaded, flows.Density)
    rows = clinic(20, seed=7)
    np.testing.assert_array_equal(loaded.log_prob(rows), of_label.log_prob(rows))
    assert repr(loaded) == repr(of_label)
    of_label.save(tmp_path / "again.flow")
    assert (tmp_path / "again.flow").read_bytes() == (tmp_path / "t.flow").read_bytes()


def test_several_targets_have_a_joint_density():
    frame = clinic(80)
    how = {"members": 2, "settings": QUICK, "missing": "drop"}
    density = flows.fit(frame, target=["visits", "state"], **how)
    assert density.targets == ["visits", "state"]
    row = frame.dropna()[:1]
    repeated = row.loc[row.index.repeat(160)].assign(
        visits=np.arange(80).repeat(2), state=["ill", "well"] * 80
    )
    assert np.exp(density.log_prob(repeated)).sum() == pytest.approx(1, abs=0.01)
    predicted = density.predict(row)
    assert list(predicted)[:2] == ["visits_mean", "visits_sd"]
    assert predicted[["state_ill", "state_well"]].sum(axis=1).item() == pytest.approx(1)
    one = density.predict(row, "visits")
    assert one["mean"].item() == pytest.approx(predicted["visits_mean"].item())
    assert density.surprise(row)[["visits", "state"]].notna().all(axis=None)
    assert density.sample(5, given={"age": 50.0})["state"].isin(["ill", "well"]).all()


def test_notices_and_progress_count_each_row_once_for_all_targets(monkeypatch, capsys):
    how = {"members": 1, "settings": QUICK, "missing": "drop"}
    density = flows.fit(clinic(80), target=["visits", "state"], **how)
    rows = clinic(3).fillna(0.0).assign(ward=["elsewhere", "a", "b"], age=[40.0, 1e6, 1e6])
    capsys.readouterr()
    counted: list[int] = []
    collector, question = Collector(), Predict(density.targets)
    how = {"on_rows": counted.append}
    [(asked, answer)] = run(question, density._array, [rows], collector, **how)
    predicted = question.added(density._array, asked, answer)
    assert counted == [3]
    said = "\n".join(notice.problem for notice in collector.notices())
    assert "holds elsewhere, which is not one of its labels (a, b); the value is treated as" in said
    assert "is given as 1e+06 and 1 more, far outside" in said
    single = density.predict(rows, "state")
    pd.testing.assert_frame_equal(predicted[["state_ill"]], single[["ill"]].add_prefix("state_"))
    monkeypatch.setattr("flows.density.question.ENOUGH", 10**9)
    density.predict(given={"age": 40.0})
    assert "the predictions of 1 of 1 rows are rough" in capsys.readouterr().err


def test_a_target_is_plotted_over_rows_with_a_new_label_in_another_column(of_number):
    rows = clinic(4, seed=8).assign(age=[30.0, 40.0, 50.0, 60.0], visits=[1, 2, 3, 2.5])
    new, unknown = (
        of_number.plot(rows.assign(ward=[label, "a", "b", "b"]), along="age")._repr_png_()
        for label in ("elsewhere", None)
    )
    of_number.plot(rows[:2])._repr_png_()  # two rows have no rank correlation
    with pytest.raises(UserError, match="column ward holds no value to draw a target along"):
        of_number.plot(rows.assign(ward="another"), along="ward")
    assert new == unknown
    # Also if no label is known
    array = of_number._array
    numbers = np.tile(answered(of_number, Surprise(), rows)[0].region.rows, (2, 1))
    numbers[:, array.names.index("ward")] = np.nan
    _, _, [bands] = target_along(array, numbers)
    assert np.isfinite(bands).all()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda d: d.sample(3), "is conditional: give values of other columns"),
        (lambda d: d.impute(clinic(20)), "column dose has missing values and is not a target"),
        (lambda d: d.predict(clinic(3), "age"), "column age is not a target"),
        (lambda d: d.log_prob(clinic(3), given=["age"]), "conditional on all other columns"),
        (lambda d: d.sample(given=clinic(20)), "a known target has no value of dose; only visits"),
    ],
)
def test_questions_without_a_meaning_name_the_alternative(of_number, ask, message):
    with pytest.raises(UserError, match=message):
        ask(of_number)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": "weight"}, TableError, "there is no column weight"),
        ({"target": ["age", "age"]}, TableError, "column age is named as a target more than once"),
        ({"target": list(clinic(1))}, TableError, "every column is a target"),
        ({"target": "age", "model": "glow"}, ValueError, "a target needs one of conditional, nsf"),
        ({"target": ["age", "dose"], "model": "nsf"}, ValueError, "several targets need"),
        ({"model": "conditional"}, ValueError, "needs a target"),
        ({"target": "age", "group": "age"}, TableError, "column age cannot be a target"),
    ],
)
def test_wrong_targets_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        flows.fit(clinic(40), **arguments)


def test_inspect_shows_what_a_target_is_learned_from():
    found = flows.inspect(clinic(), target="visits")
    assert found.loc["visits", "use"] == "learned"
    assert set(found["use"].drop("visits")) == {"given"}


def test_rounded_values_of_the_context_are_not_spread(capsys):
    frame = clinic(80).assign(age=lambda f: f["age"].round())
    flows.fit(frame, target="state", members=2, settings=QUICK, missing="drop")
    assert "age holds" not in capsys.readouterr().err


def test_a_target_may_be_a_function_of_the_context():
    rows = np.random.default_rng(0).normal(size=(100, 2))
    frame = pd.DataFrame({"a": rows[:, 0], "b": rows[:, 1], "y": rows.sum(axis=1)})
    settings = {"recipe": "fixed", "epochs": 100, "noise": 0}
    density = flows.fit(frame, target="y", members=2, settings=settings)
    np.testing.assert_allclose(density.predict(frame)["mean"], frame["y"], atol=0.3)


# The command line


def refused(*words: str) -> str:
    """Return the error line of a command."""
    return error_message(main, words, error=SystemExit)


def test_the_verbs_of_the_command_line_know_the_target(tmp_path, capsys):
    source, model, picture = (str(tmp_path / name) for name in ("t.csv", "t.flow", "p.png"))
    clinic(80).dropna().to_csv(source, index=False)
    fit = ["fit", source, "--target", "visits", "-o", model, "--members", "2"]
    main([*fit, "-S", "recipe=fixed", "-S", "epochs=3"])
    for verb in (
        ["predict", model, source],
        ["score", model, source, "--anomalies", "3"],
        ["sample", model, "-n", "4", "--given", "age=30"],
    ):
        capsys.readouterr()
        main(verb)
        lines = capsys.readouterr().out.splitlines()
        assert "visits" in lines[0]
        assert len(lines) > 3
    assert "fit the table without a target" in refused("sample", model)
    plot = ["plot", model, source, "-o", picture]
    density, frame = flows.load(model), pd.read_csv(source)
    for extra, arguments in (
        ([], {}),
        (["--along", "ward"], {"along": "ward"}),
        (["--row", "2"], {"row": 2}),
    ):
        main([*plot, *extra])
        figure = density.plot(frame.set_axis(range(1, len(frame) + 1)), **arguments)
        assert figure._repr_png_() == Path(picture).read_bytes()
        height, width, _ = plt.imread(picture).shape
        assert width > 600
        assert height > 200
    assert "is a target; name another column" in refused(*plot, "--along", "visits")
    with pytest.raises(UserError, match=r"along = 'visits': is a target; name another column"):
        density.plot(frame, along="visits")


def test_predict_needs_a_column_without_a_target(tmp_path):
    source, model = str(tmp_path / "t.csv"), str(tmp_path / "t.flow")
    clinic(60).dropna().to_csv(source, index=False)
    quick = ["-S", "recipe=fixed", "-S", "epochs=1", "--members", "1"]
    main(["fit", source, "-o", model, *quick])
    assert "--column is needed" in refused("predict", model, source)
    picture = str(tmp_path / "p.png")
    assert "the density has no target" in refused(
        "plot", model, source, "-o", picture, "--along", "age"
    )


# scikit-learn


def quick_regressor(**changes: Any) -> flows.DensityRegressor:
    settings = {"hidden": 8, "bins": 3, "learning_rate": 0.02, "noise": 0}
    how: dict[str, Any] = {"recipe": "fixed", "epochs": 100, "members": 1, "settings": settings}
    return flows.DensityRegressor(**{**how, **changes})


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


def test_predictions_and_samples_given_a_row_with_a_gap_have_enough_draws(
    of_number, of_label, capsys
):
    how = {"members": 1, "settings": QUICK, "missing": "drop"}
    several = flows.fit(clinic(80), target=["visits", "state"], **how)
    gaps = clinic().query("dose.isna()").head(3)
    capsys.readouterr()
    for density in (of_number, of_label, several):
        predicted = density.predict(gaps).filter(like="effective_draws")
        assert (predicted >= 100).all(axis=None)
        drawn = density.sample(500, given={"age": 40.0})
        assert drawn["dose"].nunique() == 500
    assert capsys.readouterr().err == ""
    complete = of_number.predict(clinic().dropna().head(3))
    assert complete["effective_draws"].isna().all()


def test_a_prediction_given_a_gap_is_the_average_over_the_missing_value(of_number, of_label):
    for density, name in ((of_number, "ward"), (of_label, "age")):
        array, d = density._array, len(density.columns) - 1
        [target], frame = density.targets, clinic(4, seed=2).fillna(0.0).assign(**{name: None})
        question, posteriors = Predict([target], [0.5]), TargetPosteriors(array.population)
        asked, answer = answered(density, question, frame)
        parts = zip(asked.region.rows, answer[target], answer.effective, strict=True)
        for row, own, draws in parts:
            x, _ = posteriors._contexts(row[:d], {}, 2_000, np.random.default_rng(1))
            complete = np.column_stack([x, np.full(len(x), np.nan)])
            each = question.answer(array, Region.of_rows(complete))[target]
            if density is of_number:  # means, deviations and medians
                mean, second = each[:, 0], each[:, 0] ** 2 + each[:, 1] ** 2
                sd = np.sqrt(second.mean() - mean.mean() ** 2)
                assert own[1] == pytest.approx(sd, rel=0.1)
            else:
                mean = each[:, 0]
            assert abs(own[0] - mean.mean()) < 5 * mean.std() / np.sqrt(draws) + 0.005 * own[0]


def test_the_surprise_of_a_target_has_the_effective_draws_of_its_log_density(of_number):
    score, surprise = (
        answered(of_number, each, clinic()[:40])[1] for each in (Score(), Surprise())
    )
    assert np.isfinite(surprise.effective).any()
    np.testing.assert_array_equal(surprise.effective, score.effective)


def test_complete_rows_are_scored_without_the_distribution_of_unknown_values(of_number):
    density = flows.Density(of_number.population)
    density.log_prob(clinic().dropna())
    assert "distilled" not in vars(density._array)
