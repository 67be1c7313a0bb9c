"""Every model through the common interface: build, train, score, sample, and invalid input."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.testing import assert_close

import flows
from flows.core.settings import TrainingSettings
from flows.evaluation.cost import flops_per_epoch
from flows.kernels.build import library
from flows.networks import registry
from flows.networks.architecture import Architecture
from flows.networks.flow import Flow

# networks/test_image_flow.py tests models of images, and test_conditional.py conditional flows
NAMES = [
    name
    for name in registry.names()
    if not registry.find(name).of_images and not registry.find(name).needs_context
]
every_model = pytest.mark.parametrize("name", NAMES)
WITH_DENSITY = [
    name for name in NAMES if flows.build(registry.architecture(name), (2,)).supports("log_prob")
]
every_density = pytest.mark.parametrize("name", WITH_DENSITY)


def small(name: str) -> dict[str, Any]:
    """Return settings of a small model, as far as the model has them."""
    known = registry.find(name).model_fields
    return {key: value for key, value in (("hidden", 8), ("couplings", 2)) if key in known}


def build(name: str, members: int | range = 3, seed: int = 0, dim: int = 2):
    return flows.build(registry.architecture(name, small(name)), (dim,), members=members, seed=seed)


def rows(n: int = 60, seed: int = 0, dim: int = 2) -> np.ndarray:
    scales = np.diag(np.arange(1.0, dim + 1))
    return 3 + 2 * np.random.default_rng(seed).standard_normal((n, dim)) @ scales


def settings(**changes: Any) -> TrainingSettings:
    own = {"epochs": 3, "batch_size": 30, "log_every": 3, "noise": 0.1}
    return TrainingSettings(**{**own, **changes})


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


# All models


@every_model
def test_a_model_is_built_from_its_name_trained_and_sampled(name: str):
    model = flows.build(registry.architecture(name), [2])
    assert (tuple(model.batch_shape), tuple(model.event_shape), model.history) == ((1,), (2,), {})
    model = flows.train(build(name), rows(), rows(20, seed=1), settings(log_every=1))
    assert not model.training
    assert model.sample((4, 5), generator=generator()).shape == (4, 5, 3, 2)
    assert model.sample((0,)).shape == (0, 3, 2)
    if isinstance(model, Flow):  # equal bits step by step and at once
        assert torch.equal(
            model.trajectory((50,), generator())[-1], model.sample((50,), generator())
        )
    assert model.history["epoch"].tolist() == [1, 2, 3]
    assert {
        key: values.shape for key, values in model.history.items() if key != "epoch"
    } == dict.fromkeys(set(model.history) - {"epoch"}, (3, 3))
    for values in model.history.values():  # every value is kept, or the last
        assert np.isfinite(values).all() or np.isnan(values[:-1]).all()
        assert np.isfinite(values[-1]).all()


@every_model
def test_the_operations_of_an_epoch_can_be_counted_and_grow_with_the_rows(name: str):
    model = build(name)
    assert 0 < flops_per_epoch(model, 10) < flops_per_epoch(model, 20)


@every_model
def test_an_unsupported_method_raises_an_error_that_names_the_model(name: str):
    model = build(name)
    calls: dict[str, Callable[[], Any]] = {
        "log_prob": lambda: model.log_prob(rows(5)),
        "encode": lambda: model.encode(rows(5)),
        "trajectory": lambda: model.trajectory((5,)),
    }
    for method, call in calls.items():
        if model.supports(method):
            call()
        else:
            with pytest.raises(NotImplementedError, match=type(model).__name__):
                call()
    assert model.supports("log_prob") == (name != "gan")


@every_model
@pytest.mark.parametrize("part", [range(2, 5), range(1)], ids=str)
def test_members_of_a_range_start_and_train_as_in_the_whole_population(name: str, part: range):
    whole, of_it = build(name, 5), build(name, part)
    places = slice(part.start, part.stop)
    for key, tensor in of_it.state_dict().items():
        expected = whole.state_dict()[key][places] if tensor.ndim else whole.state_dict()[key]
        assert torch.equal(tensor, expected) or key == "weights", key  # weights sum to 1 in both
    for model in (whole, of_it):
        flows.train(model, rows(), rows(20, seed=1), settings())
    assert of_it.member_range == part
    for key, tensor in of_it.state_dict().items():
        expected = whole.state_dict()[key][places] if tensor.ndim else whole.state_dict()[key]
        if key == "weights":
            tensor, expected = tensor / tensor.sum(), expected / expected.sum()
        error = {"rtol": 0, "atol": 0} if library() else {"rtol": 1e-3, "atol": 1e-4}
        assert_close(tensor, expected, **error)
    np.testing.assert_array_equal(of_it.history["epoch"], whole.history["epoch"])
    for key in of_it.history.keys() - {"epoch"}:
        np.testing.assert_allclose(of_it.history[key], whole.history[key][:, places], atol=1e-4)


@every_model
def test_without_test_rows_training_is_the_same_and_has_no_test_curve(name: str):
    (alone, scored) = (
        flows.train(build(name), rows(), test, settings()) for test in (None, rows(20, seed=1))
    )
    for key, tensor in alone.state_dict().items():
        assert torch.equal(tensor, scored.state_dict()[key]), key
    assert not any(key.startswith("test") for key in alone.history)


# Densities


@every_density
def test_rows_are_never_read_as_members(name: str):
    """With as many rows as members, every member still scores every row."""
    model, x = build(name, members=4), rows(4)
    whole = model.log_prob(x)
    assert whole.shape == (4, 4)
    assert_close(whole, model.log_prob(x[:, None]))
    assert_close(whole.diagonal(), model.log_prob(np.broadcast_to(x[None], (1, 4, 2)))[0])


@every_density
def test_log_prob_takes_arrays_lists_and_whole_numbers_alike(name: str):
    model = build(name, members=2)
    whole = np.random.default_rng(0).integers(-9, 9, (3, 2))
    expected = model.log_prob(whole.astype(float))
    for alike in (whole, whole.astype(np.float32), whole.tolist(), torch.from_numpy(whole)):
        assert_close(model.log_prob(alike), expected, rtol=1e-5, atol=1e-5)
    assert model.log_prob(np.empty((0, 2))).shape == (0, 2)


@cache
def trained(name: str):
    return flows.train(build(name), rows(), rows()[:20], settings())


@every_density
def test_rescaling_a_column_only_shifts_log_likelihoods(name: str):
    plain = trained(name)
    scaled = flows.train(build(name), rows() * [1e6, 1], rows()[:20] * [1e6, 1], settings())
    shift = math.log(1e6)
    assert_close(
        plain.log_prob(rows(9, seed=2)) - shift,
        scaled.log_prob(rows(9, seed=2) * [1e6, 1]),
        rtol=1e-5,
        atol=1e-4,
    )
    for key in ("train_nll", "test_nll"):
        np.testing.assert_allclose(
            scaled.history[key], plain.history[key] + shift, rtol=0, atol=1e-5
        )
    drawn = [model.sample((9,), generator=generator()) for model in (plain, scaled)]
    assert_close(drawn[0] * torch.tensor([1e6, 1]), drawn[1], rtol=1e-3, atol=1e-3)


@every_density
def test_a_column_far_from_0_is_learnt_as_if_it_were_near(name: str):
    """Near a billion, numbers in single precision have steps of 64."""
    offset = np.array([1e9, -2e8])
    near = trained(name)
    far = flows.train(build(name), rows() + offset, rows()[:20] + offset, settings())
    for key in ("train_nll", "test_nll"):
        np.testing.assert_allclose(far.history[key], near.history[key], rtol=0, atol=1e-4)
    x = rows(9, seed=2)
    assert_close(far.log_prob(x + offset), near.log_prob(x), rtol=1e-4, atol=1e-3)
    drawn = [model.sample((9,), generator=generator()).double() for model in (near, far)]
    assert_close(drawn[0] + torch.from_numpy(offset), drawn[1], rtol=0, atol=1e-3)


# Invalid input


def hole(n: int = 20) -> np.ndarray:
    x = rows(n)
    x[7, 1] = np.nan
    return x


def constant() -> np.ndarray:
    return rows() * [1, 0]


FRAME = pd.DataFrame(rows(), columns=["x", "y"])


@pytest.mark.parametrize(
    ("train", "test", "error", "words"),
    [
        (rows(dim=3), None, ValueError, r"^train: expected rows of shape \(n, 2\).*\(60, 3\)$"),
        (np.zeros((60, 2, 2)), None, ValueError, r"\(n, 3, 2\) .* member; got \(60, 2, 2\)$"),
        (np.zeros((4, 15, 1, 2)), None, ValueError, "^train: expected one axis of rows; got"),
        (rows(), rows(dim=1), ValueError, r"^test: expected rows of shape \(n, 2\).*\(60, 1\)$"),
        (hole(), None, ValueError, "^row 7 of train holds nan, which is not finite$"),
        (rows(), hole(), ValueError, "^row 7 of test holds nan, which is not finite$"),
        (np.empty((0, 2)), None, ValueError, "^train holds no rows$"),
        (np.full((60, 2), "a"), None, TypeError, "^train must be an array of numbers; got <U1$"),
        ([[1.0, 2.0], [3.0]], None, TypeError, "^train must be an array of numbers; got list$"),
        (FRAME, None, TypeError, "^train: a data frame would be read by position; give an array"),
        (rows() > 0, None, TypeError, "^train must be real numbers; got torch.bool$"),
        (constant(), None, ValueError, "^column 1 has standard deviation 0.0 in the training rows"),
    ],
)
def test_invalid_training_rows_are_rejected_in_one_line(train, test, error, words):
    for name in NAMES:
        with pytest.raises(error, match=words) as caught:
            flows.train(build(name), train, test, settings())
        assert "\n" not in str(caught.value)


def test_train_rejects_a_reference():
    reference = flows.GaussianMixture([1.0], [[0.0, 0.0]], [np.eye(2)])
    with pytest.raises(
        TypeError, match=r"^train takes a population of flows\.build; got GaussianMixture$"
    ):
        flows.train(reference, rows())


@every_density
@pytest.mark.parametrize(
    ("points", "error", "words"),
    [
        (rows(dim=3), ValueError, r"^points: expected rows of shape \(n, 2\), .*got \(60, 3\)$"),
        (np.zeros(2), ValueError, r"got \(2,\)$"),
        (np.zeros((5, 4, 2)), ValueError, r"got \(5, 4, 2\)$"),
        (np.full((5, 2), "a"), TypeError, "^points must be an array of numbers; got <U1$"),
    ],
    ids=["one column too many", "a single point", "rows for other members", "text"],
)
def test_invalid_points_are_rejected_in_one_line(
    name: str, points: Any, error: type[Exception], words: str
):
    with pytest.raises(error, match=words) as caught:
        build(name).log_prob(points)
    assert "\n" not in str(caught.value)


@every_density
def test_a_non_finite_point_has_a_non_finite_score_and_changes_no_other(name: str):
    scores = build(name).log_prob(hole())
    assert not scores[7].isfinite().any()
    good = torch.arange(20) != 7
    assert_close(scores[good], build(name).log_prob(hole()[good]))


def test_the_error_for_an_unknown_model_lists_the_models():
    for name in ("nonsense", "RealNVP", "no/name", "", "network"):
        with pytest.raises(LookupError) as caught:
            flows.build(registry.architecture(name), (2,))
        assert all(known in str(caught.value) for known in NAMES)
        assert "\n" not in str(caught.value)


@every_model
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"nonsense": 3}, "{name}.nonsense is not a known key; allowed in {name}: .*hidden"),
        ({"hidden": 0}, "{name}.hidden = 0: .* greater than or equal to 1"),
        ({"hidden": "8"}, "{name}.hidden = '8': .* integer"),
    ],
    ids=["unknown", "too small", "text"],
)
def test_an_invalid_setting_is_named_with_the_allowed_values(
    name: str, wrong: dict[str, Any], words: str
):
    if "hidden" not in registry.find(name).model_fields:
        pytest.skip("has no setting hidden")
    with pytest.raises(ValueError, match=words.format(name=name)) as caught:
        flows.build(registry.architecture(name, wrong), (2,))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "members", [0, -1, 2.5, "3", range(0), range(3, 2), range(0, 4, 2), range(-1, 2)], ids=str
)
def test_invalid_members_are_rejected(members: Any):
    kind = "non-empty range" if isinstance(members, range) else "whole number of at least 1$"
    says = rf"^members = {re.escape(repr(members))}: must be a {kind}"
    with pytest.raises(ValueError, match=says):
        flows.build(flows.RealNVP(), (2,), members=members)


@pytest.mark.parametrize("shape", [(1,), (), (3, 8, 8)], ids=str)
@pytest.mark.parametrize("name", ["realnvp", "glow"])
def test_a_coupling_needs_vectors_of_two_features(name: str, shape: tuple[int, ...]):
    with pytest.raises(
        ValueError, match=rf"at least 2 features.*event_shape={re.escape(str(shape))}$"
    ):
        flows.build(registry.architecture(name), shape)


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_the_baselines_need_vectors_and_accept_one_feature(name: str):
    with pytest.raises(ValueError, match=r"needs vectors.*event_shape=\(3, 8, 8\)$"):
        flows.build(registry.architecture(name), (3, 8, 8))
    trained = flows.train(build(name, dim=1), rows(dim=1), None, settings())
    assert trained.sample((4,)).shape == (4, 3, 1)


def test_a_file_without_a_model_is_named(tmp_path: Path, models_of: Callable[[Path], None]):
    """A file with a model is found without registration."""
    (tmp_path / "hollow.py").write_text("from flows.networks.architecture import Architecture\n")
    text = (
        "from flows.models.realnvp import RealNVP\n\n\n"
        "class Deeper(RealNVP):\n    label = 'deeper'\n    color = '#123456'\n"
    )
    (tmp_path / "deeper.py").write_text(text)
    models_of(tmp_path)
    assert registry.names() == ["deeper", "hollow"]
    assert issubclass(registry.find("deeper"), Architecture)
    assert flows.build(registry.architecture("deeper", {"couplings": 2}), (3,)).members == 1
    with pytest.raises(
        LookupError, match=r"flows/models/hollow\.py: holds no subclass of Architecture"
    ):
        registry.find("hollow")


# Architectures


def test_an_architecture_is_immutable_and_equals_one_from_a_name_and_a_mapping():
    architecture = flows.RealNVP(couplings=4, transform="spline")
    assert registry.architecture("realnvp", {"couplings": 4, "transform": "spline"}) == architecture
    assert registry.name_of(architecture) == "realnvp"
    description = flows.build(architecture, (2,)).description
    assert (description["model"], description["settings"]) == ("realnvp", architecture.model_dump())
    with pytest.raises(ValueError, match="frozen"):
        architecture.couplings = 5
    with pytest.raises(ValueError, match="couplings"):
        flows.RealNVP(couplings=1)


@pytest.mark.parametrize("wrong", ["nsf", flows.NSF, None])
def test_build_rejects_anything_but_an_architecture(wrong: Any):
    with pytest.raises(TypeError, match=r"build takes an architecture, such as flows\.NSF"):
        flows.build(wrong, (2,))


def test_an_architecture_outside_flows_models_is_rejected():
    class Own(flows.NSF):
        """An architecture that is not in a file of flows/models."""

    with pytest.raises(LookupError, match="Own is not in a file of flows/models"):
        flows.build(Own(), (2,))


def test_a_section_gives_an_architecture_and_training_settings():
    defaults = TrainingSettings(epochs=7)
    section = {"couplings": 3, "noise": 0.1}
    architecture, training = registry.parse_section("nsf", section, defaults)
    assert architecture == flows.NSF(couplings=3)
    assert training == TrainingSettings(epochs=7, noise=0.1)
    given = registry.parse_section(architecture, {}, defaults)
    assert given[0] is architecture
    assert given[1] is defaults
