"""A limit of time for the automatic recipe, and the cuts that reproduce a fit without the clock."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import SMALL, further, parabola

import flows
from flows.__main__ import main
from flows.core.settings import Cuts, TrainingSettings
from flows.networks.to_real import ToReal
from flows.recipe import clock as clocks
from flows.recipe.clock import Clock, Part
from flows.recipe.fold import Learned
from flows.recipe.network_candidate import Family, NetworkCandidate
from flows.recipe.recipe import learn

CUTS = {"rounds": [5, 10, 20, 25], "searches": [2, 0]}


def with_labels(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = parabola(n)
    return frame.assign(label=np.where(frame["x"] + rng.normal(size=n) > 0, "a", "b"))


def saved(density: flows.Density, path: Path) -> bytes:
    density.save(path)
    return path.read_bytes()


class Ticking:
    """A clock that gains ``tick`` seconds at each look; ``shown`` are the times that it showed."""

    def __init__(self) -> None:
        self.shown, self.tick, self.now = list[float](), 0.05, 1000.0

    def look(self) -> float:
        self.now += self.tick
        self.shown.append(self.now)
        return self.now


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    made = Ticking()
    monkeypatch.setattr(clocks.time, "monotonic", made.look)
    return made


@pytest.fixture
def clock(ticking: Ticking) -> list[float]:
    return ticking.shown


def test_a_part_ends_by_the_clock_or_where_it_ended_before(ticking: Ticking):
    ticking.tick = 1.0
    part = Part(end=1010.0)
    assert part.goes_on(0)  # at 1001
    assert part.goes_on(5)  # at 1002: a unit takes 0.2 s
    assert not part.goes_on(10, ahead=50)
    assert part.left(100) == 30  # at 1004
    assert not part.is_over(10)
    ticking.now = 1020.0
    assert part.is_over(10)
    assert part.left(100) == 0
    looks = len(ticking.shown)
    again = Part(end=0.0, recorded=7)
    assert again.goes_on(6)
    assert not again.is_over(6)
    assert not again.goes_on(7)
    assert again.is_over(7)
    assert len(ticking.shown) == looks


@pytest.mark.parametrize("slow", [further(0.05), 1.0])
def test_the_clock_may_end_the_cooling_and_the_record_repeats_the_fit(
    ticking: Ticking, slow: float, tmp_path: Path
):

    class SlowCooling(Clock):
        def cooling(self) -> Part:
            ticking.tick = slow
            return super().cooling()

    rows, settings = parabola(60).to_numpy(), TrainingSettings(recipe="auto")

    def fit(clock: Clock) -> tuple[Any, Any]:
        family = Family(partial(flows.build, SMALL, (2,)))
        networks = NetworkCandidate([family], 1, settings)
        return learn(Learned(rows, ToReal()), [networks], clock=clock)

    first, record = fit(SlowCooling(seconds=6.0))
    assert ("cooled" in record.cuts) == (slow > 0.5)
    assert record.cuts.get("cooled", 0) < record.cuts["rounds"][3]
    again, repeated = fit(Clock(cuts=Cuts.model_validate(record.cuts)))
    assert repeated.cuts == record.cuts
    for name, values in first.state_dict().items():
        assert values.equal(again.state_dict()[name]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frame", "options"),
    [
        (with_labels(), {"model": SMALL}),
        (with_labels(), {"target": "y", "settings": {"hidden": 4}}),
    ],
    ids=["labels", "target"],
)
def test_the_recorded_cuts_give_the_same_bytes_without_the_clock(
    frame: pd.DataFrame, options: dict[str, Any], clock: list[float], tmp_path: Path
):
    cut = flows.fit(frame, members=5, minutes=3 / 60, **options)
    cuts = cut.record.cuts
    families = np.reshape(cuts["rounds"], (-1, 4)).tolist()
    assert len(families) == (1 if "target" in options else 3)
    for first, second, end, cooled in families:
        assert 0 < first < 125
        assert first <= second < 500
        assert second <= end <= cooled < 8_000
    assert max(family[-1] for family in families) > 3
    assert "rescored" not in cuts
    assert len(cuts["searches"]) == (0 if "target" in options else 2)
    looks = len(clock)
    settings = {**options.pop("settings", {}), "cuts": cuts}
    again = flows.fit(frame, members=5, settings=settings, **options)
    assert len(clock) - looks < looks / 4  # only checks look
    assert saved(cut, tmp_path / "cut.flow") == saved(again, tmp_path / "again.flow")


@pytest.mark.slow
def test_a_fit_ends_within_its_limit(clock: list[float]):
    for seconds in (6, 20):
        looks = len(clock)
        flows.fit(parabola(60), SMALL, members=5, minutes=seconds / 60)
        assert clock[-1] - clock[looks] <= seconds
        assert clock[-1] - clock[looks] > 0.5 * seconds


def test_the_shortest_fit_has_a_notice_and_can_be_used(clock: list[float], capsys):
    density = flows.fit(with_labels(), SMALL, members=5, minutes=1e-6)
    assert density.record.cuts["searches"] == [0, 0]
    rounds = np.reshape(density.record.cuts["rounds"], (3, 4)).tolist()
    assert [1, 2, 3, 3] in rounds
    assert all(each in ([1, 1, 1, 1], [1, 2, 2, 2], [1, 2, 3, 3]) for each in rounds)
    assert np.isfinite(density.log_prob(with_labels())).all()
    assert "more than its limit of 6e-05 s" in capsys.readouterr().err


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
    ("minutes", "settings", "message"),
    [
        (0, {}, "minutes = 0: must be a finite number above 0"),
        ("5", {}, "minutes = '5': must be a finite number above 0"),
        (5, {"cuts": CUTS}, "minutes and the setting cuts exclude each other"),
        (None, {"cuts": {"rounds": [5, 10, 20]}}, "must hold four numbers of steps, none smaller"),
        (None, {"cuts": {**CUTS, "round": 1}}, "cuts.round is not a known key"),
    ],
)
def test_wrong_limits_are_errors(minutes: Any, settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        flows.fit(parabola(60), minutes=minutes, settings=settings)


@pytest.mark.slow
def test_time_is_reserved_for_the_scores_of_a_target_only_if_the_target_is_rounded(
    clock: list[float],
):
    options = {"target": "y", "members": 1, "minutes": 3 / 60, "settings": {"hidden": 4}}
    rounded, exact = (
        flows.fit(parabola(60).round({"y": decimals}), **options).record for decimals in (1, 9)
    )
    assert rounded.cuts["rounds"][0] < exact.cuts["rounds"][0]
    assert "rescored" not in exact.cuts
