"""A checkpoint gives back the model it was made from, or says in one line why it cannot."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import flows
from flows.core.checkpoint import METADATA_KEY, CheckpointError
from flows.networks import registry
from flows.training.trainer import Trainer


def realnvp(members=3):
    return flows.build("realnvp", (2,), {"couplings": 2, "hidden": 4}, members=members, seed=1)


def glow():
    return flows.build(
        "glow",
        (3,),
        {"couplings": 2, "hidden": 4, "transform": "spline", "bins": 3},
        members=2,
        seed=1,
    )


def mixture():
    return flows.GaussianMixture(
        torch.tensor([0.3, 0.7]),
        torch.tensor([[0.0, 1.0], [2.0, 3.0]]),
        torch.eye(2).repeat(2, 1, 1),
    )


models = pytest.mark.parametrize("build", [realnvp, glow, mixture])


@pytest.fixture
def shaken(perturb):
    """A model whose state is not what its constructor would make of it."""

    def make(build):
        model = build()
        if isinstance(model, flows.Flow):
            Trainer(
                model,
                torch.randn(20, *model.event_shape, generator=torch.Generator().manual_seed(0)) * 3
                + 1,
                flows.TrainingSettings(noise=0),
            )
        return perturb(model, 0.1)

    return make


@pytest.mark.parametrize(
    ("build", "dtype"),
    [
        (realnvp, torch.float32),
        (realnvp, torch.float64),
        (glow, torch.float32),
        (glow, torch.float64),
        (mixture, torch.float64),
    ],
)
def test_a_loaded_model_is_the_saved_one(build, dtype, shaken, tmp_path):
    model = shaken(build).to(dtype)
    flows.save(model, tmp_path / "models" / "model.safetensors")
    loaded = flows.load(tmp_path / "models" / "model.safetensors")
    assert type(loaded) is type(model)
    assert loaded.description == model.description
    assert not loaded.training
    draws = [m.sample((9,), generator=torch.Generator().manual_seed(5)) for m in (model, loaded)]
    assert torch.equal(*draws)
    assert torch.equal(model.log_prob(draws[0]), loaded.log_prob(draws[0]))


@models
def test_the_same_model_gives_the_same_bytes(build, shaken, tmp_path):
    for name in ("a", "b"):
        flows.save(shaken(build), tmp_path / name)
    flows.save(flows.load(tmp_path / "a"), tmp_path / "c")
    assert (
        (tmp_path / "a").read_bytes()
        == (tmp_path / "b").read_bytes()
        == (tmp_path / "c").read_bytes()
    )


@models
def test_a_checkpoint_holds_one_metadata_entry_and_no_other_file_is_left(build, tmp_path):
    flows.save(build(), tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert list(file.metadata()) == [METADATA_KEY]
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_checkpoint_is_replaced_whole(tmp_path):
    flows.save(realnvp(), tmp_path / "model")
    flows.save(glow(), tmp_path / "model")
    assert flows.load(tmp_path / "model").description["model"] == "glow"
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_checkpoint_that_can_not_be_written_leaves_the_last_good_one_alone(
    error, tmp_path, monkeypatch
):
    flows.save(realnvp(), tmp_path / "model")
    before = (tmp_path / "model").read_bytes()

    def fail(*_):
        raise error

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(error):
        flows.save(glow(), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize(
    "name", [name for name in registry.names() if not name.endswith("_image")]
)  # those: tests/test_images.py
def test_the_history_of_every_member_is_inside_the_checkpoint(name, tmp_path):
    model, x = (
        flows.build(name, (2,), members=range(1, 3)),
        np.random.default_rng(0).normal(size=(40, 2)),
    )
    flows.save(model, tmp_path / "untrained")
    assert flows.load(tmp_path / "untrained").history == {}
    flows.fit(model, x, x[:10], flows.TrainingSettings(epochs=3, batch_size=20, log_every=2))
    flows.save(model, tmp_path / "trained")
    loaded = flows.load(tmp_path / "trained")
    assert loaded.history.keys() == model.history.keys()
    for key, values in model.history.items():
        assert loaded.history[key].dtype == values.dtype
        np.testing.assert_array_equal(loaded.history[key], values)
    assert loaded.member_range == model.member_range == range(1, 3)


def test_a_member_whose_history_is_not_finite_keeps_it_so(tmp_path):
    model = realnvp()
    model.history = {
        "epoch": np.array([1.0, 2.0]),
        "train_nll": np.array([[1.0, np.nan, np.inf], [2.0, np.nan, -np.inf]]),
    }
    flows.save(model, tmp_path / "model")
    np.testing.assert_array_equal(
        flows.load(tmp_path / "model").history["train_nll"], model.history["train_nll"]
    )


def test_a_flow_that_was_put_together_by_hand_can_not_be_saved(tmp_path):
    """Nothing says how to build it again, so the file would be of no use."""
    by_hand = flows.Flow(flows.StandardNormal(3, (2,)), realnvp().chain)
    with pytest.raises(ValueError, match=r"flows\.build") as error:
        flows.save(by_hand, tmp_path / "model")
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


# Files that are no checkpoints


def write(path, model, entry=None, state=None):
    """A safetensors file with the metadata and the tensors of ``model``, but for what is given."""
    text = entry if isinstance(entry, str) else json.dumps(model.description | (entry or {}))
    save_file(model.state_dict() if state is None else state, path, metadata={METADATA_KEY: text})


def truncated(path):
    flows.save(realnvp(), path)
    path.write_bytes(path.read_bytes()[:-10])


def cut_in_its_header(path):
    flows.save(realnvp(), path)
    path.write_bytes(path.read_bytes()[:100])


def changed_state(build, change):
    def make(path):
        state = dict(build().state_dict())
        change(state)
        write(path, build(), state=state)

    return make


def lose(name):
    return lambda state: state.pop(name)


def longer(name):
    return lambda state: state.update({name: torch.cat([state[name], state[name]])})


def settings(**changes):
    return {"settings": realnvp().description["settings"] | changes}


def without(key):
    return lambda path: write(
        path,
        realnvp(),
        json.dumps({name: value for name, value in realnvp().description.items() if name != key}),
    )


WEIGHT = "bijections.0.conditioner.theta"
DAMAGED = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "random": lambda path: path.write_bytes(
        bytes(torch.randint(256, (1000,), generator=torch.Generator().manual_seed(0)).tolist())
    ),
    "text": lambda path: path.write_text("epoch,train_nll\n1,2\n" * 20),
    "a pickle": lambda path: torch.save(realnvp().state_dict(), path),
    "truncated": truncated,
    "cut in its header": cut_in_its_header,
    "foreign": lambda path: save_file({"weight": torch.zeros(2, 2)}, path),
    "foreign with metadata": lambda path: save_file(
        {"weight": torch.zeros(2, 2)}, path, metadata={"format": "pt"}
    ),
    "not json": lambda path: write(path, realnvp(), "{"),
    "a list": lambda path: write(path, realnvp(), "[1, 2]"),
    **{
        f"without its {key}": without(key)
        for key in ("model", "event_shape", "settings", "members", "seed")
    },
    "an unknown model": lambda path: write(path, realnvp(), {"model": "nonsense"}),
    "a model that is a number": lambda path: write(path, realnvp(), {"model": 3}),
    "a model that is a list": lambda path: write(path, realnvp(), {"model": ["realnvp"]}),
    "a model that is a path": lambda path: write(path, realnvp(), {"model": "../networks/flow"}),
    "a class in place of a name": lambda path: write(path, realnvp(), {"model": "RealNVP"}),
    "another model": lambda path: write(path, realnvp(), {"model": "glow"}),
    "an unknown setting": lambda path: write(path, realnvp(), settings(depth=3)),
    "another setting": lambda path: write(path, realnvp(), settings(hidden=5)),
    "an impossible setting": lambda path: write(path, realnvp(), settings(couplings=0)),
    "settings that are a list": lambda path: write(path, realnvp(), {"settings": [1]}),
    "an impossible event shape": lambda path: write(path, realnvp(), {"event_shape": [1]}),
    "another event shape": lambda path: write(path, realnvp(), {"event_shape": [3]}),
    "other members": lambda path: write(path, realnvp(), {"members": [0, 4]}),
    "no members": lambda path: write(path, realnvp(), {"members": [3, 3]}),
    "a single number of members": lambda path: write(path, realnvp(), {"members": 3}),
    "a negative seed": lambda path: write(path, realnvp(), {"seed": -1}),
    "no tensors": lambda path: write(path, realnvp(), state={}),
    "a tensor missing": changed_state(realnvp, lose(WEIGHT)),
    "a tensor too many": changed_state(realnvp, lambda state: state.update(more=torch.zeros(1))),
    "a tensor of another shape": changed_state(realnvp, longer(WEIGHT)),
    "a mixture without means": changed_state(mixture, lose("means")),
    "a mixture with too many weights": changed_state(mixture, longer("weights")),
    "a mixture with too many covariances": changed_state(mixture, longer("covariances")),
    "a mixture with a tensor too many": changed_state(
        mixture, lambda state: state.update(more=torch.zeros(1))
    ),
}


@pytest.mark.parametrize("damage", list(DAMAGED))
def test_a_file_that_is_no_checkpoint_is_named_in_one_line(damage, tmp_path):
    path = tmp_path / "model.safetensors"
    DAMAGED[damage](path)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CheckpointError) as error:
        flows.load(path)
    assert isinstance(error.value, ValueError)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == before


def test_the_damage_above_is_the_only_thing_wrong_with_those_files(tmp_path):
    for build in (realnvp, glow, mixture):
        write(tmp_path / "model", build())
        assert (
            load_file(tmp_path / "model").keys()
            == flows.load(tmp_path / "model").state_dict().keys()
        )
