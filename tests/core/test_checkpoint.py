"""A checkpoint restores the saved model; an invalid file is rejected in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import error_message
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from shaking import shake

import flows
from flows.core import checkpoint
from flows.core.checkpoint import METADATA_KEY, CheckpointError
from flows.core.errors import UserError
from flows.networks import registry
from flows.networks.population import Population
from flows.recipe.record import MemberRecord, Record
from flows.training.trainer import Trainer


def realnvp(members=3):
    return flows.build(flows.RealNVP(couplings=2, hidden=4), (2,), members=members, seed=1)


def glow():
    settings = {"couplings": 2, "hidden": 4, "transform": "spline", "bins": 3}
    return flows.build(flows.Glow(**settings), (3,), members=2, seed=1)


def mixture():
    means = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    return flows.GaussianMixture(torch.tensor([0.3, 0.7]), means, torch.eye(2).repeat(2, 1, 1))


models = pytest.mark.parametrize("build", [realnvp, glow, mixture])


def shaken(build):
    """Return a model with another state than its initial state."""
    model = build()
    if isinstance(model, flows.Flow):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(20, *model.event_shape, generator=generator) * 3 + 1
        Trainer(model, x, flows.TrainingSettings(noise=0))
    return shake(model, 0.1)


@models
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loaded_model_equals_the_saved_model(build, dtype, tmp_path):
    model = shaken(build).to(torch.float64 if build is mixture else dtype)
    flows.save(model, tmp_path / "models" / "model.safetensors")
    loaded = flows.load(tmp_path / "models" / "model.safetensors")
    assert type(loaded) is type(model)
    assert loaded.description == model.description
    assert not loaded.training
    draws = [m.sample((9,), generator=torch.Generator().manual_seed(5)) for m in (model, loaded)]
    assert torch.equal(*draws)
    assert torch.equal(model.log_prob(draws[0]), loaded.log_prob(draws[0]))


@models
def test_the_same_model_gives_the_same_bytes_with_one_metadata_entry(build, tmp_path):
    for name in ("a", "b"):
        flows.save(shaken(build), tmp_path / name)
    flows.save(flows.load(tmp_path / "a"), tmp_path / "c")
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert list(file.metadata()) == [METADATA_KEY]
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_checkpoint_is_replaced_whole_or_left_alone(error, tmp_path):
    flows.save(realnvp(), tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    with patch("os.replace", side_effect=error), pytest.raises(error):
        flows.save(glow(), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    flows.save(glow(), tmp_path / "model")
    assert flows.load(tmp_path / "model").description["model"] == "glow"
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize(
    "name", [name for name in registry.names() if name != "conditional" and "_image" not in name]
)  # other tests are of models of images and of conditional flows
def test_the_history_of_every_member_is_inside_the_checkpoint(name, tmp_path):
    model = flows.build(registry.architecture(name), (2,), members=range(1, 3))
    x = np.random.default_rng(0).normal(size=(40, 2))
    flows.save(model, tmp_path / "untrained")
    assert flows.load(tmp_path / "untrained").history == {}
    flows.train(model, x, x[:10], flows.TrainingSettings(epochs=3, batch_size=20, log_every=2))
    *_, curve = model.history.values()
    curve[-1] = np.nan, -np.inf  # non-finite values of a failed member are kept
    flows.save(model, tmp_path / "trained")
    loaded = flows.load(tmp_path / "trained")
    assert loaded.history.keys() == model.history.keys()
    for key, values in model.history.items():
        assert loaded.history[key].dtype == values.dtype
        np.testing.assert_array_equal(loaded.history[key], values)
    assert loaded.member_range == model.member_range == range(1, 3)


# Files of earlier versions


def test_an_old_file_with_labels_is_refused_with_the_remedy():
    """Its networks learned labels as numbers."""
    path = Path(__file__).parents[1] / "files" / "version-0.3.0.flow"
    with pytest.raises(UserError, match=r"learned labels as numbers.*fit the table again"):
        flows.load(path)


def test_a_file_of_version_0_3_0_without_labels_is_read():
    density = flows.load(Path(__file__).parents[1] / "files" / "version-0.3.0-numbers.flow")
    assert [getattr(each, "farthest", None) for each in density.columns] == [7.0, 6.43, None, None]
    assert density.record.members[1].settings == {
        "preprocessing": "raw",
        "components": 1,
        "ridge": 0.1,
    }
    assert str(density).splitlines()[1:6] == [
        "column visits: count",
        "column paid: positive",
        "column share: real, missing in 6 rows",
        "column day: date",
        "column const: carried along, 'x'",
    ]
    days = pd.to_datetime(["2024-08-21", "2024-03-25", "2024-09-04"])
    rows = pd.DataFrame({"visits": [4, 1, 4], "paid": [2.7, 1.32, 2.16], "day": days, "const": "x"})
    found = density.log_prob(rows.assign(share=[0.2, 0.5, np.nan]))
    np.testing.assert_allclose(found, [-8.394159, -8.971213, -8.367327], rtol=0, atol=2e-3)
    drawn = density.sample(2)
    assert drawn["paid"].tolist() == [1.89, 6.44]
    assert drawn["share"].tolist() == pytest.approx([0.1153971, -0.0294043], abs=1e-6)
    assert drawn["const"].tolist() == ["x", "x"]


def test_networks_of_version_0_3_0_without_columns_keep_their_record(tmp_path):
    population = realnvp()
    population.record = Record("auto", 40, 5, members=[MemberRecord(0, {"preprocessing": "raw"})])
    flows.save(population, tmp_path / "new")
    description, state, arrays = checkpoint.read(tmp_path / "new")
    members = [{"fold": 0, "regularisation": "margins, noise 1.2", "steps": 30}]
    description["training"] = {**description["training"], "members": members}
    checkpoint.write(tmp_path / "old", description, state, arrays)
    [member] = flows.load(tmp_path / "old").record.members
    assert member == MemberRecord(0, {"preprocessing": "margins", "noise": 1.2}, 30)


def test_a_file_of_version_0_3_0_with_a_target_has_no_linear_shift():
    density = flows.load(Path(__file__).parents[1] / "files" / "version-0.3.0-target.flow")
    rows = {
        "age": [71, 58, 50],
        "dose": [-1.259, 1.514, 1.346],
        "pressure": [115.66, 117.76, 109.42],
    }
    found = density.log_prob(pd.DataFrame(rows))
    np.testing.assert_allclose(found, [-3.313055, -3.936558, -3.370887], rtol=0, atol=1e-4)
    assert "linear False" in str(density)


def test_the_name_of_a_field_until_version_0_3_warns():
    with pytest.warns(FutureWarning, match=r"flows\.Column is flows\.Field"):
        old = flows.Column("share", "interval", 0.0, 1.0)
    with pytest.warns(FutureWarning):
        assert flows.Column.parse("share", "interval:0:1") == old
    assert old == flows.Field.parse("share", "interval:0:1")


def write(path, model, entry=None, state=None):
    """Write a safetensors file of ``model``; ``entry`` and ``state`` replace its own."""
    text = entry if isinstance(entry, str) else json.dumps(model.description | (entry or {}))
    state = model.state_dict() if state is None else state
    whole = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(whole, path, metadata={METADATA_KEY: text})


ROWS = np.exp(np.random.default_rng(0).normal(size=(40, 2)))


# Invalid files


def changed(build, change):
    """Return a function that writes a model with changed tensors."""

    def make(path):
        state = dict(build().state_dict())
        change(state)
        write(path, build(), state=state)

    return make


def cut(where):
    """Return a function that writes a file truncated at the byte ``where``."""

    def make(path):
        flows.save(realnvp(), path)
        path.write_bytes(path.read_bytes()[:where])

    return make


def lose(name):
    return lambda state: state.pop(name)


def longer(name):
    return lambda state: state.update({name: torch.cat([state[name], state[name]])})


def more(state):
    state["more"] = torch.zeros(1)


def settings(**changes):
    return {"settings": realnvp().description["settings"] | changes}


def without(key):
    return json.dumps({name: own for name, own in realnvp().description.items() if name != key})


WEIGHT = "chain.bijections.0.conditioner.theta"
ENTRIES = {
    "not json": "{",
    "a list": "[1, 2]",
    **{
        f"without its {key}": without(key)
        for key in ("model", "event_shape", "settings", "members", "seed")
    },
    "an unknown model": {"model": "nonsense"},
    "a model that is a path": {"model": "../networks/flow"},
    "another model": {"model": "glow"},
    "an unknown setting": settings(depth=3),
    "an impossible setting": settings(couplings=0),
    "an impossible event shape": {"event_shape": [1]},
    "other members": {"members": [0, 4]},
    "no members": {"members": [3, 3]},
    "a negative seed": {"seed": -1},
}
FILES = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: torch.save(realnvp().state_dict(), path),
    "truncated": cut(-10),
    "foreign with metadata": lambda path: save_file(
        {"weight": torch.zeros(2)}, path, metadata={"format": "pt"}
    ),
    "a tensor missing": changed(realnvp, lose(WEIGHT)),
    "a tensor too many": changed(realnvp, more),
    "a tensor of another shape": changed(realnvp, longer(WEIGHT)),
    "a mixture without means": changed(mixture, lose("means")),
    "a mixture with a tensor too many": changed(mixture, more),
}


@pytest.mark.parametrize("damage", [*ENTRIES, *FILES])
def test_an_invalid_file_is_named_in_one_line(damage, tmp_path):
    path = tmp_path / "model.safetensors"
    if damage in FILES:
        FILES[damage](path)
    else:
        write(path, realnvp(), ENTRIES[damage])
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CheckpointError) as error:
        flows.load(path)
    assert isinstance(error.value, ValueError)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == before


def test_the_files_above_are_valid_without_their_damage(tmp_path):
    for build in (realnvp, glow, mixture):
        write(tmp_path / "model", build())
        assert (
            load_file(tmp_path / "model").keys()
            == flows.load(tmp_path / "model").state_dict().keys()
        )


def test_the_unknown_truth_of_a_table_cannot_be_loaded(tmp_path):
    flows.save(Population(1, (2,), {"model": "unknown"}), tmp_path / "truth")
    with pytest.raises(CheckpointError, match="truth: holds no model: the true density of a table"):
        flows.load(tmp_path / "truth")


def test_a_flow_assembled_by_hand_cannot_be_saved_before_or_after_training(tmp_path):
    """Its description does not say how to build the flow again."""
    flow = flows.Flow(flows.StandardNormal(3, (2,)), realnvp().chain)
    for _ in range(2):
        said = error_message(flows.save, flow, tmp_path / "flow", error=ValueError)
        assert said.startswith("the Flow cannot be saved, because its description")
        flows.train(flow, ROWS, settings=flows.TrainingSettings(epochs=1))
    assert not list(tmp_path.iterdir())
