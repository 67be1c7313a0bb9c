"""The maps of columns to the real line, as one bijection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from frames import rows_of
from helpers import checked, field
from torch.autograd.functional import jacobian
from torch.testing import assert_close

import flows
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.field import Field

MIXED = [
    field("a"),
    Field.parse("b", "positive"),
    Field.parse("c", "interval:-2:3"),
    Field.parse("d", "integer"),
]
COUNT = Field.parse("n", "count")
RATING = Field.parse("r", "integer:1:5")
WARDS = field("ward", "category", step=1.0, labels=("east", "north", "west"))


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
    values = rows_of(np.repeat([1.0, 2.0, 3.0, 5.0], 25))
    assert RATING.holds(np.array([0.0, 1.0, 2.5, 5.0, 6.0])).tolist() == [0, 1, 0, 1, 0]
    assert checked([RATING], values) == ([replace(RATING, edge=0.5)], [])
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
        "interval:1000000000:1000000001",
        "count",
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
