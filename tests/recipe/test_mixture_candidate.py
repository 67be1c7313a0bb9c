"""Mixtures as candidates of the recipe, for rows with labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import two_classes
from helpers import field

from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.networks.to_real import ToReal
from flows.recipe.candidate import score_unseen
from flows.recipe.fold import Fold, Learned
from flows.recipe.mixture_candidate import NAMES, MixtureCandidate
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.field import Field


@pytest.fixture
def frame() -> pd.DataFrame:
    return two_classes()


COLUMNS = [
    field("ward", "category", step=1.0, labels=("north", "south")),
    field("stay", "category", step=1.0, labels=("a", "b", "c")),
    field("x"),
]


def fold_of(frame: pd.DataFrame, columns: list[Field]) -> Fold:
    """Return the first of five folds of the ``columns``, of which those of labels come first."""
    rows = np.column_stack(
        [
            frame[each.name].map({label: k for k, label in enumerate(each.labels)})
            if each.labels
            else frame[each.name]
            for each in columns
        ]
    ).astype(float)
    count = sum(bool(each.labels) for each in columns)
    to_real = ColumnMaps(columns).with_context(count)
    return Fold(Learned(rows, to_real, given=count), np.arange(len(rows)) % 5, 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_score_of_a_row_without_its_label_is_the_sum_over_the_labels(
    frame: pd.DataFrame, name: str
):
    frame.loc[::2, "stay"] = None
    fold = fold_of(frame, COLUMNS)
    model = MixtureCandidate().fit_fold(fold, name, {"components": 2, "ridge": 1e-3}, is_last=False)
    [scores] = score_unseen(model, [fold], [np.arange(14)])
    asked = fold.unseen.repeat(3, axis=0)
    unknown = np.isnan(asked[:, 1])
    asked[unknown, 1] = np.tile([0.0, 1.0, 2.0], 14)[unknown]
    log_q = model.score(asked).reshape(14, 3)
    expected = np.logaddexp.reduce(log_q, axis=1) - np.log(np.where(unknown[::3], 1, 3))
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)


def test_no_component_holds_a_far_row_alone():
    rows = np.random.default_rng(0).normal(size=(200, 2))
    rows[17] = 30.0
    fold = Fold(Learned(rows, ToReal()), np.arange(200) % 5, 0)
    setting = {"components": 6, "ridge": 1e-3}
    member = MixtureCandidate().fit_fold(fold, "raw", setting, is_last=True)
    assert isinstance(member, GaussianMixture)
    assert (160 * member.mixture.weights).min() > 2
    # A component of its own would give the row a log-density of about 0
    assert float(member.log_prob(rows[17:18])) < -50


def test_a_candidate_fits_folds_of_other_rows_that_have_the_same_number(frame: pd.DataFrame):
    setting = {"components": 2, "ridge": 1e-3}
    whole, half = fold_of(frame, COLUMNS), fold_of(frame[: len(frame) // 2], COLUMNS)
    used = MixtureCandidate()
    used.fit_fold(whole, "raw", setting, is_last=False)
    again = used.fit_fold(half, "raw", setting, is_last=False)
    new = MixtureCandidate().fit_fold(half, "raw", setting, is_last=False)
    np.testing.assert_array_equal(again.score(half.unseen), new.score(half.unseen))
