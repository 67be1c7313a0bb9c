"""Fit one reference to the training rows and score it like a model: ``python -m stages.reference gmm``."""

from __future__ import annotations

import numpy as np

from flows import references
from flows.core import seeds
from flows.core.errors import UserError
from flows.core.population import Population
from flows.evaluation.report import nothing
from stages.shared import files, settings
from stages.shared.report import write_report, write_row


def main(name: str) -> None:
    params = settings.load()
    if name not in settings.References.model_fields:
        raise UserError(f"{settings.PARAMS}: references.{name} is not known; known: {', '.join(settings.References.model_fields)}")
    train, (_, mean, std) = files.read_rows(files.TRAIN), files.read_scaler()
    seed = seeds.integer(params.prepare.seed, "reference")
    draws = 1
    if name == "truth":
        truth, _ = files.read_truth()
        if truth is None:  # its files are there all the same, as DVC expects them
            files.write_model(name, Population(1, train.shape[1:], {"model": "unknown"}))
            write_row(name, nothing(), {"levels": np.empty(0)}, label="draw")
            print("truth: none is known of a table")
            return
        model = references.truth(truth)
        draws = params.references.truth.draws
    elif name == "gmm":
        gmm = params.references.gmm
        model = references.fit_gmm(train, mean, std, components=range(1, gmm.max_components + 1), folds=gmm.folds, seed=seed)
        print(f"gmm: {len(model.weights)} components by {gmm.folds}-fold cross-validation")
    else:
        kde = params.references.kde
        model = references.fit_kde(train, mean, std, bandwidths=references.bandwidths(kde.bandwidths), folds=kde.folds, seed=seed)
    files.write_model(name, model)
    write_report(model, name, params.evaluate, draws=draws)


if __name__ == "__main__":
    settings.run(main)
