"""The pictures of a density."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from frames import clinic, prices
from helpers import SHORT, answered, quick_fit
from matplotlib.figure import Figure

import flows
from flows.__main__ import main
from flows.core.errors import UserError
from flows.tables.columns.notices import TableError
from flows.tables.density.pictures import near, strongest, target_along
from flows.tables.questions.surprise import Surprise

pytestmark = pytest.mark.usefixtures("few_samples")


@pytest.mark.parametrize(
    ("names", "labels"), [(["bmi"], {"bmi"}), (["bmi", "share"], {"bmi", "share"})]
)
def test_plots_show_pairs_of_columns_or_the_margin_of_one_column(names, labels):
    figure = flows.fit(prices()[names], members=1, settings=SHORT).plot(prices())
    shown = {axis.get_xlabel() for axis in figure.axes}
    assert labels <= shown, shown
    assert len(figure.axes) == len(names) ** 2, figure.axes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("", {}),
        ("--anomalies 3", {"anomalies": 3}),
        ("--row 5", {"row": 5}),
    ],
)
def test_plots_in_python_have_the_bytes_of_the_command_line(
    folder_of_wards, of_wards, gaps, capsys, option, arguments
):
    main(f"plot m.flow gaps.csv -o a.png {option}".split())
    said = capsys.readouterr().err
    figure = of_wards.plot(gaps.set_axis(range(1, 13)), **arguments)
    assert isinstance(figure, Figure)
    assert capsys.readouterr().err == said
    assert figure._repr_png_() == (folder_of_wards / "a.png").read_bytes()


@pytest.mark.slow
def test_plots_name_rows_by_their_labels_and_take_dates_and_numbered_columns(of_wards, gaps):
    named = gaps.set_axis([f"patient {k}" for k in range(12)])
    figure = of_wards.plot(named, row="patient 4")
    assert figure.get_suptitle() == "what the rest of row patient 4 says of each column"
    ticks = of_wards.plot(named, anomalies=2).axes[0].get_yticklabels()
    assert all(re.match(r"patient \d+:  ", tick.get_text()) for tick in ticks)
    dates = pd.date_range("2020-01-01", periods=60, freq="7D")
    frame = pd.DataFrame({0: dates, 1: np.random.default_rng(0).normal(size=60)})
    quick = flows.fit(frame, members=1, settings=SHORT)
    texts = {text.get_text() for text in quick.plot(frame, anomalies=60).axes[0].texts}
    assert set(map(str, dates[:40].date)) & texts
    assert not any("00:00" in text for text in texts)


@pytest.mark.parametrize(
    ("error", "change", "arguments", "message"),
    [
        (TypeError, {}, {"row": 1, "anomalies": 2}, "plot takes one of .* got row and anomalies"),
        (UserError, {}, {"row": 12}, "row = 12: no row has this label; .* are 0, 1, 2, ..."),
        (UserError, {"index": [0] * 12}, {"row": 0}, "row = 0: 12 rows have this label"),
        (UserError, {}, {"anomalies": 0}, "anomalies = 0: must be at least 1"),
        (UserError, {}, {"along": "age"}, "along = 'age': .* no target; leave out along, or fit"),
        (UserError, {"index": []}, {}, "there is no row to draw"),
        (TableError, {"bmi": np.nan}, {"anomalies": 2}, "no row is complete"),
        (TableError, {"drop": "bmi"}, {}, "there is no column bmi"),
    ],
)
def test_invalid_arguments_of_plot_are_named(of_wards, gaps, error, change, arguments, message):
    change = dict(change)
    if "index" in change:
        index = change.pop("index")
        gaps = gaps[: len(index)].set_axis(index)
    gaps = gaps.drop(columns=change.pop("drop", [])).assign(**change)
    with pytest.raises(error, match=message):
        of_wards.plot(gaps, **arguments)


@pytest.mark.slow
def test_a_target_is_plotted_over_rows_with_a_new_label_in_another_column(of_visits):
    rows = clinic(4, seed=8).assign(age=[30.0, 40.0, 50.0, 60.0], visits=[1, 2, 3, 2.5])
    new, unknown = (
        of_visits.plot(rows.assign(ward=[label, "a", "b", "b"]), along="age")._repr_png_()
        for label in ("elsewhere", None)
    )
    of_visits.plot(rows[:2])._repr_png_()  # two rows have no rank correlation
    with pytest.raises(UserError, match="column ward holds no value to draw a target along"):
        of_visits.plot(rows.assign(ward="another"), along="ward")
    assert new == unknown
    # Also if no label is known
    array = of_visits._array
    numbers = np.tile(answered(of_visits, Surprise(), rows)[0].region.rows, (2, 1))
    numbers[:, array.names.index("ward")] = np.nan
    _, [bands] = target_along(array, numbers, array.names.index("age"))
    assert np.isfinite(bands).all()


def test_the_strongest_column_may_be_labels_whose_middle_one_differs():
    rng = np.random.default_rng(0)
    ward = rng.choice(["a", "b", "c"], 200)
    x = rng.normal(size=200)
    frame = pd.DataFrame({"x": x, "ward": ward, "y": 0.3 * x + 10 * (ward == "b")})
    density = quick_fit(frame, target="y")
    rows = answered(density, Surprise(), frame)[0].region.rows
    assert density._array.names[strongest(density._array, rows)[0]] == "ward"


def test_rows_near_the_median_have_its_value_where_many_rows_hold_it():
    rng = np.random.default_rng(0)
    count = rng.choice([0.0, 1.0, 2.0], 200, p=[0.6, 0.25, 0.15])
    frame = pd.DataFrame({"count": count, "x": rng.normal(size=200)})
    frame["y"] = frame["count"] + rng.normal(size=200)
    density = quick_fit(frame, target="y", columns={"count": "integer"})
    rows = answered(density, Surprise(), frame)[0].region.rows
    is_near = near(density._array, rows, density._array.names.index("x"))
    assert set(rows[is_near, density._array.names.index("count")]) == {0.0}


def test_of_many_labels_the_most_probable_are_drawn():
    rng = np.random.default_rng(0)
    towns = rng.choice([f"_{k}" for k in range(30)], 200)
    frame = pd.DataFrame({"x": rng.normal(size=200), "town": towns})
    figure = quick_fit(frame, target="town", columns={"town": "category"}).plot(frame)
    names = [each.get_text() for each in figure.axes[0].get_legend().get_texts()]
    assert len(names) == 8
    assert names[0].startswith(" _")
    assert names[-1] == "23 others"


def test_a_learned_column_with_the_name_of_a_score_has_no_picture_of_anomalies():
    values = np.random.default_rng(0).normal(size=(50, 2))
    frame = pd.DataFrame(values, columns=["x", "log_density"])
    with pytest.raises(UserError, match="log_density: the scores have a column of this name"):
        quick_fit(frame).plot(frame, anomalies=3)
