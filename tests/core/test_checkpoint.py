"""A checkpoint restores the saved model; an invalid file is rejected in one line."""

from __future__ import annotations

import json
import os
from unittest.mock import patch

import numpy as np
import pytest
import torch
from helpers import error_message
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from shaking import shake

import flows
from flows.core.checkpoint import METADATA_KEY, CheckpointError
from flows.networks import registry
from flows.networks.population import Population
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


def test_a_file_of_version_0_3_0_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "old"
    write(path, realnvp(), {"columns": [{"name": "x", "kind": "real"}]})
    said = error_message(flows.load, path, error=CheckpointError)
    assert said == f"{path}: is a file of release 0.3; fit the table again: flows fit TABLE -o FILE"


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
