"""Fit one reference to the training rows and score it: ``python -m stages.reference gmm``."""

from __future__ import annotations

from typing import Any

import numpy as np

from common import references
from flows.core import seeds
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.core.plurals import counted
from flows.evaluation.problem import Problem
from flows.evaluation.report import unknown
from flows.mixtures import fitting
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from flows.networks.population import Population
from stages.pipeline import files, runner, schema
from stages.pipeline.models import write_model
from stages.pipeline.report import write_report, write_row
from stages.pipeline.truth_model import TruthModel


def main(name: str) -> None:
    params = schema.load()
    if name not in schema.References.model_fields:
        known = ", ".join(schema.References.model_fields)
        raise UserError(f"{files.PARAMS}: references.{name} is not known; known: {known}")
    problem, _, truth_name = files.read_prepared()
    model: Population
    if name != "truth":
        model = fit(name, params, problem)
    elif isinstance(problem.truth, Mixture):
        model = GaussianMixture.of(problem.truth)
    elif problem.truth is not None:
        model = TruthModel(problem.truth, truth_name, problem.event_shape)
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
    to_real, settings = problem.to_real, getattr(params.references, name).model_dump()
    seed = seeds.integer(params.prepare.seed, "reference")
    chosen = references.fit_of(name, settings, seed)
    if name != "gmm":
        return GaussianMixture.fit(chosen, problem.train, to_real)

    def mixture(rows: Array) -> Mixture:
        more: dict[str, Any] = {}
        if to_real is not None:
            counts = fitting.components(settings["max_components"], len(rows))
            more = {"components": counts, "ridges": fitting.RIDGES}
        fitted = chosen(rows, **more)
        found = counted(len(fitted.weights), "component")
        print(f"gmm: {found} by {settings['folds']}-fold cross-validation")
        return fitted

    return GaussianMixture.fit(mixture, problem.train, to_real, margins=to_real is not None)


if __name__ == "__main__":
    runner.run(main)
