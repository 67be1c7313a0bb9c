"""Clock times that are written as numbers or text, HHMM."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import column, error_message, learned, quick_fit, rng, taken

import flows
from flows.__main__ import main
from flows.tables.columns.constraint import Constraint
from flows.tables.columns.field import Field
from flows.tables.columns.kinds import Time
from flows.tables.columns.parsing import from_user

pytestmark = pytest.mark.usefixtures("few_samples")
N = 300


def minutes(x):
    return 60 * (x // 100) + x % 100


def clock(t):
    return 100 * (t // 60) + t % 60


def flights(n: int = N) -> pd.DataFrame:
    """Return departures, and arrivals one to three hours later."""
    start = rng().integers(300, 1200, n)
    return pd.DataFrame({"dep": clock(start), "arr": clock(start + rng(1).integers(60, 180, n))})


@pytest.mark.parametrize(
    ("values", "is_time"),
    [
        (clock(rng().integers(0, 1440, N)), True),
        (clock(rng().integers(0, 1440, N)).astype(float), True),
        (clock(30 * rng().integers(0, 48, N)), True),  # half hours
        ([f"{x:04d}" for x in clock(rng().integers(0, 1440, N))], True),
        (np.where(np.arange(N) == 7, 1275, clock(rng().integers(0, 1440, N))), False),
        (np.where(np.arange(N) == 7, 2401, clock(rng().integers(0, 1440, N))), False),
        (clock(rng().integers(540, 720, N)), False),  # three hours
        (clock(120 * rng().integers(0, 12, N)), False),  # few different times
        (rng().integers(1900, 1960, N), False),  # years
        (50 * rng().integers(0, 47, N), False),  # multiples of 50
        (100 * rng().integers(1, 10, N) + rng(1).integers(1, 12, N), False),  # numbers in groups
        (rng().integers(0, 2400, N), False),
    ],
)
def test_digits_tell_clock_times(values, is_time):
    assert isinstance(column(values), Time) == is_time


def test_an_equation_comes_first():
    frame = flights().assign(hour=lambda x: x.dep // 100, minute=lambda x: x.dep % 100)
    schema = learned(from_user(frame, {})).schema
    assert [f"{each.name} = {each.formula}" for each in schema.carried] == [
        "dep = 100 hour + minute"
    ]
    assert [each.name for each in schema.fields if isinstance(each, Time)] == ["arr"]


def test_a_copy_of_a_clock_time_is_written_as_one():
    density = quick_fit(flights().assign(again=lambda x: x.dep))
    drawn = density.sample(100)
    assert (drawn.dep == drawn.again).all()
    assert (drawn.again % 100 < 60).all()


def test_a_copy_of_a_kind_that_the_user_names_stays_a_number():
    frame = flights().assign(again=lambda x: x.dep)
    schema = learned(from_user(frame, {}), {"again": "integer"}).schema
    assert not any(isinstance(each, Time) for each in schema.fields if each.name != "arr")
    assert not isinstance(schema.carried[0].field, Time)


def test_text_may_have_a_colon():
    times = [f"{x // 60}:{x % 60:02d}" for x in rng().integers(300, 1300, N)]
    frame = pd.DataFrame({"t": times, "x": rng().normal(size=N)})
    density = quick_fit(frame)
    assert isinstance(density.columns[0], Time)
    assert density.sample(50)["t"].str.fullmatch(r"\d\d:[0-5]\d").all()
    padded = pd.DataFrame({"t": [f"{x:04d}" for x in clock(np.arange(60, 100))], "x": range(40)})
    named = quick_fit(padded.assign(x=rng().normal(size=40)), columns={"t": "time"})
    assert named.sample(20)["t"].str.fullmatch(r"0\d[0-5]\d").mean() > 0.5


def test_samples_and_answers_are_clock_times():
    frame = flights()
    frame["late"] = rng(2).normal(size=N)
    frame.loc[4, "arr"] = np.nan
    density = quick_fit(frame)
    drawn = density.sample(2_000)
    assert list(drawn.dtypes) == list(frame.dtypes)
    for name in ("dep", "arr"):
        assert (drawn[name].dropna() % 100 < 60).all()
        assert drawn[name].between(0, 2359).all()
    found = density.predict(frame[:5], "arr")
    assert (found[["mean", "q0.5"]] % 100 < 60).all(axis=None)
    assert abs(minutes(found["q0.5"]) - minutes(frame["dep"][:5]) - 120).max() < 200
    assert 10 < found["sd"].iloc[0] < 300  # minutes
    filled = density.impute(frame[:6])
    assert filled.loc[4, "arr"] % 100 < 60
    assert "column dep: time, HHMM" in repr(density)


@pytest.mark.slow
def test_probabilities_agree_with_shares_of_minutes():
    frame = flights(1_000)
    density = quick_fit(frame)
    drawn = density.sample(20_000)
    for low, high in ((600, 959), (1200, None), (None, 759)):
        share = drawn.dep.between(low or 0, high or 2400).mean()
        found = density.probability({"dep": (low, high)})
        assert found.probability == pytest.approx(share, abs=0.02)
    assert density.probability({"dep": ("10:00", "10:59")}).probability == pytest.approx(
        density.probability({"dep": (1000, 1059)}).probability
    )


@pytest.mark.slow
def test_a_logarithm_of_the_density_is_per_minute():
    """The probabilities of all minutes of a day sum to 1: none is lost between 0:59 and 1:00."""
    density = quick_fit(flights()[["dep"]].assign(x=rng().normal(size=N)))
    whole = pd.DataFrame({"dep": clock(np.arange(1440)), "x": np.nan})
    assert np.exp(density.log_prob(whole)).sum() == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_midnight_is_written_as_the_table_does():
    times = clock(rng().integers(1, 1441, N))
    times[:9] = 2400
    frame = pd.DataFrame({"t": times, "x": rng().normal(size=N)})
    density = quick_fit(frame)
    assert density.columns[0].ends == (1, 1440)
    drawn = density.sample(2_000)
    assert drawn.t.between(1, 2400).all()
    at = [density.log_prob(frame[:1].assign(t=x))[0] for x in (0, 2400)]
    assert at[0] == -np.inf < at[1]
    night = [density.probability({"t": (start, 100)}) for start in (0, 1)]
    np.testing.assert_array_equal(*night)
    assert density.probability({"t": (2300, 2400)}).probability > 0.02
    whole = quick_fit(flights())
    late = [whole.probability({"dep": (1500, end)}) for end in (2359, 2400, None)]
    np.testing.assert_array_equal(late, [late[0]] * 3)


def test_a_schedule_in_steps_of_minutes_keeps_its_steps():
    frame = pd.DataFrame({"t": clock(5 * rng().integers(60, 280, N)), "x": rng().normal(size=N)})
    drawn = quick_fit(frame).sample(500)
    assert (drawn.t % 5 == 0).all()
    assert "samples are multiples of 5 minutes" in repr(quick_fit(frame))


@pytest.mark.slow
def test_text_keeps_its_zeros(tmp_path, capsys):
    path = tmp_path / "t.csv"
    frame = flights().assign(dep=lambda x: [f"{each:04d}" for each in x.dep])
    frame.to_csv(path, index=False)
    main(["fit", str(path), "-o", str(tmp_path / "t.flow"), "--recipe", "quick"])
    main(["sample", str(tmp_path / "t.flow"), "-n", "50"])
    lines = capsys.readouterr().out.splitlines()[-50:]
    assert all(len(line.split(",")[0]) == 4 and line[:4].isdigit() for line in lines)


def test_a_user_may_name_the_kind_or_another_one():
    frame = flights(40)
    assert isinstance(column(frame.dep, kinds={"x": "time"}), Time)
    assert column(frame.dep.to_numpy(), kinds={"x": "integer"}).kind == "integer"
    _, said = taken(flights())
    assert "to learn the numbers, pass columns={'dep': 'count'}" in said["dep"]
    message = error_message(lambda: flows.inspect(frame.assign(dep=1275), columns={"dep": "time"}))
    assert message.endswith("holds 1275, which is not a clock time such as 517 or 1430")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("dep <= 1230", lambda dep, arr: dep <= 750),
        ("arr - dep <= 90", lambda dep, arr: arr - dep <= 90),
        ("dep + 90 >= arr", lambda dep, arr: dep + 90 >= arr),
        ("dep == 600 or dep > '12:30'", lambda dep, arr: (dep == 360) | (dep > 750)),
        ("dep < arr", lambda dep, arr: dep < arr),
    ],
)
def test_constraints_compare_clock_times(text, holds):
    frame = flights()
    found = learned(from_user(frame, {}))
    expected = holds(minutes(frame.dep.to_numpy()), minutes(frame.arr.to_numpy()))
    constraint = Constraint.parse(text, found.schema)
    np.testing.assert_array_equal(constraint.holds(found.values) == 1, expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dep < 1275", "holds 1275, which is not a clock time"),
        ("dep * 2 < 900", "combines a clock time with a number"),
        ("dep < x", "compares a clock time with a number"),
    ],
)
def test_a_wrong_constraint_names_the_clock_time(text, said):
    found = learned(from_user(flights().assign(x=rng().normal(size=N)), {}))
    assert said in error_message(lambda: Constraint.parse(text, found.schema))


def test_a_file_holds_the_kind():
    own = Time("t", low=1.0, high=1440.0, multiple=5.0, mark=":")
    assert Field.from_json(own.to_json()) == own
