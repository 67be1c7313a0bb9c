"""Conditionals, marginals, draws and surprises of a density, compared with closed forms."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import field
from scipy import stats

import flows
from flows.core.errors import UserError
from flows.core.seeds import numpy_generator
from flows.density.array_density import ArrayDensity
from flows.density.frame_density import Density
from flows.density.questions.predict import _moments
from flows.density.questions.score import Score
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Conditional, Mixture
from flows.posterior.importance import Draws, effective
from flows.posterior.posterior import Posterior
from flows.posterior.quadrature import integrate
from flows.posterior.region import Region
from flows.tables.column_maps import ColumnMaps

DIM = 6
NAMES = [f"x{d}" for d in range(DIM)]


@pytest.fixture(scope="module")
def truth() -> Mixture:
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((3, DIM, DIM)) / np.sqrt(DIM)
    covariances = factors @ factors.transpose(0, 2, 1) + 0.05 * np.eye(DIM)
    return Mixture(np.array([0.5, 0.3, 0.2]), rng.uniform(-2, 2, (3, DIM)), covariances)


@pytest.fixture(scope="module")
def density(truth: Mixture) -> Density:
    """Return a density whose conditionals are known."""
    return Density(GaussianMixture(truth.weights, truth.means, truth.covariances))


@pytest.fixture(scope="module")
def rows(truth: Mixture) -> np.ndarray:
    return truth.sample(200, np.random.default_rng(1))


def hidden(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the rows with ``count`` unknown values in each row."""
    rng = np.random.default_rng(count)
    order = np.argsort(rng.random(rows.shape), axis=1)
    return np.where(order < count, np.nan, rows)


def exact(truth: Mixture, row: np.ndarray) -> Conditional:
    return truth.conditional(np.nan_to_num(row[None]), np.isnan(row))


def test_one_unknown_column_is_integrated_out(truth, density, rows):
    gaps = hidden(rows, 1)
    log_q, error = density.log_prob_and_error(gaps)
    wanted = [exact(truth, row).log_evidence[0] for row in gaps]
    assert np.abs(log_q - wanted).max() < 0.02
    assert (error == 0).all()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_standard_errors_for_several_unknown_columns_are_honest(truth, density, rows, count):
    gaps = hidden(rows[:100], count)
    log_q, error = density.log_prob_and_error(gaps)
    wanted = np.array([exact(truth, row).log_evidence[0] for row in gaps])
    inside = (np.abs(log_q - wanted) < 1.645 * error).sum()
    low, high = stats.binom.interval(0.999, len(gaps), 0.9)
    assert low <= inside <= high
    assert error.mean() < 0.06


