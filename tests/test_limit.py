"""A limit of time for the automatic recipe, and the cuts that reproduce a fit without the clock."""

import re
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import SHORT_RECIPE, SMALL, parabola

import flows
from flows.__main__ import main
from flows.recipe import clock as clocks

CUTS = {"rounds": [5, 10, 20, 25], "searches": [2, 0]}


def with_labels(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = parabola(n)
    return frame.assign(label=np.where(frame["x"] + rng.normal(size=n) > 0, "a", "b"))


def saved(density: flows.Density, path: Path) -> bytes:
    density.save(path)
    return path.read_bytes()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that gains 0.05 s at each look; the list holds the times that it showed."""
    shown: list[float] = []
    ticks = count()

    def look() -> float:
        shown.append(1000.0 + 0.05 * next(ticks))
        return shown[-1]

    monkeypatch.setattr(clocks.time, "monotonic", look)
    return shown


@pytest.mark.parametrize(
    ("frame", "options"),
    [
        (with_labels(), {"model": SMALL}),
        pytest.param(
            with_labels(), {"target": "y", "settings": {"hidden": 4}}, marks=pytest.mark.slow
        ),
    ],
    ids=["labels", "target"],
)
def test_the_recorded_cuts_give_the_same_bytes_without_the_clock(
    frame: pd.DataFrame, options: dict[str, Any], clock: list[float], tmp_path: Path
):
    cut = flows.fit(frame, members=5, minutes=3 / 60, **options)
    cuts = cut.record.cuts
    first, second, end, cooled = cuts["rounds"]
    assert 0 < first < 125
    assert first < second < 500
    assert second <= end < cooled < 8_000
    assert ("rescored" in cuts) == ("label" in frame and "target" not in options)
    assert len(cuts["searches"]) == (0 if "target" in options else 2)
    looks = len(clock)
    settings = {**options.pop("settings", {}), "cuts": cuts}
    again = flows.fit(frame, members=5, settings=settings, **options)
    assert len(clock) - looks < looks / 4  # only the message on the expected time looks
    assert saved(cut, tmp_path / "cut.flow") == saved(again, tmp_path / "again.flow")


@pytest.mark.slow
def test_a_fit_ends_within_its_limit(clock: list[float]):
    for seconds in (6, 20):
        looks = len(clock)
        flows.fit(parabola(60), SMALL, members=5, minutes=seconds / 60)
        assert clock[-1] - clock[looks] <= seconds
        assert clock[-1] - clock[looks] > 0.5 * seconds


def test_a_longer_limit_trains_longer(clock: list[float]):
    short, long = (
        flows.fit(parabola(60), SMALL, members=5, mixtures=0, minutes=seconds / 60).record
        for seconds in (2, 6)
    )
    assert short.cuts["rounds"][0] < long.cuts["rounds"][0]
    assert short.steps < long.steps


def test_the_shortest_fit_has_a_notice_and_can_be_used(clock: list[float], capsys):
    density = flows.fit(with_labels(), SMALL, members=5, minutes=1e-6)
    assert density.record.cuts["searches"] == [0, 0]
    assert density.record.cuts["rescored"] == 50
    assert density.record.steps < 20
    assert np.isfinite(density.log_prob(with_labels())).all()
    assert "more than its limit of 6e-05 s" in capsys.readouterr().err


def test_a_fit_without_a_limit_records_no_cuts():
    plain = flows.fit(parabola(60), SMALL, members=5, mixtures=0, settings=SHORT_RECIPE)
    assert "cuts" not in plain.record.to_json()
    assert "cut by" not in repr(plain)


def test_the_description_shows_the_setting_that_gives_the_same_fit(tmp_path: Path):
    density = flows.fit(parabola(60), SMALL, members=5, settings={"cuts": CUTS})
    density.save(tmp_path / "cut.flow")
    line = 'the setting cuts={"rounds": [5, 10, 20, 25], "searches": [2, 0]} gives the same fit'
    assert line in repr(flows.load(tmp_path / "cut.flow"))


def test_the_command_line_takes_a_limit_and_cuts(tmp_path: Path, capsys):
    parabola(60).to_csv(tmp_path / "table.csv", index=False)
    options = ["-S", "couplings=2", "-S", "hidden=4", "--members", "5"]
    command = ["fit", f"{tmp_path}/table.csv", *options]
    main([*command, "-o", f"{tmp_path}/cut.flow", "--minutes", "0.005"])
    shown = capsys.readouterr().out
    cuts = shown.partition("the setting ")[2].partition(" gives the same fit")[0]
    assert cuts.startswith("cuts={")
    main([*command, "-o", f"{tmp_path}/again.flow", "-S", cuts])
    assert (tmp_path / "cut.flow").read_bytes() == (tmp_path / "again.flow").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minutes": 0}, "minutes = 0: must be a finite number above 0"),
        ({"minutes": float("nan")}, "minutes = nan: must be a finite number above 0"),
        ({"minutes": "5"}, "minutes = '5': must be a finite number above 0"),
        (
            {"minutes": 5, "settings": {"recipe": "fixed"}},
            "minutes = 5: needs the automatic recipe; the fixed recipe takes epochs",
        ),
        (
            {"settings": {"recipe": "fixed", "cuts": CUTS}},
            "cuts: needs the automatic recipe; the fixed recipe takes epochs",
        ),
        (
            {"minutes": 5, "settings": {"cuts": CUTS}},
            "minutes and the setting cuts exclude each other",
        ),
        (
            {"settings": {"cuts": {"rounds": [5, 10, 20]}}},
            "cuts.rounds = [5, 10, 20]: must hold four numbers of steps, none smaller than the one "
            "before",
        ),
        (
            {"settings": {"cuts": {**CUTS, "round": 1}}},
            "cuts.round is not a known key; allowed in cuts: rounds, searches, rescored",
        ),
    ],
)
def test_wrong_limits_are_errors(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        flows.fit(parabola(60), **options)


def test_the_estimators_take_a_limit(clock: list[float]):
    frame = parabola(60)
    estimator = flows.DensityEstimator(SMALL, members=5, minutes=np.float64(0.02)).fit(frame)
    assert estimator.density_.record.cuts
    regressor = flows.DensityRegressor(members=5, minutes=0.02).fit(frame[["x"]], frame["y"])
    assert regressor.density_.record.cuts


def test_time_is_reserved_for_the_scores_of_a_target_only_if_the_target_is_rounded(
    clock: list[float],
):
    options = {"target": "y", "members": 1, "minutes": 3 / 60, "settings": {"hidden": 4}}
    rounded, exact = (
        flows.fit(parabola(60).round({"y": decimals}), **options).record for decimals in (1, 9)
    )
    assert rounded.cuts["rounds"][0] < exact.cuts["rounds"][0]
    assert "rescored" not in exact.cuts
