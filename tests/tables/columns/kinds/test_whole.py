"""Whole numbers and multiples: zeros among amounts, ends, multiples, and years."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import amounts
from helpers import SHORT_RECIPE, inspected, learned, quick_fit, rng, short_recipe

import flows
from flows.tables.columns.closed_ends import closed_ends
from flows.tables.columns.field import Field
from flows.tables.columns.notices import TableError
from flows.tables.columns.parsing import from_user

# Zeros among amounts


def check_amounts(rows, zeros, step):
    """Check default fits of three tables: their zeros, and the quartiles of their amounts."""
    found = []
    for seed in range(3):
        table = amounts(rows, zeros, step, seed).paid
        samples = flows.fit(amounts(rows, zeros, step, seed)).sample(10_000).paid
        assert (samples >= 0).all()
        quartiles = [np.quantile(x[x > 0], [0.25, 0.5, 0.75]) for x in (samples, table)]
        found.append([(samples == 0).mean() - (table == 0).mean(), *np.divide(*quartiles)])
    difference, *ratios = np.mean(found, axis=0)
    assert abs(difference) < 0.03
    assert ratios == pytest.approx([1, 1, 1], abs=0.15)


@pytest.mark.slow
def test_samples_of_amounts_have_the_zeros_and_the_quartiles_of_the_table():
    check_amounts(300, 0.5, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "zeros", "step"),
    [(300, 0.2, 1), (300, 0.8, 0.01), (1_500, 0.2, 0.1), (1_500, 0.9, 0.01)],
)
def test_samples_have_the_zeros_and_quartiles_of_other_tables(rows, zeros, step):
    check_amounts(rows, zeros, step)


@pytest.mark.parametrize("step", [0.1, 0.01])
def test_amounts_with_zeros_are_counted_in_their_last_decimal(step):
    table = amounts(300, 0.8, step).paid
    column, _ = inspected(table)
    assert column.word == f"count:{step}"
    assert column.peak.value == 0
    assert inspected(np.where(table == 0, 0, table * rng().choice([-1, 1], 300)))[0].word == (
        f"integer:{step}"
    )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda x: x.astype("float32"), "count:0.01"),
        (lambda x: x.astype("float32").astype(float), "count:0.01"),  # 7.99 is 7.989999771118164
        (lambda x: 3 * 0.1 * np.round(x), "count:0.1"),  # 3 * 0.1 is 0.30000000000000004
        (lambda x: np.where(x == 0, 0, x + 0.1 + 0.2), "count:0.01"),
        (lambda x: -x, "integer::0:0.01"),
        (lambda x: x / 3, "real"),
    ],
)
def test_rounding_errors_and_signs_do_not_change_the_decimals_of_amounts(change, word):
    assert inspected(change(amounts(300, 0.8, 0.01).paid.to_numpy()))[0].word == word


def test_numbers_of_seven_decimals_may_have_errors_of_arithmetic():
    r = rng()
    x = np.where(r.random(300) < 0.5, 0, np.round(np.exp(r.normal(4, 1.5, 300)), 7))
    x[248] = 593.128225899999  # of 15 digits: 593.1282259
    table = pd.DataFrame({"x": x, "y": r.normal(size=300)})
    density = quick_fit(table)
    column = density.columns[0]
    assert column.word == "count:1e-07"
    samples = density.sample(500).x
    assert (samples >= 0).all()
    assert (samples == np.round(samples, 7)).all()
    assert (samples == 0).any()
    new = pd.DataFrame({"x": [593.128225899999, 593.1282259, 593.12822595, 2.5], "y": 0.0})
    log_q = density.log_prob(new)
    assert np.isfinite(log_q).tolist() == [True, True, False, True]
    assert log_q[0] == pytest.approx(log_q[1])


def test_differences_with_too_large_errors_are_real():
    x = np.r_[np.zeros(30), (np.round(rng().random(30), 7) + 5_000) - 5_000]
    assert inspected(x)[0].word == "real"
    assert inspected(np.round(x, 7))[0].word == "count:1e-07"


@pytest.mark.slow
def test_samples_of_small_amounts_have_the_zeros_and_the_median_of_the_table():
    r = rng()
    paid = np.where(r.random(300) < 0.8, 0.0, np.maximum(np.round(np.exp(r.normal(2, 1, 300))), 1))
    table = pd.DataFrame({"paid": paid, "other": r.normal(size=300)})
    settings = {"recipe": short_recipe(steps=300)}
    samples = flows.fit(table, members=5, settings=settings).sample(10_000).paid
    assert abs((samples == 0).mean() - (paid == 0).mean()) < 0.03
    assert samples[samples > 0].median() == pytest.approx(np.median(paid[paid > 0]), rel=0.3)


def hours(kind, seed=0):
    """Return hours of work, of which about a quarter are 2,080, and their field."""
    r = rng(seed)
    other = r.normal(size=1_000)
    worked = np.round(np.clip(1_800 + 500 * (other + r.normal(size=1_000)), 0, None))
    worked[r.random(1_000) < 0.25] = 2_080
    return pd.DataFrame({"hours": worked, "other": other}), Field.parse("hours", kind)


@pytest.mark.parametrize("kind", ["count", "integer", "integer::9000", "integer:0:9000"])
def test_a_value_away_from_an_end_that_many_rows_hold_is_a_peak(kind):
    table, column = hours(kind)
    found = column.fitted(table.hours.to_numpy(), is_rounded=True)
    assert found.peak.value == 2_080


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["count", "integer:0:9000"])
def test_samples_have_a_value_away_from_an_end_as_often_as_rows(kind):
    table, _ = hours(kind)
    samples = flows.fit(table, columns={"hours": kind}).sample(10_000).hours
    assert abs((samples == 2_080).mean() - (table.hours == 2_080).mean()) < 0.03


@pytest.mark.slow
def test_samples_have_the_zeros_of_assets_that_were_stored_in_single_precision():
    r = rng()
    assets = np.round(r.normal(15, 30, 1_000) + r.exponential(30, 1_000), 3)
    assets[r.random(1_000) < 0.06] = 0
    table = pd.DataFrame(
        {"assets": assets.astype("float32").astype(float), "age": r.normal(40, 9, 1_000)}
    )
    samples = flows.fit(table).sample(10_000).assets
    assert abs((samples == 0).mean() - (table.assets == 0).mean()) < 0.02
    assert (samples == samples.round(3)).all()


def test_the_event_of_no_amount_has_the_probability_of_zero():
    table = amounts(300, 0.8, 0.01)
    density = flows.fit(table, members=5, mixtures=0, settings=SHORT_RECIPE)
    found = density.probability({"paid": 0})
    share = (density.sample(20_000).paid == 0).mean()
    assert found.probability == pytest.approx(share, abs=0.02)
    assert found.probability == pytest.approx((table.paid == 0).mean(), abs=0.1)


# Ends of whole numbers


def stays(rows=300, seed=0):
    return rng(seed).geometric(0.6, rows).astype(float)


def grades(rows=300, seed=0):
    return rng(seed).choice([1, 2, 3, 4, 5, 6], rows, p=[0.02, 0.03, 0.05, 0.2, 0.2, 0.5]) * 1.0


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (stays(), "integer:1:"),
        (stays() - 1, "count"),
        (-stays(), "integer::-1"),
        (grades() - 1, "integer:0:5"),
        (grades() - 2, "integer:-1:4"),
        (grades(), "integer:1:6"),
        (np.r_[grades()[grades() > 1], 1], "integer:1:6"),  # a scale starts at 1
        (rng().integers(1, 7, 300), "integer:1:6"),
        (rng().integers(1, 32, 400), "integer:1:31"),  # the 31st is rarer by chance than the 30th
        (rng().integers(0, 60, 600), "integer:0:59"),
        (rng().integers(2007, 2010, 300), "integer:2007:2009"),
        (rng().choice([1, 2, 3, 4], 400, p=[0.08, 0.22, 0.35, 0.35]), "integer:1:4"),
        ([10, 20, 50, 100] * 75, "integer:10:100"),
        (rng().binomial(5, 0.5, 300), "count"),  # the frequencies fall towards 5
        (np.r_[np.full(5, 3), rng().poisson(30, 291) + 5], "count"),  # 3 is rare
        ([2, 20, 300, 4000] * 75, "count"),  # 4000 is far from the others
        (rng().permutation(300) + 2, "real"),  # each number once
    ],
)
def test_an_end_is_closed_unless_the_frequencies_fall_towards_it(values, word):
    assert inspected(values)[0].word == word


@pytest.mark.parametrize("rows", [100, 300, 1_500])
@pytest.mark.parametrize(
    "draw",
    [
        lambda r, n: r.poisson(2, n),
        lambda r, n: r.poisson(20, n),
        lambda r, n: r.geometric(0.3, n) - 1,
        lambda r, n: np.round(r.normal(0, 0.5, n)),
        lambda r, n: np.round(r.normal(50, 5, n)),
        lambda r, n: np.round(np.exp(r.normal(3, 0.5, n))),
    ],
)
def test_few_open_columns_are_closed_by_chance(draw, rows):
    closed = [closed_ends(draw(rng(seed), rows) * 1.0, 1.0)[1] for seed in range(200)]
    assert np.mean(closed) <= 0.05


def test_neither_samples_nor_densities_go_beyond_an_end(capsys):
    table = pd.DataFrame({"stay": stays(), "grade": grades(), "y": rng().normal(size=300)})
    density = quick_fit(table)
    said = capsys.readouterr().err
    assert "2 columns have closed ends, which no sample passes: stay, grade" in said
    notice = flows.inspect(table).notice
    assert notice.stay.startswith("starts at 1, which")
    assert "to allow others, pass columns={'stay': 'count'}" in notice.stay
    assert "starts at 1, which 7 of 300 rows hold, and ends at 6, which" in notice.grade
    assert "column grade: integer:1:6, closed at 1 and 6" in str(density)
    samples = density.sample(5_000)
    assert samples.stay.min() == 1
    assert (samples.grade.min(), samples.grade.max()) == (1, 6)
    beyond = pd.DataFrame({"stay": [1, 0, 2], "grade": [6, 6, 7], "y": 0.0})
    assert np.isneginf(density.log_prob(beyond)).tolist() == [False, True, True]
    assert (
        "column stay, row 1 holds 0.0, which its kind, integer:1:, does not allow; the kind count "
        "allows it; it and 1 more such value are given a log-density of minus infinity"
    ) in capsys.readouterr().err


def test_a_given_column_keeps_its_multiple():
    table = pd.DataFrame({"dose": [10, 20, 50, 100] * 75, "y": rng().normal(size=300)})
    given = learned(from_user(table, {}), {}, targets=["y"]).columns[0]
    assert (given.word, given.multiple) == ("count", 10)


def test_a_row_beyond_an_end_is_discovered():
    table = pd.DataFrame({"grade": grades(), "y": rng().normal(size=300)})
    density = quick_fit(table)
    rows = table.head(60).assign(grade=9.0)
    assert density.discoveries(rows, 0.1).all()
    assert not density.discoveries(rows.assign(grade=np.nan), 0.1).any()


@pytest.mark.slow
def test_a_given_column_has_no_ends(capsys):
    table = pd.DataFrame({"stay": stays(), "y": rng().normal(size=300)})
    quick = {"recipe": "quick", "hidden": 4}
    density = flows.fit(table, target="y", members=1, settings=quick)
    assert density.columns[0].word == "count"
    density.predict(pd.DataFrame({"stay": [0]}))
    assert "stay" not in capsys.readouterr().err


@pytest.mark.parametrize("word", ["integer:1:", "integer::6", "integer:-3:", "integer::-1"])
def test_a_user_may_name_one_end(word):
    column = Field.parse("x", word)
    assert column.word == word
    assert Field.from_json(column.to_json()) == column
    end = column.low if column.high is None else column.high
    sign = 1 if column.high is None else -1
    assert column.holds(np.array([end, end + sign, end - sign])).tolist() == [True, True, False]


# Multiples


def test_a_common_divisor_is_no_step_of_new_values(capsys):
    r = rng()
    income = 1_000 * np.round(np.exp(r.normal(3.5, 0.5, 200)))
    density = quick_fit(pd.DataFrame({"income": income, "y": r.normal(size=200)}))
    assert density.columns[0].word == "count"
    assert density.columns[0].step == 1
    assert (density.sample(500).income % 1_000 == 0).all()
    assert "column income: count, samples are multiples of 1000" in str(density)
    new = pd.DataFrame({"income": [32_000, 32_500, 32_500.5, -1_000], "y": 0.0})
    log_q = density.log_prob(new)
    assert np.isfinite(log_q).tolist() == [True, True, False, False]
    assert abs(log_q[1] - log_q[0]) < 1
    low, both = (
        density.probability({"income": (None, end)}).probability for end in (32_000, 32_999)
    )
    assert low == pytest.approx(both, rel=0.05)  # no sample lies between
    for wrong in ({"income": 32_500}, {"income": (32_100, 32_900)}):
        with pytest.raises(TableError, match="samples are multiples of 1000"):
            density.probability(wrong)
    with pytest.raises(TableError, match="which are whole numbers of at least 0"):
        density.probability({"income": (None, -2_000)})


# Years


def test_years_in_any_order_are_integers():
    several = rng().choice(np.r_[np.arange(1_950, 1_990), 2_001, 2_020], 300)
    assert inspected(several)[0].word == "integer"
    column, said = inspected(rng().permutation(60) + 1_960)
    assert column.word == "integer"
    assert said.startswith("column x is taken as years, 1960 to 2019; to leave the column out")
    assert inspected(several - 1_000)[0].word == "count"


@pytest.mark.parametrize(("first", "use"), [(1_960, "learned"), (1_001, "excluded")])
def test_consecutive_years_are_learned_and_other_consecutive_numbers_are_not(first, use):
    frame = pd.DataFrame({"x": first + np.arange(50), "y": rng().normal(size=50)})
    found = flows.inspect(frame).loc["x"]
    assert found["use"] == use
    if use == "learned":
        assert found["kind"] == "integer"
        assert found["notice"] == (
            "is taken as years, 1960 to 2009; to leave the column out, call frame.drop(columns='x')"
        )
