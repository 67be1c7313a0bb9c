"""Kinds of columns: their words, faults of a table, rounded columns, and maps to the real line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers import field
from pipeline import text
from torch.autograd.functional import jacobian
from torch.testing import assert_close

import flows
from flows.command_line.wording import shell_words
from flows.tables.checking import check
from flows.tables.column_maps import ColumnMaps
from flows.tables.duplicates import first_copies
from flows.tables.field import Field, registered
from flows.tables.notices import TableError
from flows.tables.options import FitOptions, options_of
from flows.tables.rows import round_rows
from flows.tables.spreading import dequantise
from stages.pipeline.preparation import from_real, learnable, scorable

ROWS = 100
MIXED = [
    field("a"),
    Field.parse("b", "positive"),
    Field.parse("c", "interval:-2:3"),
    Field.parse("d", "integer"),
]
COUNT = Field.parse("n", "count")
RATING = Field.parse("r", "integer:1:5")
WARDS = field("ward", "category", step=1.0, labels=("east", "north", "west"))


def rows(*columns, n=ROWS):
    """Return rows with the given columns; a word stands for random values of this kind."""
    rng = np.random.default_rng(0)
    made = {
        "normal": lambda: rng.normal(size=n),
        "share": lambda: rng.uniform(size=n),
        "count": lambda: rng.poisson(20, n).astype(float),
    }
    return np.stack([made[c]() if isinstance(c, str) else c for c in columns], axis=1)


def named(values):
    return [field(name) for name, _ in zip("abcd", values, strict=False)]


def error(columns, values, **others):
    """Return the error about a table, in the words of the command line."""
    with pytest.raises(TableError) as caught:
        check(columns, values, **others)
    return caught.value.text(shell_words)


def inspected(columns, values):
    """Return the columns, and the notices in the words of the command line."""
    found = check(columns, values)
    return found.fields, [notice.text(shell_words) for notice in found.notices]


def dequantised(columns, values, seed=0):
    return dequantise(columns, values, first_copies(values), seed)


# Words


@pytest.mark.parametrize(
    "word",
    [
        "real",
        "positive",
        "interval:0:1",
        "interval:-2.5:1000",
        "integer",
        "integer:0.1",
        "integer:-3:120",
        "count",
        "count:5",
        "date",
    ],
)
def test_a_kind_survives_a_round_trip_through_its_word(word):
    column = Field.parse("x", word)
    assert column.word == word
    assert Field.from_json(column.to_json()) == column


def test_the_largest_value_of_a_file_of_version_0_3_is_the_farthest():
    stored = {"name": "n", "kind": "count", "low": None, "high": None, "step": 1.0, "largest": 9.0}
    assert Field.from_json(stored) == field("n", "count", step=1.0, farthest=9.0)


def test_only_categories_are_stored_with_labels():
    again = Field.from_json(json.loads(json.dumps(WARDS.to_json())))
    assert again == WARDS
    assert hash(again) == hash(WARDS)
    assert field("a").to_json() == {"name": "a", "kind": "real"}


@pytest.mark.parametrize(
    "word",
    [
        "",
        "whole",
        "real:1",
        "interval",
        "interval:0",
        "interval:1:0",
        "interval:0:inf",
        "interval:a:b",
        "integer:0",
        "integer:-1",
    ],
)
def test_an_invalid_kind_gives_a_one_line_error_with_the_column(word):
    with pytest.raises(
        ValueError,
        match=r"^column age: '.*' is not a kind; a kind is real, positive, interval:LOW:HIGH, "
        r"integer, integer:STEP, integer:LOW:HIGH, integer:LOW:, integer::HIGH, "
        r"integer:LOW:HIGH:STEP, count, count:STEP, "
        r"category or date$",
    ):
        Field.parse("age", word)


def test_help_and_the_settings_name_all_kinds():
    *words, last = (each for cls in registered().values() for each in cls.words)
    assert f"a kind: {', '.join(words)} or {last}" in options_of(FitOptions)["columns"][1].shell
    assert f"{', '.join([*words, last])}; rules choose" in text("params.yaml")


# Faults of a table


def test_a_sound_table_is_unchanged_and_has_no_notice():
    columns = [field("a"), Field.parse("b", "interval:0:1"), Field.parse("n", "integer")]
    assert inspected(columns, rows("normal", "share", "count")) == (columns, [])


def test_a_fit_needs_ten_rows():
    assert "9 rows" in error([field("a")], rows("normal", n=9))
    check([field("a")], rows("normal", n=10))


@pytest.mark.parametrize(
    ("word", "value", "said"),
    [
        (
            "positive",
            0.0,
            "0 and inf; to learn any number, pass --column share=real",
        ),
        ("positive", -1.0, "strictly between 0 and inf"),
        (
            "interval:0:1",
            1.0,
            "0 and 1; to learn any number, pass --column share=real",
        ),
        ("interval:0:1", -0.5, "strictly between 0 and 1"),
        ("integer", 2.5, "must be whole numbers;"),
        ("integer:0.25", 2.6, "multiples of 0.25"),
        ("count", 2.5, "whole numbers of at least 0; to learn any number"),
        ("count", -1.0, "whole numbers of at least 0"),
        ("real", np.inf, "finite"),
        ("real", -np.inf, "finite"),
    ],
)
def test_the_error_for_a_disallowed_value_names_column_and_row(word, value, said):
    sound = 0.5 if "interval" in word else np.arange(1.0, ROWS + 1)
    values = rows("normal", np.where(np.arange(ROWS) == 41, value, sound))
    columns = [field("a"), Field.parse("share", word)]
    message = error(columns, values)
    assert f"column share, row 42 holds {value}; " in message
    assert said in message
    assert "row 1042" in error(columns, values, rows=np.arange(1001, 1001 + ROWS))  # in the file


A, B, OTHER = rows("normal", "share", "count").T


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            (A, np.full(ROWS, 7.0)),
            "b holds 7 in every row; to leave the column out, pass",
        ),
        ((1e200 * A,), "change its unit"),
        ((1e-200 * A,), "change its unit"),
        ((A, np.arange(ROWS), A), "column c equals a"),
        (
            (A, OTHER, B, 1e6 + 3 * A - 2 * B),
            "column d is a linear combination of a, c, so no joint",
        ),
    ],
    ids=["constant", "too large to square", "too small", "equal", "a combination"],
)
def test_the_error_names_columns_without_a_density(values, said):
    assert said in error(named(values), rows(*values))


def test_nearly_collinear_columns_large_offsets_and_few_rows_are_accepted():
    for values in ((A, A + 1e-6 * B), (1e9 + A, B)):
        check(named(values), rows(*values))
    wide = np.random.default_rng(0).normal(size=(20, 40))
    check([field(f"x{d}") for d in range(40)], wide)


# Rounded columns


@pytest.mark.parametrize(
    ("start", "step", "said"),
    [
        (0, 1.0, "--column age=count"),
        (0, 0.1, "--column age=count:0.1"),
        (0, 25.0, "--column age=count:25"),
        (-20, 1.0, "--column age=integer"),
        (0.5, 1.0, "; samples lie between the steps"),
    ],
)
def test_a_rounded_column_gets_its_step_and_a_notice_with_advice(start, step, said):
    (column,), (notice,) = inspected([field("age")], start + step * rows("count"))
    assert column.kind == "real"
    assert column.step == pytest.approx(step)
    assert "column age holds" in notice
    assert f"in steps of {step:g}; rounded values have no density" in notice
    assert notice.endswith(said)


def test_a_whole_column_with_minimum_0_is_advised_to_be_a_count():
    _, (notice,) = inspected([field("visits")], np.abs(rows("count") - 20))
    assert notice.endswith("--column visits=count")


def test_a_column_with_many_zeros_gets_a_notice():
    x = rows("normal")[:, 0]
    (column,), (notice,) = inspected([field("rain")], rows(np.where(x < 0, 0, x)))
    assert 0 < column.step < 1
    assert "distinct values" in notice


def test_only_rounded_values_get_noise_of_one_step():
    values = rows("normal", np.repeat([3.0, 4.0], ROWS // 2))
    columns = check([field("a"), field("n")], values).fields
    spread = dequantised(columns, values)
    assert (spread[:, 0] == values[:, 0]).all()
    assert (np.round(spread[:, 1]) == values[:, 1]).all()
    assert len(np.unique(spread[:, 1])) == ROWS
    assert (spread == dequantised(columns, values)).all()
    assert not (spread == dequantised(columns, values, 1)).all()


@pytest.mark.parametrize("word", ["positive", "interval:0:10"])
def test_dequantised_values_stay_within_their_bounds(word):
    values = rows(np.repeat([0.5, 9.5, 2.0, 3.0, 4.0], 200), n=1000)
    columns = check([Field.parse("a", word)], values).fields
    low, high = columns[0].bounds
    spread = dequantised(columns, values)
    assert columns[0].step == 1
    assert ((low < spread) & (spread < high)).all()


def test_a_category_gets_no_rounding_notice_and_its_noise_fills_its_cells():
    codes = rows(np.repeat([0.0, 1, 2, 2], ROWS // 4))
    assert inspected([WARDS], codes) == ([WARDS], [])
    spread = dequantised([WARDS], codes)
    assert WARDS.bounds == (-0.5, 2.5)
    assert (np.round(spread) == codes).all()
    assert spread[:25].min() < -0.4
    assert spread[-25:].max() > 2.4


def test_constant_and_duplicate_categories_are_rejected():
    one = field("ward", "category", step=1.0, labels=("east",))
    message = error([field("a"), one], rows("normal", np.zeros(ROWS)))
    assert "ward holds 'east' in every row; to leave the column out, pass --drop" in message
    codes = np.repeat([0.0, 1, 2, 2], ROWS // 4)
    message = error([WARDS, field("code", "integer", step=1.0)], rows(codes, codes))
    assert "column code equals ward" in message


def test_counts_allow_whole_numbers_from_0_and_categories_allow_codes():
    x = np.array([-1, -0.3, 0, 1, 1.5, 2, 3, np.inf, np.nan])
    assert COUNT.holds(x).tolist() == [False, False, True, True, False, True, True, False, False]
    assert WARDS.holds(x).tolist() == [False, False, True, True, False, True, *[False] * 3]


def test_scored_counts_are_whole_and_scored_categories_are_dequantised():
    columns, values = [COUNT, WARDS], rows("count", np.repeat([0.0, 1, 2, 2], ROWS // 4))
    scored = from_real(columns, scorable(columns, values, 0), whole=True)
    assert (scored[:, 0] == values[:, 0]).all()
    assert (scored[:, 1] != values[:, 1]).all()
    assert (round_rows(columns, scored) == values).all()
    assert (round_rows(columns, from_real(columns, learnable(columns, values, 0))) == values).all()


# The bijection

BENT = [
    field("a", "positive", farthest=0.6),
    field("n", "count", step=1.0, farthest=2.0),
    field("k", "count", step=0.5, farthest=1.0),
    field("r", "integer", low=0.0, high=3.0, step=1.0),
]


def noise(count=50, scale=3.0):
    return scale * torch.randn(
        2, 4, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


@pytest.mark.parametrize("columns", [[*MIXED[:3], COUNT], BENT], ids=["logarithms", "bent"])
def test_the_inverse_undoes_the_map_and_the_log_determinants_cancel(columns):
    bijection, z = ColumnMaps(columns), noise()
    x, back = bijection.inverse(z)
    again, there = bijection(x)
    assert_close(again, z, rtol=0, atol=1e-9)
    assert_close(there + back, torch.zeros(2, 50, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("columns", [[*MIXED[:3], COUNT], BENT], ids=["logarithms", "bent"])
def test_the_log_determinant_equals_that_of_the_jacobian(direction, columns):
    bijection, x = ColumnMaps(columns), noise(3, 0.5).sigmoid()
    step = getattr(bijection, direction)
    blocks = torch.einsum("manmbn->mnab", jacobian(lambda value: step(value)[0], x))
    assert_close(step(x)[1], torch.linalg.slogdet(blocks)[1])


def test_the_map_of_a_positive_column_bends_smoothly_at_its_largest_value():
    """The map is a logarithm up to there, and a tail of Student's t behind it has a variance."""
    bijection = ColumnMaps([field("a", "positive", farthest=10.0)])
    values = [1.0, 10.0 - 1e-6, 10.0, 10.0 + 1e-6, 20.0, 20.0 + 1e-6, 50.0]
    x = torch.tensor([[values]], dtype=torch.float64)
    z, log_det = bijection(x)
    assert_close(z[0, 0, :3], x[0, 0, :3].log())
    assert z[0, 0, 4].item() == pytest.approx(np.log(10) + 31 / 5)
    assert z[0, 0, 6].item() == pytest.approx(np.log(10) + 31 / 5 + 16 * 3)
    assert_close(log_det[0, [1, 4]], log_det[0, [3, 5]], rtol=0, atol=1e-6)
    far = np.log(10.0) + np.random.default_rng(0).standard_t(4, 100_000)
    drawn = bijection.inverse(torch.from_numpy(far)[None, None])[0].numpy()
    assert drawn.std() < 20
    assert np.exp(far).std() > 1e6


