"""The values of a column as users write them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import SHORT_RECIPE, SMALL, error_message, taken

import flows
from flows.tables.columns.notices import TableError
from flows.tables.columns.values import as_written, to_floats


@pytest.mark.parametrize("kind", ["complex128", "complex64", object])
def test_complex_numbers_are_refused_and_lose_no_part(kind):
    rng = np.random.default_rng(0)
    real = pd.DataFrame(rng.normal(size=(60, 2)), columns=["x", "wave"])
    odd = real.assign(wave=(real["wave"] + 1j).astype(kind))
    density = flows.fit(real, SMALL, members=1, settings={"recipe": "quick"})
    said = "column wave holds complex numbers; make two columns of the real and the imaginary parts"
    for ask in (
        flows.fit,
        flows.inspect,
        density.log_prob,
        density.impute,
        lambda frame: density.predict(frame, "x"),
        lambda frame: density.sample(given=frame),
    ):
        assert error_message(ask, odd, error=TableError) == said
    for ask in (flows.fit, density.log_prob):  # an array has one type for all columns
        assert "holds complex numbers" in error_message(ask, odd.to_numpy(), error=TableError)
    given = error_message(density.probability, {"wave": (None, 1j)})
    assert given == f"event: {said}"
    assert density.log_prob(real.assign(other=1j)).shape == (60,)  # other columns are ignored


def test_a_message_names_a_number_in_another_format_before_other_text():
    values = pd.Series(["-", "45,5", "46,5"], dtype=object)
    with pytest.raises(TableError, match=r"row 1 holds '45,5', which is not a number; to read it"):
        to_floats(values, "share", is_fit=True)


def test_text_among_many_numbers_counts_as_missing():
    x, y = (np.random.default_rng(seed).normal(size=240) for seed in (0, 1))
    x = x.astype(object)
    x[3], x[5] = ".", "n.d."
    rows, said = taken(pd.DataFrame({"x": x, "y": y}))
    assert np.isnan(rows.values[:, 0]).sum() == 2
    assert "holds text among numbers in 2 rows, such as '.', which counts as a missing" in said["x"]
    assert "pass na=['.']" in said["x"]


@pytest.mark.slow
def test_text_among_numbers_counts_as_missing_in_questions_too(tmp_path):
    x, y = (np.random.default_rng(seed).normal(size=240) for seed in (0, 1))
    frame = pd.DataFrame({"x": x.astype(object), "y": y})
    frame.loc[3, "x"], frame.loc[5, "y"] = "n.d.", np.nan
    fitted = flows.fit(frame, SMALL, settings=SHORT_RECIPE, members=2)
    fitted.save(tmp_path / "t.flow")
    density = flows.load(tmp_path / "t.flow")
    gap = density.log_prob(frame.assign(x=frame["x"].where(frame["x"] != "n.d.")))
    assert np.array_equal(density.log_prob(frame), gap)
    assert isinstance(density.impute(frame).loc[3, "x"], float)
    said = error_message(density.sample, 1, given={"x": "n.d."}, error=TableError)
    assert "holds 'n.d.', which is not a number" in said
    frame.loc[8, "x"] = "1,5"  # a number in another format is still a fault
    assert "row 8 holds '1,5'" in error_message(density.log_prob, frame, error=TableError)


def test_a_column_of_single_precision_is_read_as_it_was_written():
    written = np.round(np.random.default_rng(0).normal(20, 60, 300), 3)
    single = written.astype(np.float32).astype(np.float64)
    of_file = np.array([float(f"{value:.16f}"[:17]) for value in single])
    for stored in (single, of_file):
        assert not np.array_equal(stored, written)
        np.testing.assert_array_equal(as_written(stored), written)
    with_gap = np.r_[single, np.nan]
    assert np.isnan(as_written(with_gap)[-1])


@pytest.mark.parametrize(
    "x",
    [
        np.arange(1, 300) / 4_096,  # exact in double precision
        np.random.default_rng(0).normal(size=300),
        np.log(np.arange(2, 300)).astype(np.float32).astype(np.float64),  # no written decimals
        np.arange(300) / 8,
    ],
)
def test_other_numbers_are_read_as_they_are(x):
    np.testing.assert_array_equal(as_written(x), x)
