"""A checkpoint gives back the model it was made from, or says in one line why it cannot."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import flows
from flows.checkpoint import METADATA_KEY, CheckpointError


def realnvp():
    return flows.RealNVP(2, 3, couplings=2, hidden=4, seed=1)


def glow():
    return flows.Glow(3, 2, couplings=2, hidden=4, transform="spline", bins=3, seed=1)


def mixture():
    return flows.GaussianMixture(torch.tensor([0.3, 0.7]), torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.eye(2).repeat(2, 1, 1))


models = pytest.mark.parametrize("build", [realnvp, glow, mixture])


@pytest.fixture
def shaken(perturb):
    """A model whose state is not what its constructor would make of it."""

    def make(build):
        model = perturb(build(), 0.1)
        if isinstance(model, flows.Flow):
            model.standardize.initialize(torch.randn(model.members, model.dim, 20, generator=torch.Generator().manual_seed(0)) * 3 + 1)
        return model

    return make


@pytest.mark.parametrize(
    ("build", "dtype"), [(realnvp, torch.float32), (realnvp, torch.float64), (glow, torch.float32), (glow, torch.float64), (mixture, torch.float64)]
)
def test_a_loaded_model_is_the_saved_one(build, dtype, shaken, tmp_path):
    model = shaken(build).to(dtype)
    flows.save(model, tmp_path / "models" / "model.safetensors")
    loaded = flows.load(tmp_path / "models" / "model.safetensors")
    assert type(loaded) is type(model)
    assert loaded.arguments == model.arguments
    assert not loaded.training
    draws = [m.sample((9,), generator=torch.Generator().manual_seed(5)) for m in (model, loaded)]
    assert torch.equal(*draws)
    assert torch.equal(model.log_prob(draws[0]), loaded.log_prob(draws[0]))


@models
def test_the_same_model_gives_the_same_bytes(build, shaken, tmp_path):
    for name in ("a", "b"):
        flows.save(shaken(build), tmp_path / name)
    flows.save(flows.load(tmp_path / "a"), tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


@models
def test_a_checkpoint_holds_one_metadata_entry_and_no_other_file_is_left(build, tmp_path):
    flows.save(build(), tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert list(file.metadata()) == [METADATA_KEY]
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_checkpoint_is_replaced_whole(tmp_path):
    flows.save(realnvp(), tmp_path / "model")
    flows.save(glow(), tmp_path / "model")
    assert isinstance(flows.load(tmp_path / "model"), flows.Glow)
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_checkpoint_that_can_not_be_written_leaves_the_last_good_one_alone(error, tmp_path, monkeypatch):
    flows.save(realnvp(), tmp_path / "model")
    before = (tmp_path / "model").read_bytes()

    def fail(*_):
        raise error

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(error):
        flows.save(glow(), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


# Files that are no checkpoints


def write(path, model, entry=None, state=None):
    """A safetensors file with the metadata and the tensors of ``model``, but for what is given."""
    whole = {"model": type(model).__name__, "arguments": model.arguments}
    text = entry if isinstance(entry, str) else json.dumps(whole | (entry or {}))
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


WEIGHT = "bijections.1.conditioner.theta"
DAMAGED = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "random": lambda path: path.write_bytes(bytes(torch.randint(256, (1000,), generator=torch.Generator().manual_seed(0)).tolist())),
    "text": lambda path: path.write_text("epoch,train_nll\n1,2\n" * 20),
    "a pickle": lambda path: torch.save(realnvp().state_dict(), path),
    "truncated": truncated,
    "cut in its header": cut_in_its_header,
    "foreign": lambda path: save_file({"weight": torch.zeros(2, 2)}, path),
    "foreign with metadata": lambda path: save_file({"weight": torch.zeros(2, 2)}, path, metadata={"format": "pt"}),
    "not json": lambda path: write(path, realnvp(), "{"),
    "a list": lambda path: write(path, realnvp(), "[1, 2]"),
    "without a model": lambda path: write(path, realnvp(), '{"arguments": {}}'),
    "an unknown model": lambda path: write(path, realnvp(), {"model": "Nonsense"}),
    "a model that is a number": lambda path: write(path, realnvp(), {"model": 3}),
    "a class that is no model": lambda path: write(path, realnvp(), {"model": "Target"}),
    "a function": lambda path: write(path, realnvp(), {"model": "load"}),
    "a model without a recipe": lambda path: write(path, realnvp(), {"model": "Flow"}),
    "another model": lambda path: write(path, realnvp(), {"model": "Glow"}),
    "an unknown argument": lambda path: write(path, realnvp(), {"arguments": {"dim": 2, "depth": 3}}),
    "other arguments": lambda path: write(path, realnvp(), {"arguments": realnvp().arguments | {"hidden": 5}}),
    "impossible arguments": lambda path: write(path, realnvp(), {"arguments": realnvp().arguments | {"dim": 1}}),
    "no tensors": lambda path: write(path, realnvp(), state={}),
    "a tensor missing": changed_state(realnvp, lose(WEIGHT)),
    "a tensor too many": changed_state(realnvp, lambda state: state.update(more=torch.zeros(1))),
    "a tensor of another shape": changed_state(realnvp, longer(WEIGHT)),
    "a mixture without means": changed_state(mixture, lose("means")),
    "a mixture with too many weights": changed_state(mixture, longer("weights")),
    "a mixture with too many covariances": changed_state(mixture, longer("covariances")),
    "a mixture with a tensor too many": changed_state(mixture, lambda state: state.update(more=torch.zeros(1))),
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
        assert load_file(tmp_path / "model").keys() == flows.load(tmp_path / "model").state_dict().keys()
