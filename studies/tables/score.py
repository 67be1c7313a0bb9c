"""Fit and score one of our models, or all peers, on every split of one table: ``python -m studies.tables.score wine nsf`` from the top folder.

Log-likelihoods are of test rows, in nats a row, in units of the standard deviations of the training rows. What is not finite is kept.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

import flows
from flows.core import seeds
from flows.core.arrays import Array
from flows.core.errors import UserError, errors_in_one_line
from flows.core.population import ensemble_log_prob
from flows.core.settings import TrainingSettings
from flows.evaluation import likelihood
from stages.shared import files
from studies.tables import settings, sources
from studies.tables.peers import PEERS, Density, Fit
from studies.tables.settings import Settings


@errors_in_one_line("score")
def main(*words: str) -> None:
    params = settings.load()
    if len(words) != 2 or words[0] not in params.tables or words[1] not in params.rows:
        raise UserError(f"expected one of {', '.join(params.tables)}, and one of {', '.join(params.rows)}; got {' '.join(words)!r}")
    torch.set_num_threads(1)
    name, row = words
    table = sources.load(name)
    fits: dict[str, Fit] = PEERS if row == "peers" else {row: partial(ours, row, params.members[row])}
    scores = pd.DataFrame(
        score(params, table, part, number, model, fit)
        for part, number in tqdm(parts(params, table), desc=" ".join(words), unit="split", disable=None)
        for model, fit in fits.items()
    )
    keys = ["part", "split", "model"]
    for kind, columns in (("seconds", [*keys, "seconds"]), ("scores", [key for key in scores if key != "seconds"])):
        files.write_csv(settings.path(name, row, kind), scores[columns].to_dict("list"), float_format="%.6g")
    means = scores[scores["part"] == "ranking"].groupby("model", sort=False)["log_likelihood"].mean()
    print(f"{name}: {', '.join(f'{model} {mean:.3f}' for model, mean in means.items())}")


def parts(params: Settings, table: sources.Table) -> list[tuple[str, int]]:
    """The splits of the ranking, and those at full size where that is more."""
    more = int(sources.TRAIN * len(table.rows)) > params.ranking.train
    return [(part, k) for part in ("ranking", "full")[: 1 + more] for k in range(getattr(params, part).splits)]


def score(params: Settings, table: sources.Table, part: str, number: int, model: str, fit: Fit) -> dict[str, Any]:
    """A line of the results. ``weakest`` is the mean of the network that is worst, ``lost`` how many are not finite."""
    train, test = sources.split(table.rows, number, getattr(params, part).train)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    begin = time.perf_counter()
    density = fit((train - mean) / deviation)
    seconds = time.perf_counter() - begin
    log_q, *members = density((test - mean) / deviation).reshape(len(test), -1).T
    result = {"part": part, "split": number, "model": model, "train": len(train), "log_likelihood": log_q.mean()}
    result |= {"se": log_q.std(ddof=1) / np.sqrt(len(log_q)), "median": np.median(log_q), "worst": log_q.min()}
    result |= {"weakest": np.min([each.mean() for each in members or [log_q]]), "lost": int((~np.isfinite([log_q, *members])).any(axis=1).sum())}
    result["kl"] = np.nan
    if table.truth:
        fresh = table.truth.sample(params.fresh, seeds.numpy_generator(number, "fresh"))
        log_q = density((fresh - mean) / deviation).reshape(len(fresh), -1)[:, 0] - np.log(deviation).sum()
        result["kl"] = (table.truth.log_prob(fresh) - log_q).mean()
    return {**result, "seconds": seconds}


def ours(name: str, members: int, train: Array) -> Density:
    """One of our models by the command line's own path: its defaults, and the recipe that is found."""
    network = flows.build(name, train.shape[1:], members=members)
    flows.fit(network, train, settings=TrainingSettings(recipe="found"), name=name)

    def density(rows: Array) -> Array:
        log_q = likelihood.log_density(network, rows)
        return np.column_stack([ensemble_log_prob(torch.from_numpy(log_q), network.member_weights).numpy(), log_q])

    return density


if __name__ == "__main__":
    main(*sys.argv[1:])
