"""Fit one reference to the training rows and score it: ``python -m stages.reference gmm``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from flows.core import seeds
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.evaluation.problem import Problem
from flows.evaluation.report import unknown
from flows.mixtures import bandwidth, fitting
from flows.mixtures.mixture import Mixture
from flows.networks.gaussian_mixture import GaussianMixture
from flows.networks.population import Population
from flows.training.smoothing import fit_sharpened_kde
from stages.pipeline import files, runner, schema
from stages.pipeline.models import write_model
from stages.pipeline.report import write_report, write_row
from stages.pipeline.truth_model import TruthModel


def main(name: str) -> None:
    params = schema.load()
    if name not in schema.References.model_fields:
        known = ", ".join(schema.References.model_fields)
        raise UserError(f"{files.PARAMS}: references.{name} is not known; known: {known}")
    problem = files.read_prepared().problem
    model: Population
    if name != "truth":
        model = fit(name, params, problem)
    elif isinstance(problem.truth, Mixture):
        model = GaussianMixture.of(problem.truth)
    elif problem.truth is not None:
        model = TruthModel(problem.truth, files.target_name(), problem.event_shape)
    else:  # DVC expects the files even if the true density is unknown
        write_model(name, Population(1, problem.event_shape, {"model": "unknown"}))
        write_row(name, unknown(), {"levels": np.empty(0)}, label="draw")
        print("truth: the true density of a table is unknown")
        return
    write_model(name, model)
    draws = params.references.truth.draws if name == "truth" else 1
    write_report(model, name, problem, params.evaluate, draws=draws)


def fit(name: str, params: schema.Settings, problem: Problem) -> Population:
    """Return the reference ``name``, fitted to the training rows."""
    columns = problem.columns
    gmm, kde = params.references.gmm, params.references.kde
    sharpened = params.references.sharpened_kde
    seed = seeds.integer(params.prepare.seed, "reference")

    def mixture(rows: Array) -> Mixture:
        components = list(range(1, gmm.max_components + 1))
        ridges = fitting.RIDGES if columns else fitting.RIDGES[:1]
        if columns:
            components = fitting.components(gmm.max_components, len(rows))
        fitted = fitting.fit_gmm(
            rows, components=components, ridges=ridges, folds=gmm.folds, seed=seed
        )
        print(f"gmm: {len(fitted.weights)} components by {gmm.folds}-fold cross-validation")
        return fitted

    grid = bandwidth.bandwidths(kde.bandwidths)
    fits: dict[str, Callable[[Array], Mixture]] = {
        "independent": partial(fitting.fit_gaussian, correlated=False),
        "gaussian": partial(fitting.fit_gaussian, correlated=True),
        "gmm": mixture,
        "kde": partial(fitting.fit_kde, bandwidths=grid, folds=kde.folds, seed=seed),
        "sharpened_kde": partial(
            fit_sharpened_kde, noise_factor=sharpened.noise_factor, strength=sharpened.sharpen
        ),
    }
    chosen, margins = fits[name], name == "gmm" and bool(columns)
    return GaussianMixture.fit(chosen, problem.train, columns, margins=margins)


if __name__ == "__main__":
    runner.run(main)
