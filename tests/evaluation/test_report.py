"""The report of a model: its metrics, also if parts of the truth are unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from helpers import counted_bars, field
from rings import draw, ring, standard, truth

import flows
from flows import truths
from flows.core.arrays import Array
from flows.core.truth import Truth
from flows.evaluation import calibration, report, samples
from flows.evaluation.problem import Problem
from flows.evaluation.report import HEADLINE, METRICS, EvaluationSettings, Report, evaluate
from flows.networks.population import Population
from flows.tables.columns.column_maps import ColumnMaps
from flows.training.trainer import Trainer

SMALL = EvaluationSettings(fresh=500, samples=200, neighbours=5, projections=16, seed=0)
SAMPLE_METRICS = (*samples.MODES, *samples.TWO_SAMPLE)


class Broken(Population):
    """Two members with outputs that are not finite, like a flow that diverged."""

    def __init__(self) -> None:
        super().__init__(2, (2,), {})

    def sample(self, sample_shape: Any = (), generator: Any = None) -> torch.Tensor:
        return torch.full((*sample_shape, 2, 2), float("nan"))

    def log_prob(self, value: Any) -> torch.Tensor:
        return torch.full((len(value), 2), float("nan"))

    def encode(self, value: Any) -> torch.Tensor:
        return torch.full((len(value), 2, 2), float("nan"))


class Mute(Population):
    """Two members that sample well and have no density, like a GAN."""

    def __init__(self) -> None:
        super().__init__(2, (2,), {})

    def sample(self, sample_shape: Any = (), generator: Any = None) -> torch.Tensor:
        return truth().sample((*sample_shape, 2), generator=generator).squeeze(-2)


def test_the_ensemble_of_a_network_uses_its_weights():
    model = untrained(members=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[0] += 0.3
    model.get_buffer("weights").copy_(torch.tensor([0.0, 1.0]))
    report = headline_of(model)
    assert report.headline["kl_ensemble"] == pytest.approx(report.members["kl"][1])
    assert report.members["kl"][0] != pytest.approx(report.members["kl"][1])
    assert report.headline["kl"] == pytest.approx(report.members["kl"].mean())
    log_q = report.by_row["test_log_density"]
    assert log_q.shape == (50, 2)
    np.testing.assert_allclose(report.by_row["test_log_density_ensemble"], log_q[:, 1])


PARTS = truths.make("ring")


class Whole:
    """The ring with the interface of a truth, but without its components."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        return ring().sample(n, rng)

    def log_prob(self, x: Array) -> Array:
        return ring().log_prob(x)


def problem(known: Truth | None = PARTS) -> Problem:
    return Problem(draw(ring(), 160, 3), draw(ring(), 50, 1), known)


def test_the_divergence_of_the_truth_from_itself_is_exactly_0():
    report = evaluate(truth(), problem(), SMALL, name="truth", draws=3)
    assert report.headline["kl"] == 0
    assert report.headline["kl_ensemble"] is None
    for key, value in (
        ("kl", 0),
        ("kl_reverse", 0),
        ("test_excess_nll", 0),
        ("c2st_exact", 0.5),
        ("non_finite", 0),
    ):
        assert report.members[key].tolist() == [value] * 3, key
    assert len(set(report.members["energy_distance"])) == 3  # three draws


def headline_of(model: Population, known: Truth | None = PARTS, **options: Any) -> Report:
    return evaluate(model, problem(known), SMALL, name="model", **options)


def untrained(members: int = 3) -> Population:
    """A flow that is a single Gaussian with the moments of the ring."""
    flow = flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=members)
    return Trainer(flow, draw(ring(), 500, 2), flows.TrainingSettings(noise=0)).population


def test_numbers_that_are_not_finite_are_counted_and_make_their_means_nan():
    report = headline_of(Broken())
    assert report.members["non_finite"].tolist() == [550, 550]
    for key in (
        *SAMPLE_METRICS,
        "kl",
        "test_nll",
        "test_excess_nll",
        "kl_reverse",
        "c2st_exact",
        "hdr_error",
    ):
        assert np.isnan(report.members[key]).all(), key
    assert all(np.isnan(curve).all() for curve in report.curves.values())
    assert [
        key for key, value in report.headline.items() if value is None or not math.isnan(value)
    ] == []


def test_a_model_without_a_density_has_no_likelihoods_and_all_sample_metrics():
    report = headline_of(Mute())
    without = [key for key, value in report.headline.items() if value is None]
    assert without == ["test_nll", "test_nll_ci95", "kl", "kl_sd", "kl_ensemble"]
    assert np.isfinite([report.members[key] for key in SAMPLE_METRICS]).all()
    assert report.headline["modes"] > 7
    assert np.isnan(report.members["hdr_error"]).all()
    assert list(report.curves) == ["mode_mass"]


