"""The questions of the study of tables: closed forms against integrals, and planted odd values."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.core.arrays import Array
from flows.core.scaler import Scaler
from flows.mixtures.fitting import fit_gaussian, fit_gmm
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.tables.density.frame_density import Density
from studies.tables import odd_cells, peers, questions
from studies.tables.conditional_peers import ClosedForm

pytestmark = pytest.mark.slow

gaussian = partial(fit_gaussian, correlated=True)
two = partial(fit_gmm, components=[2], folds=2, seed=0)


def rows(n: int) -> Array:
    return np.random.default_rng(n).standard_normal((n, 2)) @ np.array([[1.0, 0.9], [0.0, 0.2]])


@pytest.mark.parametrize("margins", [False, True])
def test_a_closed_form_is_the_joint_density_over_its_integral(margins: bool) -> None:
    train = Scaler.fit(rows(300)).scale(rows(300))
    peer = ClosedForm.fit(train, two, margins=margins)
    joint, points = peers.simple(two, train, margins=margins), rows(5)
    axis = np.linspace(-12, 12, 4_001)
    for d in (0, 1):
        unknown = np.tile(np.arange(2) == d, (5, 1))
        along = np.where(unknown, axis[:, None, None], points)
        evidence = np.exp(joint(along.reshape(-1, 2))).reshape(-1, 5).sum(axis=0) * np.ptp(axis)
        expected = joint(points) - np.log(evidence / (len(axis) - 1))
        assert peer.log_conditional(points, unknown) == pytest.approx(expected, abs=5e-3)
    whole = peer.log_conditional(points, np.ones((5, 2), dtype=bool))
    assert whole == pytest.approx(joint(points), abs=1e-3)


def test_quantiles_of_a_gaussian_are_the_quantiles_of_its_regression() -> None:
    train = rows(3_000)
    low, middle, high = ClosedForm.fit(train, gaussian).quantiles(
        np.array([[1.0, np.nan]]), np.array([0.05, 0.5, 0.95])
    )[0]
    assert (low, middle, high) == pytest.approx((0.57, 0.9, 1.23), abs=0.03)


def test_a_planted_odd_value_is_the_first_guess() -> None:
    """All methods find a value that is far away."""
    train, odd = rows(300), np.array([[0.0, 9.0], [9.0, 0.0]])
    scorers = {name: partial(one, train) for name, one in questions.DETECTORS.items()}
    scorers |= {"z": partial(odd_cells.gaussian, train)}
    scorers |= {"mixture": ClosedForm.fit(train, two).surprise}
    for name, scorer in scorers.items():
        assert scorer(odd).argmax(axis=1).tolist() == [1, 0], name


def test_tails_are_counted_together_with_the_training_rows() -> None:
    train, new = np.array([[1.0], [2.0], [3.0], [9.0]]), np.array([[9.5]])
    left, right, by_skewness = odd_cells.tails(train, new)
    assert (left.item(), right.item()) == pytest.approx((0, np.log(5)))
    assert odd_cells.ecod(train, new) == odd_cells.copod(train, new) == by_skewness == right


def test_a_mixture_as_our_model_scores_like_the_closed_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fit(train: Array, members: int) -> Density:
        return Density(GaussianMixture.fit(gaussian, train))

    monkeypatch.setattr(questions, "fit", fit)
    monkeypatch.setattr(questions.peers, "mixture", gaussian)
    found: Any = questions.score("iris", 0, 105, 1, 8, 30)
    frame = pd.DataFrame(found, index=questions.METHODS)
    ours, closed = frame.loc["nsf"], frame.loc["mixture"]
    assert ours[[*questions.UNKNOWN]].tolist() == pytest.approx(
        closed[[*questions.UNKNOWN]].tolist(), abs=0.05
    )
    assert (ours["rmse"], ours["crps"]) == pytest.approx((closed["rmse"], closed["crps"]), abs=0.05)
    assert (ours["hit"], ours["far"]) == pytest.approx((closed["hit"], 1), abs=0.04)
    assert frame["cover"].notna().sum() == 4
    assert frame.loc["truth"].isna().all()