def test_a_bounded_integer_has_its_two_bounds_and_draws_nothing_else():
    assert RATING.bounds == (0.5, 5.5)
    values = rows(np.repeat([1.0, 2.0, 3.0, 5.0], 25))
    assert RATING.holds(np.array([0.0, 1.0, 2.5, 5.0, 6.0])).tolist() == [0, 1, 0, 1, 0]
    assert inspected([RATING], values) == ([RATING], [])
    z = noise(scale=30).reshape(1, 1, -1)
    bijection = ColumnMaps([RATING])
    drawn = bijection.round(bijection.inverse(z)[0])
    assert set(drawn.unique().tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_real_and_whole_columns_are_mapped_by_the_identity():
    x = noise()
    z, log_det = ColumnMaps([field(name) for name in "abcd"])(x)
    assert torch.equal(z, x)
    assert not log_det.any()


@pytest.mark.parametrize(
    "word",
    [
        "positive",
        "interval:0:1",
        "interval:1000000000:1000000001",
        "interval:-3:1e-9",
        "count",
        "integer:1:5",
    ],
)
def test_samples_are_strictly_within_the_bounds_for_any_noise(word):
    column = Field.parse("a", word)
    low, high = column.bounds
    z = [noise(scale=scale).reshape(1, 1, -1) for scale in (1, 30, 1000, 1e6)]
    x, _ = ColumnMaps([column]).inverse(torch.cat(z, dim=2))
    assert bool(((low < x) & (x < high) & x.isfinite()).all())


def test_whole_numbers_are_the_closest_floats_to_multiples_of_their_steps():
    x = torch.tensor([[[0.26, 0.34, -0.01]], [[1.0, 2.04, 1e6]]], dtype=torch.float64)
    tenths = ColumnMaps([Field.parse("a", "integer:0.1")]).round(x)
    assert tenths.tolist() == [[[0.3, 0.3, 0.0]], [[1.0, 2.0, 1e6]]]
    assert str(tenths[0, 0, 2].item()) == "0.0"
    ones = ColumnMaps([Field.parse("a", "integer")]).round(x)
    assert ones.tolist() == [[[0, 0, 0]], [[1, 2, 1e6]]]
    assert ColumnMaps([WARDS]).round(x).tolist() == [[[0, 0, 0]], [[1, 2, 2]]]
    least = torch.tensor([[[-0.499, 0.2, 1e300]]], dtype=torch.float64)
    assert ColumnMaps([COUNT]).round(least).tolist() == [[[0, 0, 2.0**53]]]


# Columns of models and problems


def test_models_problems_and_densities_keep_names_and_kinds_of_columns(tmp_path):
    model = flows.build(flows.NSF(hidden=4), (4,), to_real=ColumnMaps(MIXED))
    density, values = flows.Density(model), np.full((5, 4), 1.0)
    assert density.columns == model.to_real.fields == MIXED
    problem = flows.Problem(values, values, None, model.to_real)
    assert problem.to_real.names == list("abcd")
    density.save(tmp_path / "model")
    assert flows.load(tmp_path / "model").columns == MIXED
    flows.save(flows.load(tmp_path / "model"), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()
    frame = density.sample(3)
    assert list(frame) == ["a", "b", "c", "d"]
    assert np.isfinite(density.log_prob(frame[list("dcba")])).all()


# Copies


def patients(n: int = 300) -> np.ndarray:
    """Return rows of four rounded columns, hardly any two of which are equal."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(n, 4)) + rng.normal(size=(n, 1))
    return np.round(spread * [12, 50, 14, 11] + [50, 260, 95, 91])


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(0).normal(size=(300, 2)),
        patients(),
        np.column_stack([np.random.default_rng(0).normal(size=300), np.arange(300) % 2]),
    ],
    ids=["real", "rounded", "with a label"],
)
def test_copies_of_rows_are_found_and_get_the_same_noise(rows: np.ndarray):
    tripled = np.concatenate([rows, rows, rows])
    np.testing.assert_array_equal(first_copies(tripled), np.tile(first_copies(rows), 3))
    columns, notices = inspected([field(f"x{d}") for d in range(rows.shape[1])], tripled)
    once = check(columns, rows).fields
    assert columns == once
    assert any("600 of 900 rows are copies of other rows" in notice for notice in notices)
    spread = dequantised(columns, tripled)
    np.testing.assert_array_equal(spread[:300], spread[300:600])


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(0).integers(0, 20, (1000, 2)),
        np.random.default_rng(0).integers(0, 3, (1000, 6)),
        patients()[:, :1],
        np.array([[4.0, 5.0]] * 900 + [[5.0, 4.0]] * 100),
    ],
    ids=["two whole numbers", "six labels", "one column", "two different rows"],
)
def test_rows_that_are_equal_by_chance_are_not_copies(rows: np.ndarray):
    np.testing.assert_array_equal(first_copies(rows.astype(float)), np.arange(len(rows)))


def test_rows_without_a_continuous_value_are_not_copies():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=100), rng.poisson(3.0, size=100)])
    rows[:10, 0] = np.nan
    np.testing.assert_array_equal(first_copies(rows), np.arange(100))
