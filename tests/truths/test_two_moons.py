"""Two moons: a density by quadrature, its samples, and the pipeline on such a truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chi_square import p_values
from pipeline import make_clone, run_models, tiny_settings
from scipy import integrate

from flows import truths
from flows.core.checkpoint import CheckpointError
from flows.saving import load
from flows.truths.two_moons import TwoMoons, arc
from tools import table

MOONS = truths.make("two_moons")
MODELS = ("nsf", "vae", "flow_matching", "gan")


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
    axis = np.linspace(-2, 3, 201)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(MOONS.log_prob(points)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=1e-6)


def test_samples_agree_with_the_density():
    samples = MOONS.sample(20_000, np.random.default_rng(1))[:, None]
    box: Any = {"low": (-1.6, -1.1), "high": (2.6, 1.6), "cells": 20, "fine": 8}
    assert p_values(lambda x: MOONS.log_prob(x)[:, None], samples, **box)[0] > 0.001


def test_too_little_noise_is_refused():
    with pytest.raises(ValueError, match=r"noise = 0\.05: must be at least 0\.1"):
        truths.make("two_moons", noise=0.05)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline with tiny settings on two moons."""
    params = tiny_settings(MODELS, target="two_moons")
    clone = make_clone(tmp_path_factory.mktemp("moons"), params)
    run_models(clone, MODELS)
    return clone.folder


def headline(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"metrics/{name}.json").read_text())


@pytest.mark.slow
def test_metrics_and_figures_of_components_are_left_out(run: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("truth", "gmm", "kde", "sharpened_kde", "nsf", "vae", "flow_matching"):
        found = headline(run, name)
        assert found["modes"] is None
        assert all(found[key] is not None for key in ("kl", "test_nll", "precision", "c2st_auc"))
    assert headline(run, "truth")["kl"] == 0
    assert headline(run, "gan")["kl"] is None
    figures = {path.name for path in (run / "figures").iterdir()}
    assert "modes.png" not in figures
    assert {"density.png", "calibration.png", "training.png", "paths.gif"} <= figures
    monkeypatch.chdir(run)
    said = table.table()
    assert "**flow matching**" in said
    assert "fresh points" not in said  # no more are drawn than flow matching scores


@pytest.mark.slow
def test_the_file_of_the_truth_says_that_it_holds_no_model(run: Path):
    with pytest.raises(CheckpointError, match="the name of a truth: two_moons"):
        load(run / "models/truth.safetensors")
