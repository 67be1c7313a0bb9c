"""The maps before a flow: from the user's units, normal scores (margins), and whitening."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import flows
from flows.bijections import Margins, Whiten
from flows.core.checkpoint import CheckpointError
from flows.networks.preprocessing import Preprocessing
from flows.networks.to_real import ToReal
from flows.tables.column_maps import ColumnMaps


def rows(n: int, dim: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim))


@pytest.fixture(params=["normal", "skewed", "two modes", "far out"])
def column(request: pytest.FixtureRequest) -> torch.Tensor:
    rng = np.random.default_rng(1)
    x = {
        "normal": rng.standard_normal(300),
        "skewed": np.exp(2 * rng.standard_normal(300)),
        "two modes": np.concatenate([rng.normal(-5, 0.1, 150), rng.normal(5, 1, 150)]),
        "far out": np.concatenate([rng.standard_normal(299), [1e6]]),
    }[request.param]
    return torch.from_numpy((x - x.mean()) / x.std())[None, None]


def test_margins_make_a_column_about_normal_and_their_density_is_exact(column: torch.Tensor):
    margins = Margins(1, 1)
    margins.initialize(column)
    z, log_det = margins(column)
    assert abs(float(z.mean())) < 0.15
    assert 0.8 < float(z.std()) < 1.2
    assert float(z.abs().max()) < 8.1
    back, minus = margins.inverse(z)
    assert_close(back, column, rtol=1e-9, atol=1e-9)
    assert_close(minus, -log_det, rtol=0, atol=1e-8)
    x = column.clone().requires_grad_()
    (slope,) = torch.autograd.grad(margins(x)[0].sum(), x)
    assert_close(slope.log()[:, 0], log_det, rtol=0, atol=1e-8)
    # Equal steps in z, which are wide steps in the tails of x
    edges = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[None, None]
    x, _ = margins.inverse(edges)
    z, log_det = margins((x[..., 1:] + x[..., :-1]) / 2)
    mass = ((log_det - 0.5 * z[:, 0] ** 2).exp() * x.diff(dim=2)[:, 0]).sum() / np.sqrt(2 * np.pi)
    assert abs(float(mass) - 1) < 0.001


def test_samples_behind_margins_have_the_spread_of_the_column():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(400))[None, None]
    margins = Margins(1, 1)
    margins.initialize(x)
    z = torch.from_numpy(np.random.default_rng(1).standard_normal(400_000))[None, None]
    drawn = margins.inverse(z)[0]
    assert float(drawn.std() / x.std()) == pytest.approx(1, abs=0.08)
    assert float(drawn.abs().max()) < 30


def test_margins_hardly_change_a_large_normal_column():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(5_000))[None, None]
    margins = Margins(1, 1)
    margins.initialize(x)
    near = x[x.abs() < 2][None, None]
    assert float((margins(near)[0] - near).abs().max()) < 0.15


@pytest.mark.parametrize("only", ["margins", "whiten", "raw"])
def test_only_the_named_map_is_fitted(only: str):
    own = np.exp(rows(50, 2))
    own = (own - own.mean(axis=0)) / own.std(axis=0)  # the scaler is the identity
    x = torch.from_numpy(own).T[None]
    made = Preprocessing((2,), 1)
    made.add_margins()
    made.add_whitening()
    made.fit(own[:, None], margins=only == "margins", whiten=only == "whiten")
    assert made.margins is not None
    assert made.whiten is not None
    for name, step in (("margins", made.margins), ("whiten", made.whiten)):
        z, log_det = step(x)
        assert torch.allclose(z, x) == (name != only)
        assert torch.allclose(log_det, torch.zeros_like(log_det)) == (name != only)


def test_whitening_removes_correlations_and_inverts():
    x, eye = torch.from_numpy(rows(200)).T[None], torch.eye(3, dtype=torch.float64)
    whiten = Whiten(3, 1)
    whiten.initialize(x)
    z, log_det = whiten(x)
    assert_close(torch.cov(z[0], correction=0), eye, rtol=0, atol=1e-3)
    assert_close(whiten.inverse(z)[0], x)
    assert_close(log_det[0, 0], -0.5 * torch.logdet(torch.cov(x[0], correction=0) + 1e-6 * eye))


# The map from the user's units


class LogPower(ToReal):
    """Positive numbers x, as the logarithms of their power; a map with an argument."""

    name = "log power"

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.power * x.log(), (math.log(self.power) - x.log()).sum(1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = (z / self.power).exp()
        return x, (x.log() - math.log(self.power)).sum(1)

    def to_json(self) -> dict[str, Any]:
        return {"power": self.power}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LogPower:
        return cls(content["power"])


def of_positive_numbers() -> Any:
    return flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=2, to_real=LogPower(2.0))


def test_a_population_learns_in_the_units_of_any_fixed_bijection():
    x = np.exp(np.random.default_rng(0).normal(3, 0.5, (200, 2)))
    settings = flows.TrainingSettings(epochs=3)
    own, real = (
        of_positive_numbers(),
        flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=2),
    )
    flows.train(own, x, settings=settings)
    flows.train(real, 2 * np.log(x), settings=settings)
    shift = torch.from_numpy((np.log(2) - np.log(x)).sum(axis=1))[:, None]
    assert_close(own.log_prob(x), real.log_prob(2 * np.log(x)) + shift, rtol=0, atol=1e-5)
    assert (own.sample((100,)) > 0).all()


def test_a_file_keeps_the_map_by_its_registered_name(tmp_path: Path, monkeypatch: Any):
    model = of_positive_numbers()
    flows.save(model, tmp_path / "model")
    loaded = flows.load(tmp_path / "model")
    assert isinstance(loaded, flows.Population)
    assert isinstance(loaded.to_real, LogPower)
    x = [[1.0, 2.0], [0.5, 3.0]]
    assert_close(loaded.log_prob(x), model.log_prob(x), rtol=0, atol=0)
    monkeypatch.delitem(ToReal.maps, "log power")
    with pytest.raises(
        CheckpointError, match="'log power' to the real line, which is not defined; import"
    ):
        flows.load(tmp_path / "model")


def test_the_columns_of_a_table_are_a_map_with_the_old_name_for_one_release():
    columns = [flows.Field.parse("a", "positive"), flows.Field.parse("b", "count")]
    new = flows.build(flows.RealNVP(hidden=4), (2,), to_real=ColumnMaps(columns))
    with pytest.warns(FutureWarning, match="to_real=ColumnMaps"):
        old = flows.build(flows.RealNVP(hidden=4), (2,), columns=columns)
    assert old.description == new.description
    assert isinstance(old.to_real, ColumnMaps)
    assert old.to_real.fields == columns


def test_a_map_that_a_file_could_not_hold_is_refused():
    with pytest.raises(TypeError, match="Nameless needs a name"):

        class Nameless(ToReal):
            pass

    with pytest.raises(TypeError, match="Shifted has arguments, so it needs to_json and from_json"):

        class Shifted(ToReal):
            name = "shifted"

            def __init__(self, shift: float) -> None:
                super().__init__()
                self.shift = shift

    with pytest.raises(TypeError, match="'columns' of Mine is that of ColumnMaps"):

        class Mine(ToReal):
            name = "columns"

    assert not {"", "shifted"} & ToReal.maps.keys()
    assert ToReal.maps["columns"] is ColumnMaps


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"to_real": ["a"]}, TypeError, r"to_real = \['a'\]: must be a map, such as ColumnMaps"),
        ({"context": 1}, NotImplementedError, "LogPower to the real line is not for populations"),
    ],
)
def test_a_map_that_the_population_cannot_take_is_refused(
    how: dict[str, Any], error: type[Exception], said: str
):
    with pytest.raises(error, match=said):
        flows.build(flows.NSF(hidden=4), (1,), **{"to_real": LogPower(2.0), **how})


@pytest.mark.parametrize("recipe", ["fixed", "auto"])
def test_rows_that_the_map_does_not_allow_are_refused_before_training(recipe: str):
    model = flows.build(flows.RealNVP(hidden=4), (2,), members=5, to_real=LogPower(2.0))
    x = np.exp(rows(40, 2))
    x[3, 1] = -1.0
    said = "row 3 of train: column 1 holds -1; allowed are finite numbers that LogPower maps to"
    with pytest.raises(ValueError, match=said):
        flows.train(model, x, settings=flows.TrainingSettings(recipe=recipe, epochs=1))
