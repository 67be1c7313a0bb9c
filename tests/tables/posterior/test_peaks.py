"""Known values that many rows hold have the mean density of their cell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import amounts
from helpers import field, rng, short_recipe

import flows
from flows.recipe.record import RowState
from flows.tables.columns.rounding import Peak
from flows.tables.fitting.rescoring import with_peaks
from flows.tables.posterior.peaks import Peaks
from flows.tables.posterior.region import Region

SETTINGS = {"recipe": short_recipe(steps=200)}


def columns(count):
    peak = Peak(0.0, 4.0, 30.0)
    return [field(f"x{k}", "count", step=0.01, farthest=700.0, peak=peak) for k in range(count)]


def log_tent(x):
    """Log-densities of one member that fall to 0 at the ends of cells of width 0.01 around 0."""
    return np.log(np.maximum(1 - 200 * np.abs(x), 1e-9)).sum(axis=1)[:, None]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_density_is_averaged_over_the_cells_of_all_peaks_of_a_row(count):
    peaks, rows = Peaks(columns(count + 1)), np.zeros((3, count + 1))
    rows[:, -1] = [0.5, 0.6, 0.7]  # no peak
    at = peaks.at(rows)
    assert at.sum(axis=1).tolist() == [count] * 3
    found = peaks.mean(lambda x: log_tent(x[:, :-1]), rows, at)
    assert found == pytest.approx(np.full((3, 1), count * np.log(0.5)), abs=0.02)


def test_rows_keep_their_order_and_unknown_values_are_no_peaks():
    peaks = Peaks(columns(2))
    rows = np.array([[0.0, 0.0], [0.3, 0.3], [0.0, 0.3], [np.nan, 0.0]])
    assert peaks.at(rows).tolist() == [[True] * 2, [False] * 2, [True, False], [False, True]]
    found = peaks.mean(lambda x: x[:, :1] + 10 * x[:, 1:], rows[:3], peaks.at(rows[:3]))
    assert found.ravel() == pytest.approx([0.0, 3.3, 3.0], abs=0.02)


def test_noise_over_a_cell_has_the_mean_of_the_cell():
    peaks, rows = Peaks(columns(2)), np.tile([0.0, 0.3], (40_000, 1))
    found, log_weights = peaks.spread(rows, peaks.at(rows), rng().random(rows.shape))
    assert (found[:, 1] == 0.3).all()
    weights = np.exp(log_weights)
    assert weights.max() < 2
    assert abs(found[:, 0]).max() <= 0.005
    for f, wanted in ((np.ones_like, 1), (np.square, 0.005**2 / 3), (lambda x: x > 0.004, 0.1)):
        assert weights @ f(found[:, 0]) / len(rows) == pytest.approx(wanted, rel=0.03)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """A table of which 130 of 300 rows hold 0, and the others amounts above 0.7."""
    r, z = rng(3), rng(4).normal(size=300)
    paid = np.round(np.exp(r.normal(3 + z / 2, 1)) + 0.7, 2)
    return pd.DataFrame({"paid": np.where(r.random(300) < 0.45, 0, paid), "z": z})


@pytest.fixture(scope="module")
def density(table) -> flows.Density:
    return flows.fit(table, members=5, settings=SETTINGS)


@pytest.mark.slow
def test_the_density_of_a_peak_is_its_probability(density, table):
    rows = table.head(6).assign(paid=0.0)
    log_q = density.log_prob(rows, given=["z"])
    for own, z in zip(np.exp(log_q) * 0.01, rows.z, strict=True):
        found = density.probability({"paid": 0}, given={"z": z}).probability
        assert own == pytest.approx(found, rel=0.02)
    rows["z"] = np.nan
    own = np.exp(density.log_prob(rows)[0]) * 0.01
    found = density.probability({"paid": 0})
    assert own == pytest.approx(found.probability, abs=3 * found.integration_error + 0.01)


@pytest.mark.slow
def test_the_densities_of_all_cells_sum_to_1():
    paid = np.round(amounts(300, 0.5, 1).paid)
    density = flows.fit(pd.DataFrame({"paid": paid}), members=5, settings=SETTINGS)
    q = np.exp(density.log_prob(pd.DataFrame({"paid": np.arange(20_000.0)})))
    assert q[0] == pytest.approx(density.probability({"paid": 0}).probability, rel=0.02)
    assert q.sum() == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_an_unknown_number_is_integrated_with_the_mean_over_the_cell(density):
    """Beside the mean of integrals over the unknown number, each for one point of the cell."""
    array, rows = density._array, np.array([[0.0, np.nan]])
    found = array.ensemble(array.log_known(Region.of_rows(rows)).log_q).item()
    low, high = array.columns[0].peak_cell
    points = low + (high - low) * (np.arange(500) + 0.5) / 500
    z = np.linspace(-8, 8, 201)
    grid = np.column_stack([points.repeat(len(z)), np.tile(z, len(points))])
    log_q = array.ensemble(array._log_possible(grid))
    wanted = np.log(np.exp(log_q).mean() * (z[-1] - z[0]))
    assert found == pytest.approx(wanted, abs=0.02)


@pytest.mark.slow
def test_draws_of_unknown_values_use_the_mean_over_the_cell():
    r = rng(5)
    frame = pd.DataFrame(r.normal(size=(300, 3)), columns=[*"abc"])
    frame["paid"] = np.where(r.random(300) < 0.45, 0, np.round(np.exp(r.normal(3, 1, 300)), 2))
    density = flows.fit(frame, members=5, settings=SETTINGS)
    given, rows = {"a": 0.3}, pd.DataFrame([{"a": 0.3, "paid": 0.0}])
    found, error = density.log_prob_and_error(rows.reindex(columns=frame.columns), given=["a"])
    wanted = density.probability({"paid": 0}, given=given)
    tolerance = 3 * error[0] + 3 * wanted.integration_error / wanted.probability
    assert np.exp(found[0]) * 0.01 == pytest.approx(wanted.probability, rel=tolerance)


@pytest.mark.slow
def test_if_many_rows_have_a_peak_a_part_of_all_rows_keeps_its_score(density, table):
    how = density.population, density.schema, density.record, table.to_numpy()
    found = with_peaks(*how, most=40).row_scores
    before, zero = density.record.row_scores, (table.paid == 0).to_numpy()
    scored = found.state == RowState.SCORED
    assert 30 <= (scored & zero).sum() <= 50
    share = (scored & zero).sum() / scored.sum()
    assert share == pytest.approx(
        (zero & (before.state == 0)).sum() / (before.state == 0).sum(), abs=0.15
    )
    np.testing.assert_array_equal(found.log_density[scored], before.log_density[scored])


@pytest.mark.slow
def test_stored_scores_are_those_of_new_rows(density, table):
    """The tail probability of a training row is its rank among the stored scores."""
    scores = density.record.row_scores
    array, values = density._array, table.to_numpy()
    log_q = array.out_of_fold(array.log_density(values), scores.fold)
    zero = (table.paid == 0).to_numpy() & (scores.state == 0)
    assert zero.sum() > 50
    assert scores.log_density[zero] == pytest.approx(log_q[zero], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("target", [None, "paid"])
def test_draws_hold_a_peak_and_the_values_beside_it_as_often_as_probabilities_say(table, target):
    """The table has no amount between 0 and 0.7."""
    density = flows.fit(table, target=target, members=5, settings=SETTINGS)
    given = {"z": 0.4}
    wanted = [
        density.probability({"paid": event}, given=given).probability
        for event in (0, (0.01, 0.69), (0.7, 10))
    ]
    gaps = pd.DataFrame({"paid": np.nan, "z": [0.4]})
    imputed = pd.concat(density.impute(gaps, draws=2_000)).paid
    sampled = density.sample(2_000, given=given).paid
    for drawn in (imputed, sampled):
        shares = [(drawn == 0).mean(), drawn.between(0.005, 0.695).mean()]
        assert [*shares, drawn.between(0.695, 10.005).mean()] == pytest.approx(wanted, abs=0.003)
    levels = [wanted[0] - 0.01, wanted[0] + 0.01 + wanted[1]]
    low, high = density.predict(given=given, column="paid", quantiles=levels).iloc[0, 2:4]
    assert low == 0
    assert high >= 0.6
