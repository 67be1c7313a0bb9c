"""Code of a user, with the types that the user may rely on; ``test_types.py`` runs this code."""

from pathlib import Path
from typing import assert_type

import numpy as np
from torch import Tensor

import flows
from flows.bijections import ActNorm
from flows.core.arrays import Array
from flows.networks.network_population import NetworkPopulation


def page(folder: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 2))
    architecture = flows.NSF(couplings=2, hidden=4)
    assert_type(architecture.couplings, int)
    model = flows.build(architecture, (2,), members=3, seed=0)
    assert_type(model, NetworkPopulation)
    trained = flows.train(model, rows, rows[:20], flows.TrainingSettings(epochs=1, noise=0.1))
    assert_type(trained, NetworkPopulation)
    assert_type(trained.sample((5,)), Tensor)
    flows.save(trained, folder / "model.safetensors")
    loaded = flows.load(folder / "model.safetensors")
    assert_type(loaded, flows.Density | flows.Population)
    assert isinstance(loaded, flows.Population)
    assert_type(flows.ensemble_log_prob(loaded.log_prob(rows)), Tensor)

    settings = {"recipe": "quick", "hidden": 4}
    columns = {"x0": "interval:-9:9"}
    density = flows.fit(rows, "realnvp", members=2, columns=columns, settings=settings)
    assert_type(density, flows.Density)
    assert_type(density.columns, list[flows.Field])
    assert_type(density.log_prob(rows), Array)
    assert len(density.sample(5)) == 5
    density.save(folder / "density.flow")
    assert_type(flows.load(folder / "density.flow"), flows.Density | flows.Population)
    assert isinstance(flows.load(folder / "density.flow"), flows.Density)
    estimator = flows.DensityEstimator(
        "realnvp", members=2, settings={"recipe": "quick", "hidden": 4}
    ).fit(rows)
    assert_type(estimator, flows.DensityEstimator)
    assert_type(estimator.score_samples(rows), Array)
    assert_type(estimator.score(rows), float)
    assert_type(estimator.density_, flows.Density)

    problem = flows.Problem(rows[20:], rows[:20], None, density.population.to_real)
    assert problem.to_real is not None
    truth = flows.Mixture.isotropic(np.zeros((1, 2)), 1.0)
    mixture = flows.GaussianMixture(truth.weights, truth.means, truth.covariances)
    assert_type(mixture.log_prob(rows), Tensor)
    by_hand = flows.Flow(flows.StandardNormal(2, (2,)), [ActNorm(2, 2)])
    assert_type(by_hand.encode(rows), Tensor)


def misspelt() -> None:
    """Each line is an error for a type checker: strict mypy reports an ignore without an error."""
    flows.lod("model.safetensors")  # type: ignore[attr-defined]
    flows.fit("nsf", member=3)  # type: ignore[call-arg]
    flows.fit(np.zeros((3, 2)), group=["who"])  # type: ignore[arg-type]
    flows.inspect(np.zeros((3, 2)), members=3)  # type: ignore[call-arg]
    flows.DensityEstimator(seed=3)  # type: ignore[call-arg]
    flows.DensityRegressor(mixtures=0)  # type: ignore[call-arg]
    flows.train(np.zeros((3, 2)), np.zeros((3, 2)))  # type: ignore[arg-type]