def test_the_chain_rule_holds_in_two_orders(density, rows):
    few, array = rows[:30], ArrayDensity(density.population)

    def joint(first: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
        known = np.where(first, few, np.nan)
        gaps = np.where(np.arange(DIM) < 4, few, np.nan)
        numbers = start + np.arange(len(few))  # other draws for each part
        given = [name for name, own in zip(NAMES, first, strict=True) if own]
        parts = [
            Score().answer(array, Region(known, numbers)),
            Score(given).answer(array, Region(gaps, numbers + 1000)),
        ]
        log_q = sum(part["members"][:, 0] for part in parts)
        return log_q, np.hypot(parts[0]["error"], parts[1]["error"])

    one, error = joint(np.arange(DIM) < 2, 0)
    other, more = joint(np.isin(np.arange(DIM), [2, 3]), 5000)
    assert (np.abs(one - other) < 4 * np.hypot(error, more)).all()
    assert (one != other).any()


def test_conditional_log_densities_are_not_optimistic(truth, density, rows):
    given, rows = NAMES[:2], rows[:100]
    found = density.log_prob(rows, given=given)
    gaps = np.where(np.arange(DIM) < 2, rows, np.nan)
    wanted = truth.log_prob(rows) - [exact(truth, row).log_evidence[0] for row in gaps]
    assert abs((found - wanted).mean()) < 0.02
    assert np.exp(found - wanted).mean() < 1.02


def test_draws_follow_the_conditional(truth, density):
    drawn = density.sample(2000, given={"x0": 1.0, "x2": -0.5}, seed=3)
    assert (drawn["x0"] == 1.0).all()
    row = np.array([1.0, np.nan, -0.5, np.nan, np.nan, np.nan])
    mean, deviation = exact(truth, row).moments()
    unknown = drawn.drop(columns=["x0", "x2"])
    error = deviation[0] / np.sqrt(len(drawn) / 4)  # draws are resampled
    assert (np.abs(unknown.mean() - mean[0]) < 4 * error).all()
    assert np.allclose(unknown.std(), deviation[0], rtol=0.1)


def test_redrawing_columns_preserves_the_joint_density(density, rows):
    whole = density.sample(300, seed=1)
    again = density.sample(given=pd.DataFrame(hidden(whole.to_numpy(), 3), columns=whole.columns))
    fresh = density.sample(1000, seed=2)
    direction = np.random.default_rng(0).standard_normal((20, DIM))
    p = [
        stats.ks_2samp(fresh.to_numpy() @ each, again.to_numpy() @ each).pvalue
        for each in direction
    ]
    assert min(p) > 1e-4


def test_predictions_match_the_exact_conditional(truth, density, rows):
    few = rows[:50]
    found = density.predict(few, "x3", quantiles=[0.05, 0.5])
    for k, row in enumerate(few):
        mixture = exact(truth, np.where(np.arange(DIM) == 3, np.nan, row))
        mean, deviation = (each[0, 0] for each in mixture.moments())
        assert found["mean"].iat[k] == pytest.approx(mean, abs=0.03 * deviation)
        assert found["sd"].iat[k] == pytest.approx(deviation, rel=0.05)
        below = stats.norm.cdf(
            found["q0.05"].iat[k], mixture.means[0, :, 0], mixture.factors[:, 0, 0]
        )
        assert np.exp(mixture.log_weights[0]) @ below == pytest.approx(0.05, abs=0.02)
    assert found["effective_draws"].isna().all()


def test_impute_fills_only_missing_values(density, rows):
    frame = pd.DataFrame(hidden(rows[:20], 2), columns=NAMES).assign(note="as it is")
    filled = density.impute(frame)
    assert not filled.isna().any().any()
    assert filled["note"].eq("as it is").all()
    kept = frame.notna()
    assert filled.where(kept).equals(frame.where(kept))
    versions = density.impute(frame, draws=3)
    assert len(versions) == 3
    assert not versions[0].equals(versions[1])
    middle = np.median([each[NAMES] for each in density.impute(frame, draws=50)], axis=0)
    apart = np.abs(middle - filled[NAMES]).to_numpy()[~kept[NAMES].to_numpy()]
    assert np.median(apart) < 0.3  # medians of fifty draws with deviations of about 1


def test_a_swapped_value_has_the_largest_surprise(density, rows):
    frame = pd.DataFrame(rows[:60], columns=NAMES)
    frame.loc[::2, "x1"] = 40.0
    surprise = density.surprise(frame)
    assert (surprise.loc[::2].to_numpy().argmax(axis=1) == 1).all()
    assert surprise.loc[1::2].to_numpy().mean() < 0 < surprise.loc[::2, "x1"].min()
    frame.loc[0, "x4"] = np.nan
    assert np.isnan(density.surprise(frame.head(1))["x4"].iat[0])


def test_importance_sampling_adapts_to_a_wrong_first_proposal():
    """The integral is 1, over ten coordinates; the first proposal has a wrong mean and scale."""
    mean, deviation = np.full(10, 1.0), 0.4
    generator = numpy_generator(0, "unknown")
    draws = Draws(generator, np.ones(1))
    first = stats.multivariate_normal(np.zeros(10), np.eye(10))
    target = stats.multivariate_normal(mean, deviation**2 * np.eye(10))
    for count in [512] * 8:
        adapted = draws.propose(count)
        z = first.rvs(count, random_state=generator) if adapted is None else adapted
        draws.add(z, first.logpdf(z), target.logpdf(z)[:, None], z)
    weights = np.exp(draws.log_weights[:, 0])
    assert effective(draws.log_weights[:, 0]) > 1000
    assert weights.mean() == pytest.approx(1, abs=0.05)


def test_quadrature_finds_narrow_peaks():
    widths, centres = np.array([0.3, 0.01, 0.002]), np.array([0.5, 0.21, 0.7])

    def log_integrand(row, u):
        log_f = stats.norm.logpdf(u, centres[row][:, None], widths[row][:, None])
        return np.stack([log_f, log_f + 900], axis=-1)

    nodes = integrate(log_integrand, 3, 1e-6)
    found = nodes.log_integral(3)
    wanted = stats.norm.cdf((1 - centres) / widths) - stats.norm.cdf(-centres / widths)
    assert np.allclose(found[:, 0], np.log(wanted), atol=1e-5)
    assert np.allclose(found[:, 1] - 900, np.log(wanted), atol=1e-5)


def patients(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 80, n)
    price = np.exp(age / 40 + 0.2 * rng.standard_normal(n))
    return pd.DataFrame({"age": age, "price": price, "size": price * rng.uniform(0.9, 1.1, n)})


@pytest.fixture(scope="module")
def positive() -> Density:
    settings = {"recipe": "fixed", "epochs": 40}
    kinds = dict.fromkeys(["age", "price", "size"], "positive")
    return flows.fit(patients(), columns=kinds, members=2, settings=settings)


def test_an_extreme_value_gives_finite_results(positive):
    """Normal scores of a positive column can be so large that the value overflows."""
    row = pd.DataFrame({"age": [np.nan, 50.0], "price": [1e3, 1e3], "size": [np.nan, np.nan]})
    log_q, error = positive.log_prob_and_error(row)
    assert (log_q < 0).all()
    assert np.isfinite(error).all()
    filled = positive.impute(row)
    assert (filled > 0).all().all()
    assert filled.max().max() < 1e9
    assert np.isfinite(positive.predict(row, "age").drop(columns="effective_draws")).all().all()
    odd = positive.surprise(pd.DataFrame({"age": [50.0], "price": [1e3], "size": [4.0]}))
    assert odd.iloc[0].idxmax() == "price"


def test_a_draw_whose_square_overflows_does_not_affect_moments():
    values, weights = np.array([[1.0], [2.0], [1e300]]), np.array([0.5, 0.5, 0.0])
    posterior = Posterior(values, np.zeros((3, 1)), weights)
    density = ArrayDensity(
        flows.build(flows.VAE(), (1,), to_real=ColumnMaps([field("age", "positive")]))
    )
    density.distilled = SimpleNamespace(low=[0.0], high=[3.0])
    assert _moments(density, posterior, 0) == (1.5, 0.5)


def test_columns_with_integer_names_can_be_given():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    density = flows.fit(pd.DataFrame(rows), members=1, settings={"recipe": "fixed", "epochs": 2})
    assert (density.sample(3, given={0: 1.0})["0"] == 1.0).all()
    assert len(density.predict(rows, 1)) == len(density.log_prob(rows, given=[0])) == 60


def test_missing_values_in_float32_columns_are_filled():
    frame = patients(40).astype("float32")
    density = flows.fit(frame, members=1, settings={"recipe": "fixed", "epochs": 2})
    frame.iloc[3, 0] = np.nan
    filled = density.impute(frame)
    assert filled.notna().all().all()
    assert (filled.dtypes == "float32").all()


def test_the_repr_of_a_reference_names_it(density):
    assert repr(density).startswith("mixture of 1 member\n")
    assert "None" not in repr(density)


def test_none_is_a_missing_value_and_not_a_label():
    frame = patients(40).assign(ward=["east", "west"] * 20)
    settings = {"recipe": "fixed", "epochs": 5}
    density = flows.fit(frame, members=1, settings=settings)
    frame["ward"] = frame["ward"].astype(object)
    frame.loc[3, "ward"] = None
    assert np.isfinite(density.log_prob(frame)).all()
    assert density.impute(frame)["ward"].iat[3] in ("east", "west")


def test_a_row_of_missing_values_has_probability_1_and_no_surprise(density):
    row = pd.DataFrame(np.full((1, DIM), np.nan), columns=NAMES)
    assert density.log_prob_and_error(row) == (0.0, 0.0)
    assert density.surprise(row).isna().all().all()


def test_invalid_questions_give_a_one_line_error(density, rows):
    for wrong, words in (
        (lambda: density.log_prob(rows, given=["x9"]), "there is no column x9"),
        (lambda: density.sample(3, given={"x9": 1.0}), "there is no column x9"),
        (lambda: density.predict(rows, "x9"), "there is no column x9"),
        (lambda: density.predict(rows, "x1", quantiles=[1.5]), "between 0 and 1"),
        (lambda: density.log_prob(rows, given="x1"), "must be a list"),
        (lambda: density.impute(rows, draws=-1), "must be 0 or more"),
        (lambda: density.sample(-1), "must be 0 or more"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            wrong()
        assert "\n" not in str(caught.value)
