"""Folds, and the Gaussian processes of a target in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import short_recipe

import flows
from flows.networks.to_real import ToReal
from flows.recipe.fold import Fold, Learned
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.kinds import Category, Real
from flows.tables.columns.notices import TableNotice


def frame(n: int, seed: int = 0) -> pd.DataFrame:
    """Return rows whose target y is a sine of a, and z the product of y and b, with noise."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    y = np.sin(3 * a) + 0.1 * rng.normal(size=n)
    return pd.DataFrame({"a": a, "b": b, "y": y, "z": y * b + 0.1 * rng.normal(size=n)})


def ways(density: flows.Density) -> set[str]:
    assert density.record is not None
    return {str(member.settings["preprocessing"]) for member in density.record.members}


@pytest.mark.slow
def test_a_smooth_target_is_learned_with_processes_and_saved_with_them(tmp_path):
    rows, new = frame(200), frame(200, seed=1)
    how = {"members": 2, "settings": {"recipe": short_recipe(steps=200)}}
    density = flows.fit(rows.drop(columns="z"), target="y", **how)
    assert ways(density) == {"process"}
    truth = -0.5 * ((new["y"] - np.sin(3 * new["a"])) / 0.1) ** 2 - np.log(0.1 * np.sqrt(2 * np.pi))
    inside = new[["a", "b"]].abs().max(axis=1) < 2
    assert (truth - density.log_prob(new))[inside].mean() < 0.25
    assert density.predict(new)["mean"][inside].corr(np.sin(3 * new["a"])[inside]) > 0.98
    density.save(tmp_path / "y.flow")
    loaded = flows.load(tmp_path / "y.flow")
    np.testing.assert_array_equal(loaded.log_prob(new), density.log_prob(new))
    pd.testing.assert_frame_equal(loaded.predict(new[:20]), density.predict(new[:20]))
    gaps = new[:20].assign(b=np.nan)  # b says nothing about y
    assert np.abs(density.predict(gaps)["mean"] - density.predict(new[:20])["mean"]).mean() < 0.2


@pytest.mark.slow
def test_each_target_has_a_process_given_the_targets_before_it():
    how = {"members": 2, "settings": {"recipe": short_recipe(steps=200)}}
    density = flows.fit(frame(200), target=["y", "z"], **how)
    assert ways(density) == {"process"}
    new = frame(100, seed=1)
    alone = new.copy()
    alone["z"] = 0.0
    near = new[["a", "b"]].abs().max(axis=1) < 2
    assert (density.log_prob(new) - density.log_prob(alone))[near].mean() > 1
    drawn = density.sample(500, given={"a": 0.5, "b": 1.0})
    assert drawn["z"].corr(drawn["y"]) > 0.5


@pytest.mark.slow
def test_a_label_and_many_rows_have_no_process():
    few = short_recipe(steps=50, process_rows=90)
    with pytest.warns(TableNotice, match="the table has 100 rows; Gaussian processes .* 90 rows"):
        density = flows.fit(frame(100), target="y", members=2, settings={"recipe": few})
    assert "process" not in ways(density)
    rows = frame(100).assign(kind=lambda x: np.where(x["a"] > 0, "high", "low")).drop(columns="a")
    density = flows.fit(rows, target="kind", members=2, settings={"recipe": short_recipe(steps=50)})
    assert "process" not in ways(density)
    assert str(density).startswith("conditional of 2 networks, bins 8, hidden 32, linear False")
    assert flows.verify(density, rows) is None
    kept = {"recipe": short_recipe(steps=50), "linear": True}
    density = flows.fit(rows, target="kind", members=2, settings=kept)
    assert str(density).startswith("conditional of 2 networks, bins 8, hidden 32, linear True")


def test_a_row_and_its_copies_are_left_out_together():
    rows = frame(60).drop(columns="z").to_numpy()
    fold_of = np.full(60, -1)
    fold_of[:10] = 0
    once = Fold(Learned(rows, ToReal(), 2, is_context=True), fold_of, 0)
    doubled = Learned(rows.repeat(2, axis=0), ToReal(), 2, is_context=True)
    twice = Fold(doubled, fold_of.repeat(2), 0)
    found, other = (fold.prepared("process").points for fold in (once, twice))
    np.testing.assert_allclose(other[:, ::2], other[:, 1::2])
    assert found.shape[1] == 50
    assert np.corrcoef(found[2], other[2, ::2])[0, 1] > 0.95


def test_inducing_points_of_a_process_have_the_indicators_of_labels():
    """Of the features of an inducing point, only those of the targets are noise."""
    rng = np.random.default_rng(0)
    fields = [Category("c", labels=tuple("abcd")), Real("x"), Real("y")]
    code = np.arange(80) % 4
    rows = np.column_stack([code, rng.normal(size=80), code + rng.normal(size=80)])
    learned = Learned(rows, ColumnMaps(fields).with_context(2), given=2, is_context=True)
    prepared = Fold(learned, np.arange(80) % 5, 0).prepared("process")
    (process,) = prepared.preprocessing.processes
    assert process.feature == 4
    of_rows, of_points = prepared.points[:3].numpy(), process.points[0, :3].numpy()
    for own, known in zip(of_points, of_rows, strict=True):
        assert {*own.round(3).tolist()} <= {*known.astype(np.float64).round(3).tolist()}
