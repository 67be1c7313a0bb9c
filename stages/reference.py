"""Fit one reference to the training rows and score it like a model.

Run as ``python -m stages.reference gmm``.
"""

from __future__ import annotations

import numpy as np

from flows import references
from flows.core import seeds
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.core.mixture import Mixture
from flows.core.population import Population
from flows.evaluation.report import nothing
from flows.networks.gaussian_mixture import GaussianMixture
from stages.pipeline import files, settings
from stages.pipeline.report import write_report, write_row


def main(name: str) -> None:
    params = settings.load()
    if name not in settings.References.model_fields:
        raise UserError(
            f"{settings.PARAMS}: references.{name} is not known; known: "
            f"{', '.join(settings.References.model_fields)}"
        )
    problem = files.read_problem()
    draws, gmm, kde = params.references.truth.draws, params.references.gmm, params.references.kde
    seed = seeds.integer(params.prepare.seed, "reference")

    def fitted(rows: Array, mean: Array, deviation: Array) -> GaussianMixture:
        if name == "kde":
            return references.fit_kde(
                rows,
                mean,
                deviation,
                bandwidths=references.bandwidths(kde.bandwidths),
                folds=kde.folds,
                seed=seed,
            )
        if name != "gmm":
            return references.fit_gaussian(rows, mean, deviation, correlated=name == "gaussian")
        components = (
            references.components(gmm.max_components, len(rows))
            if problem.kinds
            else list(range(1, gmm.max_components + 1))
        )
        ridges = references.RIDGES if problem.kinds else references.RIDGES[:1]
        model = references.fit_gmm(
            rows, mean, deviation, components=components, ridges=ridges, folds=gmm.folds, seed=seed
        )
        print(f"gmm: {len(model.weights)} components by {gmm.folds}-fold cross-validation")
        return model

    model: Population
    if name == "truth" and isinstance(problem.truth, Mixture):
        model = references.truth(problem.truth)
    elif name == "truth":  # its files are there all the same, as DVC expects them
        files.write_model(name, Population(1, problem.event_shape, {"model": "unknown"}))
        write_row(name, nothing(), {"levels": np.empty(0)}, label="draw")
        return print("truth: none is known of a table")
    elif problem.kinds:
        model = references.of_table(problem.kinds, problem.train, fitted, margins=name == "gmm")
    else:
        _, mean, std = files.read_scaler()
        model = fitted(files.read_npy(files.TRAIN), mean, std)
    files.write_model(name, model)
    write_report(model, name, problem, params.evaluate, draws=draws if name == "truth" else 1)


if __name__ == "__main__":
    settings.run(main)
