"""Fit one reference to the training rows and score it like a model: ``python -m stages.reference gmm``."""

from __future__ import annotations

from flows import references, seeds
from stages import files, settings
from stages.report import write_report


def main(name: str) -> None:
    params = settings.load()
    if name not in settings.References.model_fields:
        raise settings.UserError(f"{settings.PARAMS}: references.{name} is not known; known: {', '.join(settings.References.model_fields)}")
    train, (mean, std) = files.read_rows(files.TRAIN), files.read_scaler()
    seed = seeds.integer(params.prepare.seed, "reference")
    draws = 1
    if name == "truth":
        model = references.truth(files.read_target()[0])
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
