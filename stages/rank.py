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
    floors, models = _ensembles(settings.FLOORS), _ensembles(params.models)
    best = next(iter(floors))
    print("log-likelihood of a test row (nat), and what the ensemble of a model gains on the best floor:")
    ranking = {}
    for name, log_q in sorted([*models.items(), *floors.items()], key=_order, reverse=True):
        said = "  the best floor" if name == best else ""
        if name in models:  # on the same rows, so the difference is paired
            half = mean_ci95(log_q - floors[best], seeds.numpy_generator(params.evaluate.seed, "metric", 3))
            gain = float((log_q - floors[best]).mean())
            ranking[name] = {"gain": files.rounded(gain), "gain_ci95": files.rounded(half), "gain_over": best}
            said = f"  {gain:+.3g} \u00b1 {half:.2g}"
        print(f"{name:12} {log_q.mean():10.4g}{said}")
    files.write_json(files.RANKING, ranking)
    print(f"{next(iter(ranking), 'no model')} is the best model, {best} the best floor")


def _ensembles(names: Iterable[str]) -> dict[str, Array]:
    """The ensemble's log-density of every test row, ``(n,)``, of all that have a density, the best first."""
    arrays = {name: files.read_npz(files.plot_data(name)) for name in names}
    found = {name: each["test_log_density_ensemble"] for name, each in arrays.items() if "test_log_density_ensemble" in each}
    return dict(sorted(found.items(), key=_order, reverse=True))


def _order(item: tuple[str, Array]) -> float:
    """By the mean; one that is not finite comes last."""
    return float(item[1].mean()) if np.isfinite(item[1]).all() else -np.inf


if __name__ == "__main__":
    settings.run(main)
