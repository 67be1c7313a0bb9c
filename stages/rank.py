"""Rank the models by their gain in log-likelihood over the best reference, on the test rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from common import storage
from flows.core import seeds
from flows.core.arrays import Array
from flows.evaluation.statistics import mean_ci95
from stages.pipeline import files, runner, schema

KEY = "test_log_density_ensemble"  # for each test row, (n,)


def main() -> None:
    params = schema.load()
    scores: dict[str, Array] = {}
    for name in (*params.models, *schema.TABLE_REFERENCES):
        arrays = storage.read_npz(files.plot_data(name))
        if KEY in arrays:
            scores[name] = arrays[KEY]

    def mean(name: str) -> float:
        return scores[name].mean() if np.isfinite(scores[name]).all() else -np.inf

    ordered = sorted(scores, key=mean, reverse=True)
    best = next(name for name in ordered if name in schema.TABLE_REFERENCES)
    print("log-likelihood per test row (nat), and the ensemble's gain over the best reference:")
    ranking: dict[str, dict[str, Any]] = {}
    words: dict[str, str] = {}  # of the gains
    for name in ordered:
        text = "  the best reference" if name == best else ""
        if name in params.models:
            gains = scores[name] - scores[best]  # paired differences, on the same rows
            gain = gains.mean()
            half = mean_ci95(gains, seeds.numpy_generator(params.evaluate.seed, "metric", 3))
            numbers = {"gain": files.number(gain), "gain_ci95": files.number(half)}
            ranking[name] = {**numbers, "gain_over": best}
            words[name] = f"{gain:+.3g} \u00b1 {half:.2g}"
            text = f"  {words[name]}"
        print(f"{name:12} {scores[name].mean():10.4g}{text}")
    storage.write_json(files.RANKING, ranking)
    if words:
        name, text = next(iter(words.items()))
        print(f"best model: {name}, {text} nat relative to {best}, the best reference")


if __name__ == "__main__":
    runner.run(main)
