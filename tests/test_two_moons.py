"""Two moons: a density by quadrature, its samples, and the pipeline on such a truth."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pipeline import IN_ONE_PROCESS, Clone, make_clone, text
from scipy import integrate, stats

from flows import targets
from flows.core.checkpoint import CheckpointError
from flows.core.truth import entropy
from flows.networks.building import load
from flows.targets.two_moons import TwoMoons, arc

MOONS = targets.make("two_moons")


def by_scipy(x: np.ndarray, noise: float) -> float:
    """The density at one point, by scipy's adaptive quadrature."""

    def integrand(theta: float, lower: bool) -> float:
        off = x - arc(np.array([theta]), np.array([lower]))[0]
        return np.exp(-off @ off / (2 * noise**2)) / (2 * np.pi * noise**2)

    parts = [
        integrate.quad(integrand, 0, np.pi, args=(lower,), epsabs=0, epsrel=1e-10, limit=500)[0]
        for lower in (False, True)
    ]
    return sum(parts) / (2 * np.pi)


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_the_density_is_that_of_adaptive_quadrature(noise: float):
    moons = TwoMoons(noise)
    points = moons.sample(40, np.random.default_rng(0))
    far = np.array([[3.0, 0.2], [-1.9, 0.4], [0.5, -2.0], [0.0, 0.0]])
    for x in np.concatenate([points, far]):
        assert moons.log_prob(x[None])[0] == pytest.approx(np.log(by_scipy(x, noise)), abs=1e-6)


def test_the_mass_is_one():
    axis = np.linspace(-2, 3, 401)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(MOONS.log_prob(points)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=1e-6)


def test_samples_agree_with_the_density():
    count, cells, fine = 20_000, 20, 10
    edges = np.linspace([-1.6, -1.1], [2.6, 1.6], cells + 1).T
    x, y = (
        np.linspace(e[0], e[-1], cells * fine, endpoint=False) + (e[1] - e[0]) / fine / 2
        for e in edges
    )
    area = (x[1] - x[0]) * (y[1] - y[0])
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    shares = np.exp(MOONS.log_prob(points)).reshape(cells, fine, cells, fine).sum((1, 3)) * area
    drawn = MOONS.sample(count, np.random.default_rng(1))
    found = np.histogram2d(*drawn.T, bins=list(edges))[0]
    often = shares * count >= 5
    expected = np.append(shares[often], 1 - shares[often].sum()) * count
    observed = np.append(found[often], count - found[often].sum())
    assert stats.chisquare(observed, expected).pvalue > 0.001


def test_too_little_noise_is_refused():
    with pytest.raises(ValueError, match=r"noise = 0\.05: must be at least 0\.1"):
        targets.make("two_moons", noise=0.05)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The pipeline with tiny settings on two moons."""
    params = text("tests/tiny.yaml").replace("target: ring", "target: two_moons")
    clone = make_clone(tmp_path_factory.mktemp("moons"), params)
    stages = (stage["cmd"].removeprefix("python -m ") for stage in clone.stages().values())
    clone.run(sys.executable, "-c", IN_ONE_PROCESS, *stages)
    return clone


def test_the_target_is_written_by_its_name_and_its_settings(run: Clone):
    content = json.loads(run.text("data/target.json"))
    assert content["name"] == "two_moons"
    assert content["settings"] == {"noise": 0.1}
    nats, error = entropy(MOONS, 20_000, np.random.default_rng(0))
    assert content["entropy"] == pytest.approx(nats, abs=5 * error)


def test_what_needs_components_is_null_and_the_rest_is_there(run: Clone):
    for name in ("truth", "gmm", "kde", "sharpened_kde", "nsf", "vae", "flow_matching"):
        headline = json.loads(run.text(f"metrics/{name}.json"))
        assert headline["modes"] is None
        assert all(headline[key] is not None for key in ("kl", "test_nll", "precision", "c2st_auc"))
    assert json.loads(run.text("metrics/truth.json"))["kl"] == 0
    assert json.loads(run.text("metrics/gan.json"))["kl"] is None
    figures = {path.name for path in (run.folder / "figures").iterdir()}
    assert "modes.png" not in figures
    assert {"density.png", "calibration.png", "training.png", "paths.gif"} <= figures
    table = run.run(sys.executable, "-m", "tools.table").stdout
    assert "**flow matching**" in table
    assert "fresh points" not in table  # no more are drawn than flow matching scores


def test_the_file_of_the_truth_says_that_it_holds_no_model(run: Clone):
    path: Path = run.folder / "models/truth.safetensors"
    with pytest.raises(CheckpointError, match="the name of a target: two_moons"):
        load(path)
