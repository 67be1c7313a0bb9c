"""Dates and durations, in all formats that users have."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
from helpers import answered, error_message, learned, quick_fit, rng

import flows
from flows.__main__ import main
from flows.tables.columns import parsing
from flows.tables.columns.field import Field
from flows.tables.columns.notices import TableError
from flows.tables.questions.predict import Predict

pytestmark = pytest.mark.usefixtures("few_samples")
N = 240
FORMATS = {
    "%Y-%m-%d": ("days", 1),
    "%d/%m/%Y": ("days", 1),
    "%m/%d/%Y": ("days", 1),
    "%d.%m.%Y": ("days", 1),
    "%Y-%m-%d %H:%M": ("seconds", 60),
    "%Y-%m-%dT%H:%M:%S": ("seconds", 60),
    "%d %B %Y": ("days", 1),
    None: ("seconds", 60),
}


@pytest.fixture(scope="module")
def dates():
    """A table with a column of independent dates for each format, and its density."""
    r, frame = rng(), pd.DataFrame()
    for form in FORMATS:
        when = pd.Timestamp("2021-03-01") + pd.to_timedelta(r.integers(0, 500_000, N), "min")
        frame[str(form)] = when if form is None else when.strftime(form)
    frame["y"] = r.normal(size=N)
    return frame, quick_fit(frame)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_dates_are_found_drawn_and_predicted_in_their_format(dates, form):
    frame, density = dates
    name = str(form)
    (own,) = [each for each in density.columns if each.name == name]
    assert (own.kind, own.unit, own.step, own.form) == ("date", *FORMATS[form], form)
    assert Field.from_json(own.to_json()) == own
    drawn = density.sample(50)
    assert drawn.dtypes.equals(frame.dtypes)
    read = pd.to_datetime(drawn[name], format=form)
    assert read.between("2018-01-01", "2026-01-01").mean() > 0.9
    given = frame.loc[0, name]
    assert (density.sample(3, given={name: given})[name] == given).all()
    found = density.predict(frame[:2], name, [0.5])
    assert pd.to_datetime(found["q0.5"], format=form).between("2018-01-01", "2026-01-01").all()
    gaps = frame[:3].copy()
    gaps.loc[1, name] = None
    filled = density.impute(gaps)[name]
    assert pd.to_datetime(filled, format=form).notna().all()
    assert filled[0] == given


@pytest.fixture(scope="module")
def of_durations():
    hours = rng().gamma(2, 2, N).round()
    frame = pd.DataFrame({"x": hours + rng(1).normal(size=N), "rest": pd.to_timedelta(hours, "h")})
    frame["stay"] = pd.to_timedelta(hours + rng(2).gamma(2, 1, N), "h")
    return frame, quick_fit(frame, columns={"rest": "count:3600"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "of_hours", [lambda h: pd.Timedelta(h, "h"), lambda h: datetime.timedelta(hours=h)]
)
def test_durations_may_be_given_as_values_ranges_and_sets(of_durations, of_hours):
    density, two, three = of_durations[1], of_hours(2), of_hours(3)
    drawn = density.sample(20, given={"stay": three})
    assert (drawn["stay"] == pd.Timedelta("3h")).all()
    drawn = density.sample(20, given={"stay": (two, three), "rest": [two, three]})
    assert drawn["stay"].between(two, three).all()
    assert drawn["rest"].isin([two, three]).all()
    for given, seconds in (
        ({"stay": (None, three)}, {"stay": (None, 10_800)}),
        ({"rest": {two}}, {"rest": [7_200]}),
    ):
        found = [density.probability(each) for each in (given, seconds)]
        np.testing.assert_array_equal(*found)
        found = [density.probability({"x": (2, None)}, given=each) for each in (given, seconds)]
        np.testing.assert_array_equal(*found)
        pd.testing.assert_frame_equal(
            density.predict(given=given, column="x"), density.predict(given=seconds, column="x")
        )


@pytest.mark.slow
def test_durations_are_predicted_as_durations(of_durations, tmp_path):
    frame, density = of_durations
    names = ["mean", "sd", "q0.05", "q0.5", "q0.95"]
    predicted = density.predict(frame.head(3), "stay")
    seconds = answered(density, Predict(["stay"]), frame.head(3))[1]["stay"]
    found = predicted[names].apply(lambda each: each.dt.total_seconds())
    np.testing.assert_allclose(found, seconds, atol=1e-5)
    assert density.predict(given={"x": 2.0}, column="rest")["q0.5"].dtype.kind == "m"
    two = quick_fit(frame, target=["rest", "stay"]).predict(frame.head(2))
    assert (two[["rest_mean", "stay_sd"]] > pd.Timedelta(0)).all(axis=None)
    # A file of text has no durations
    density.save(tmp_path / "t.flow")
    seconds = frame.assign(**{name: frame[name].dt.total_seconds() for name in ("rest", "stay")})
    seconds.head(3).to_csv(tmp_path / "t.csv", index=False)
    words = ["predict", tmp_path / "t.flow", tmp_path / "t.csv", "-o", tmp_path / "p.csv"]
    main([*map(str, words), "--column", "stay"])
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv")[names], found, rtol=1e-6)


def test_a_month_or_a_year_is_no_condition_on_dates():
    days = pd.Series(pd.date_range("2023-01-01", periods=60, freq="5D")).dt.strftime("%Y-%m-%d")
    frame = pd.DataFrame({"day": days, "x": np.arange(60) % 7 + 0.5})
    density = flows.fit(frame, members=1, settings={"recipe": "quick"})
    for given in ({"day": "2023"}, {"day": ("2023-05", "2023-07")}):
        said = error_message(density.sample, 2, given=given, error=TableError)
        assert "which is neither a date in the format of the column nor like 2026-01-31" in said
    assert density.sample(2, given={"day": ("2023-05-01", None)}).day.min() >= "2023-05-01"


def test_equal_dates_in_two_formats_are_equal_and_keep_their_formats():
    times = pd.Series(pd.date_range("2024-01-05 15:47", periods=60, freq="61min"))
    frame = pd.DataFrame(
        {
            "t": times.dt.strftime("%Y-%m-%d %H:%M:%S"),
            "tz": times.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x": np.arange(60) % 7 + 0.5,
        }
    )
    density = flows.fit(frame, members=1, settings={"recipe": "quick"})
    assert "column tz: carried along, t\n" in str(density)
    assert density.sample(3).tz.str.fullmatch(r"[\d-]+T[\d:]+Z").all()


def test_a_date_may_be_named_and_a_wrong_one_is_refused():
    days = [f"2020{month:02}{day:02}" for month in range(1, 13) for day in range(1, 21)]
    frame = pd.DataFrame({"day": list(map(int, days)), "y": rng().normal(size=len(days))})
    density = quick_fit(frame, columns={"day": "date"})
    assert density.columns[0].form == "%Y%m%d"
    assert density.sample(3, given={"day": "20200229"})["day"].tolist() == [20200229] * 3
    with pytest.raises(TableError, match=r"column day, row 1 holds 'monday', which is not a date"):
        learned(
            parsing.from_user(frame.astype(object).assign(day=["20200101", "monday"] * 120), {}),
            {"day": "date"},
        )