def test_a_flow_has_every_curve_and_a_reference_no_radius():
    levels = len(calibration.LEVELS)
    report = headline_of(untrained())
    assert {key: curve.shape for key, curve in report.curves.items()} == {
        "mode_mass": (3, 9),
        "hdr": (3, levels),
        "radius": (3, levels),
    }
    for key in ("hdr", "radius"):
        # The density of the Gaussian is highest at the centre of the ring, where no points are
        assert (report.curves[key][:, 0] == 0).all()
        assert (calibration.error(report.curves[key]) > 0.1).all()
    error = calibration.error(report.curves["hdr"])
    assert report.members["hdr_error"].tolist() == error.tolist()
    report = headline_of(truth(), draws=4)
    assert {key: curve.shape for key, curve in report.curves.items()} == {
        "mode_mass": (4, 9),
        "hdr": (4, levels),
    }
    assert len(set(report.members["hdr_error"])) == 4


@pytest.mark.parametrize(("test_rows", "key"), [(150, "samples = 100"), (5, "neighbours = 5")])
def test_too_few_samples_or_test_rows_are_rejected(test_rows: int, key: str):
    few = Problem(draw(ring(), 160, 3), draw(ring(), test_rows, 1))
    settings = EvaluationSettings(fresh=100, samples=100)
    with pytest.raises(ValueError, match=f"^{test_rows} test rows .*{key} "):
        evaluate(truth(), few, settings, name="truth")


def test_an_evaluation_repeats_to_the_bit():
    first, second = headline_of(truth(), draws=2), headline_of(truth(), draws=2)
    assert first.headline == second.headline
    np.testing.assert_equal(first.members, second.members)  # treats NaN as equal to NaN
    np.testing.assert_equal(first.curves, second.curves)


MODELS: dict[str, Callable[[], Population]] = {
    "flow": untrained,
    "mute": Mute,
    "reference": truth,
}


@cache
def of_the_whole(model: str) -> Report:
    return headline_of(MODELS[model]())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("known", [None, Whole()], ids=["no truth", "no components"])
def test_only_metrics_that_need_an_unknown_part_are_missing(model: str, known: Truth | None):
    made = MODELS[model]()
    with_all, without = of_the_whole(model), headline_of(made, known)
    gone = set(samples.MODES)
    if known is None:
        gone |= {
            "test_excess_nll",
            "kl",
            "kl_sd",
            "kl_se",
            "kl_ensemble",
            "kl_reverse",
            "c2st_exact",
            "hdr_error",
        }
    if not made.supports("log_prob"):
        gone |= {*METRICS, *HEADLINE, "hdr_error"} - set(samples.TWO_SAMPLE)
    assert {key for key, value in without.headline.items() if value is None} >= gone & set(HEADLINE)
    for key in HEADLINE:
        assert without.headline[key] == (None if key in gone else with_all.headline[key]), key
    assert list(without.members) == list(with_all.members)  # always the same columns
    for key, values in without.members.items():
        if key in gone:
            assert np.isnan(values).all(), key
        elif key != "mmd":  # its bandwidth depends on known components
            np.testing.assert_array_equal(values, with_all.members[key], err_msg=key)
    assert np.isfinite(without.members["mmd"]).all()


def test_the_units_of_a_table_change_no_score_of_its_samples():
    class Shuffled(Population):
        """Draws the rows of a table."""

        def __init__(self, rows: Array) -> None:
            super().__init__(1, (2,), {})
            self.rows = torch.from_numpy(rows)

        def sample(self, sample_shape: Any = (), generator: Any = None) -> torch.Tensor:
            return self.rows[generator.integers(len(self.rows), size=tuple(sample_shape))][:, None]

    columns, found = [field("income", "positive"), field("height")], []
    for units in ([1, 1], [1e6, 1e-3]):
        train, test = (
            np.exp(standard(n, n, 2) * [3, 0]) * [1, 0] + standard(n, n, 2) * [0, 1]
            for n in (100, 30)
        )
        made = Problem(train * units, test * units, None, ColumnMaps(columns))
        found.append(evaluate(Shuffled(made.train), made, SMALL, name="rows").members)
    for key in samples.TWO_SAMPLE:
        np.testing.assert_allclose(found[0][key], found[1][key], rtol=1e-6, err_msg=key)


def test_a_problem_with_parts_that_do_not_match_is_rejected():
    with pytest.raises(
        ValueError, match=r"training rows of shape \(2,\) and test rows of shape \(3,\)"
    ):
        Problem(np.zeros((5, 2)), np.zeros((5, 3)))
    rows = np.zeros((5, 2))
    with pytest.raises(ValueError, match="3 columns for rows of 2 numbers"):
        Problem(rows, rows, None, ColumnMaps([field(name) for name in "abc"]))
    images = np.zeros((5, 1, 4, 4))
    with pytest.raises(ValueError, match=r"to_real is for vectors; the rows have the shape \(1, 4"):
        Problem(images, images, None, ColumnMaps([field("a")]))


@pytest.mark.parametrize("known", [PARTS, None])
@pytest.mark.parametrize(
    ("make", "draws"), [(lambda: untrained(3), 1), (truth, 2), (lambda: gan(), 1)]
)
def test_progress_counts_all_points(make, draws, known, monkeypatch: pytest.MonkeyPatch):
    bars = counted_bars(monkeypatch, report)
    evaluate(make(), problem(known), SMALL, name="model", draws=draws, at_once=100)
    (bar,) = bars
    assert bar.about == ("model", "point")
    assert sum(bar.steps) == bar.total
    assert max(bar.steps) <= 100


def gan() -> Population:
    return flows.build(flows.GAN(hidden=4), (2,), members=2)
