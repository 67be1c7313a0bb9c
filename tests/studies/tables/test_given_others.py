"""Columns given all others: the losses of both fits and of boosting."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flows.core.errors import UserError
from studies.engine import Study
from studies.tables import given_others
from studies.tables.given_others import Split


def parts() -> Split:
    """Return a split in which ``town`` and ``y`` tell each other, and ``x`` tells nothing."""
    rng = np.random.default_rng(0)
    x, town = rng.normal(size=150), rng.choice(["a", "b"], 150)
    y = np.round(6 * (town == "a") + rng.normal(size=150), 1)
    frame = pd.DataFrame({"x": x, "town": town, "y": y})
    frame.loc[[3, 120], "y"] = np.nan
    return Split(frame[:100], frame[100:].reset_index(drop=True), ["town"])


def test_an_error_is_at_least_half_a_step_and_rows_without_a_value_are_left_out():
    own = parts()
    y = own.test["y"].dropna().to_numpy()
    assert len(y) == 49
    errors = given_others.absolute_errors(y + np.linspace(0, 1, 49), own, "y")
    np.testing.assert_allclose(errors, np.maximum(np.linspace(0, 1, 49), 0.05))


def test_the_log_loss_of_an_unknown_label_is_that_of_the_least_probability():
    shares = pd.DataFrame({"a": [0.5, 1.0, 0.2], "b": [0.5, 0.0, 0.8]})
    found = given_others.log_losses(shares, pd.Series(["b", "b", "c"]))
    np.testing.assert_allclose(found, -np.log([0.5, 1e-4, 1e-4]))


def test_boosting_learns_from_numbers_and_labels():
    own = parts()
    assert given_others.of_labels(own, "town").mean() < 0.2
    errors = given_others.of_numbers(own, "y")
    without = given_others.of_numbers(own._replace(train=own.train.assign(town="a")), "y")
    assert errors.mean() < 1.1
    assert errors.mean() < without.mean()


@pytest.mark.slow
def test_a_cell_compares_the_fits_and_refuses_a_column_that_is_not_learned(monkeypatch):
    study = Study("tables")
    settings = dict(study.cells["given_others/small"])
    found = given_others.score(**settings)
    for name in ("joint", "target", "change"):
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    assert found["change"] == pytest.approx(found["target"] / found["joint"])
    assert settings["column"] in given_others.columns(
        **{key: value for key, value in settings.items() if key != "column"}
    )
    with pytest.raises(UserError, match="does not learn the column nothing"):
        given_others.score(**{**settings, "column": "nothing"})
