"""Fit and score one of our models, or all peers, on every split of one table: ``python -m studies.tables.score ours wine nsf``, or ``peers wine``,
from the top folder.

Log-likelihoods are of test rows, in nats a row, in units of the standard deviations of the training rows. What is not finite is kept.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from flows.core import seeds
from flows.core.errors import UserError, errors_in_one_line
from stages.shared import files
from studies.tables import settings, sources
from studies.tables.settings import Fit, Settings


@errors_in_one_line("score")
def main(group: str = "", name: str = "", *models: str) -> None:
    params = settings.load()
    if (group, *models) not in params.rows or name not in params.tables:
        rows = ", ".join(" ".join([words[0], "TABLE", *words[1:]]) for words in params.rows)
        raise UserError(f"expected one of: {rows}; where TABLE is one of: {', '.join(params.tables)}")
    table = sources.load(name)
    fits: dict[str, Fit] = import_module(f"studies.tables.{group}").FITS
    scores = pd.DataFrame(
        score(params, table, part, number, model, fits[model])
        for part, number in tqdm(parts(params, table, *models), desc=" ".join([name, *models]), unit="split", disable=None)
        for model in models or fits
    )
    keys = ["part", "split", "model"]
    for kind, columns in (("seconds", [*keys, "seconds"]), ("scores", [key for key in scores if key != "seconds"])):
        files.write_csv(settings.path(name, (group, *models), kind), scores[columns].to_dict("list"), float_format="%.6g")
    means = scores[scores["part"] == "ranking"].groupby("model", sort=False)["log_likelihood"].mean()
    print(f"{name}: {', '.join(f'{model} {mean:.3f}' for model, mean in means.items())}")


def parts(params: Settings, table: sources.Table, *models: str) -> list[tuple[str, int]]:
    """The splits of the ranking, and those at full size for whom it is meant, where that is more."""
    more = int(sources.TRAIN * len(table.rows)) > params.ranking.train and set(models) <= set(params.full.models)
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


if __name__ == "__main__":
    main(*sys.argv[1:])
