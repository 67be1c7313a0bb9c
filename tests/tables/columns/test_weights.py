"""Weights of rows: the number of copies of each row, errors, and fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import SHORT_RECIPE, learned, parabola

import flows
from flows.__main__ import main
from flows.tables.columns.notices import TableError
from flows.tables.columns.parsing import from_user
from flows.tables.columns.weights import COPIES, counts


def test_whole_weights_with_a_small_mean_are_the_numbers_of_copies():
    assert counts(np.array([1.0, 2.0, 1.0, 5.0])).tolist() == [1, 2, 1, 5]


@pytest.mark.parametrize("scale", [1e-9, 0.3, 1e6])
def test_counts_of_other_weights_follow_their_sums(scale: float):
    weights = np.random.default_rng(0).exponential(size=500) * scale
    found = counts(weights)
    wanted = weights * COPIES * 500 / weights.sum()
    assert found.sum() == COPIES * 500
    assert np.abs(found.cumsum() - wanted.cumsum()).max() <= 0.5 + 1e-6
    assert np.abs(found - wanted).max() <= 1 + 1e-6


def test_rows_are_repeated_and_share_a_group_with_their_copies():
    frame = parabola(30).assign(w=[0, 1, 2] * 10)
    rows = learned(from_user(frame, {}), {}, weights="w")
    kept = frame[frame["w"] > 0]
    expected = kept.loc[kept.index.repeat(kept["w"]), ["x", "y"]].to_numpy()
    np.testing.assert_array_equal(rows.values, expected)
    assert rows.is_weighted
    assert len(np.unique(rows.groups)) == len(np.unique(rows.copies)) == 20
    np.testing.assert_array_equal(rows.values[rows.copies], rows.values)
    said = [notice.text(str) for notice in rows.notices]
    assert said == [
        "column w holds the weights of 30 rows, 30 in total; it is not learned, and samples have "
        "the weight 1",
        "10 rows with the weight 0 are left out",
    ]


@pytest.mark.parametrize(
    ("value", "found"),
    [(np.nan, "no value"), (-1.0, "-1.0"), (np.inf, "inf")],
)
def test_a_weight_that_is_no_frequency_is_an_error_with_its_row(value: float, found: str):
    frame = parabola(20).assign(w=1.0)
    frame.loc[[7, 9], "w"] = value
    with pytest.raises(TableError) as raised:
        flows.fit(frame, weights="w")
    assert str(raised.value) == (
        f"column w, row 7 holds {found}; a weight must be a finite number of at least 0"
    )


def test_wrong_columns_of_weights_are_errors():
    frame = parabola(20).assign(w=0.0)
    with pytest.raises(TableError, match="column w holds only weights of 0"):
        flows.fit(frame, weights="w")
    with pytest.raises(TableError, match="there is no column v; the columns are: x, y, w"):
        flows.fit(frame, weights="v")
    with pytest.raises(TableError, match="column w cannot hold the weights and be a target"):
        flows.fit(frame, weights="w", target="w")
    with pytest.raises(TableError, match="column w, row 0 holds 'b'; a weight must be"):
        flows.fit(frame.assign(w="b"), weights="w")


def test_weights_of_1_are_the_same_as_no_weights():
    frame = parabola()
    weighted = flows.fit(frame.assign(w=1), members=2, weights="w", seed=3, settings=SHORT_RECIPE)
    plain = flows.fit(frame, members=2, seed=3, settings=SHORT_RECIPE)
    np.testing.assert_array_equal(weighted.log_prob(frame), plain.log_prob(frame))
    assert replace(weighted.record, fit={}).to_json() == replace(plain.record, fit={}).to_json()
    for name, values in plain.population.state_dict().items():
        assert values.equal(weighted.population.state_dict()[name])


def whole_numbers():
    rows = np.round(np.random.default_rng(0).normal(size=(190, 2)) * [12, 15])
    return pd.DataFrame(rows, columns=["x", "y"]).drop_duplicates(ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize("frame", [parabola(), whole_numbers()], ids=["numbers", "whole numbers"])
def test_a_table_with_whole_weights_is_the_same_as_its_rows_repeated(frame):
    count = np.arange(len(frame)) % 3 + 1
    repeats = frame.loc[frame.index.repeat(count)].reset_index(drop=True)
    how = {"members": 2, "seed": 3, "settings": SHORT_RECIPE}
    weighted = flows.fit(frame.assign(w=count), weights="w", **how).record
    repeated = flows.fit(repeats, **how).record
    assert replace(weighted, fit={}).to_json() == replace(repeated, fit={}).to_json()
    np.testing.assert_array_equal(*(x.row_scores.log_density for x in (weighted, repeated)))


def test_the_column_of_weights_is_not_learned_and_is_1_in_samples(tmp_path: Path):
    frame = parabola(40).assign(w=[0.5, 1.5] * 20, label=["a", "b"] * 20)
    density = flows.fit(frame, members=2, weights="w", settings=SHORT_RECIPE)
    density.save(tmp_path / "table.flow")
    loaded = flows.load(tmp_path / "table.flow")
    assert [column.name for column in loaded.columns] == ["label", "x", "y"]
    drawn = loaded.sample(3)
    assert list(drawn) == list(frame)
    assert drawn["w"].tolist() == [1.0, 1.0, 1.0]
    assert np.isfinite(loaded.log_prob(frame.drop(columns="w"))).all()
    assert "column w: the weights of the rows, 1 in samples" in repr(density)
    assert "on 160 rows (repeated by their weights)" in repr(density)
    assert flows.inspect(frame, weights="w").loc["w", "use"] == "excluded"


def test_the_out_of_fold_score_is_weighted():
    frame = parabola().assign(w=[1, 3] * 40)
    how = {"mixtures": 0, "weights": "w", "settings": SHORT_RECIPE}
    record = flows.fit(frame, members=5, **how).record
    first = np.repeat([1, 3] * 40, [1, 3] * 40)
    own = record.row_scores.log_density
    starts = np.flatnonzero(np.diff(np.repeat(np.arange(80), [1, 3] * 40), prepend=-1))
    single, weight = own[starts], first[starts]
    assert record.held_out == pytest.approx(np.average(single, weights=weight))
    assert record.held_out_se == pytest.approx(own.std() / np.sqrt(160**2 / (40 + 9 * 40)))


@pytest.mark.usefixtures("short_recipe")
def test_the_command_line_takes_weights(tmp_path: Path, capsys):
    parabola().assign(w=[1, 2] * 40).to_csv(tmp_path / "table.csv", index=False)
    command = f"fit {tmp_path}/table.csv -o {tmp_path}/table.flow --members 5 --weights w"
    assert main(command.split()) in (0, None)
    shown = capsys.readouterr()
    assert "column w: the weights of the rows" in shown.out
    assert "column w holds the weights of 80 rows, 120 in total" in shown.err


def test_subjects_gaps_and_targets_keep_the_weights_of_their_rows():
    frame = parabola(40).assign(w=[1, 3] * 20, who=np.arange(40) // 2)
    frame.loc[[0, 5], "y"] = np.nan
    rows = learned(from_user(frame, {}), {}, "learn", weights="w", group="who", targets=["y"])
    kept = frame.drop([0, 5])
    np.testing.assert_array_equal(
        rows.values, kept.loc[kept.index.repeat(kept["w"]), ["x", "y"]].to_numpy()
    )
    assert len(np.unique(rows.groups)) == 20
    gaps = learned(from_user(frame, {}), {}, "learn", weights="w")
    assert np.isnan(gaps.values[:, 1]).sum() == 1 + 3
