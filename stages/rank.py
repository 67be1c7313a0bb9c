"""How much every model gains on the best of the floors.

It is taken from the log-densities of the test rows that the other stages kept.
"""

from __future__ import annotations

import numpy as np

from flows.core import seeds
from flows.evaluation.statistics import mean_ci95
from stages.pipeline import files, settings


def main() -> None:
    params = settings.load()
    arrays = {
        name: files.read_npz(files.plot_data(name)) for name in (*params.models, *settings.FLOORS)
    }
    scores = {
        name: each["test_log_density_ensemble"]
        for name, each in arrays.items()
        if "test_log_density_ensemble" in each
    }  # (n,)
    ordered = sorted(
        scores,
        key=lambda name: scores[name].mean() if np.isfinite(scores[name]).all() else -np.inf,
        reverse=True,
    )
    best = next(name for name in ordered if name in settings.FLOORS)
    print(
        "log-likelihood of a test row (nat), "
        "and what the ensemble of a model gains on the best floor:"
    )
    ranking = {}
    for name in ordered:
        said = "  the best floor" if name == best else ""
        if name in params.models:
            gains = scores[name] - scores[best]  # on the same rows, so the difference is paired
            gain, half = (
                float(gains.mean()),
                mean_ci95(gains, seeds.numpy_generator(params.evaluate.seed, "metric", 3)),
            )
            ranking[name] = {
                "gain": files.rounded(gain),
                "gain_ci95": files.rounded(half),
                "gain_over": best,
            }
            said = f"  {gain:+.3g} \u00b1 {half:.2g}"
        print(f"{name:12} {scores[name].mean():10.4g}{said}")
    files.write_json(files.RANKING, ranking)
    print(f"{next(iter(ranking), 'no model')} is the best model, {best} the best floor")


if __name__ == "__main__":
    settings.run(main)
