"""How much every model gains on the best of the floors, from the log-densities of the test rows that the other stages kept."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from flows.core import seeds
from flows.core.arrays import Array
from flows.evaluation.statistics import mean_ci95
from stages.shared import files, settings


def main() -> None:
    params = settings.load()
    floors, models = _test_log_density(settings.References.floors()), _test_log_density(params.models)
    best = max(floors, key=lambda name: _order(floors[name]))
    gains = {name: models[name] - floors[best] for name in sorted(models, key=lambda name: _order(models[name]), reverse=True)}
    ranking = {}
    for name, gain in gains.items():  # of the same rows, so their differences are paired
        half = mean_ci95(gain, seeds.numpy_generator(params.evaluate.seed, "metric", 3))
        ranking[name] = {"gain": files.rounded(gain.mean()), "gain_ci95": files.rounded(half), "gain_over": best}
    files.write_json(files.RANKING, ranking)
    print("log-likelihood of a test row (nat), by the ensemble of a model:")
    for name, log_q in sorted({**models, **floors}.items(), key=lambda item: _order(item[1]), reverse=True):
        gained = f"  {ranking[name]['gain']:+.3g} \u00b1 {ranking[name]['gain_ci95']:.2g}" if name in ranking else "  the best floor" if name == best else ""
        print(f"{name:12} {log_q.mean():10.4g}{gained}")
    print(f"{next(iter(ranking), 'no model')} first; the best floor is {best}")


def _test_log_density(names: Iterable[str]) -> dict[str, Array]:
    """Of all that have a density, by their names: the ensemble's log-density of every test row, ``(n,)``."""
    arrays = {name: files.read_npz(files.plot_data(name)) for name in names}
    return {name: found["test_log_density_ensemble"] for name, found in arrays.items() if "test_log_density_ensemble" in found}


def _order(log_q: Array) -> float:
    """The mean; one that is not finite comes last."""
    return float(log_q.mean()) if np.isfinite(log_q).all() else -np.inf


if __name__ == "__main__":
    settings.run(main)
