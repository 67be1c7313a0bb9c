"""The map from the user's units to the real line: any fixed bijection."""

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
from flows.core.checkpoint import CheckpointError
from flows.networks.to_real import ToReal
from flows.tables.columns.column_maps import ColumnMaps


def rows(n: int, dim: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim))


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
