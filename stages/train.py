"""Train one population: ``python -m stages.train glow``."""

from __future__ import annotations

import numpy as np

from common import storage
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.networks.building import build
from flows.recipe.train import train
from stages.pipeline import files, runner, schema
from stages.pipeline.models import write_model


def main(model: str) -> None:
    params = schema.load()
    architecture, training = params.architecture(model), params.training(model)
    problem, names, _ = files.read_prepared(with_truth=False)
    try:
        population = build(
            architecture,
            problem.event_shape,
            members=training.members,
            seed=training.seed,
            to_real=problem.to_real,
        )
    except ValueError as error:
        alone = f"; {names[0]} is the only column" if len(names) == 1 else ""
        raise UserError(f"{files.PARAMS}: models.{model}: {error}{alone}") from None
    history: list[dict[str, float]] = []  # one row per logged epoch

    def log(epoch: int, curves: dict[str, Array]) -> None:
        """Write the history up to ``epoch``, so that users can plot it during training."""
        row: dict[str, float] = {"epoch": epoch}
        for key, curve in curves.items():
            row[key] = curve.mean()
            row[f"{key}_sd"] = curve.std(ddof=1) if len(curve) > 1 else 0.0
        history.append(row)
        columns = {key: [each.get(key, np.nan) for each in history] for key in row}
        storage.write_csv(files.history(model), columns, "%.6f")

    train(population, problem.train, problem.test, training, on_log=log, name=model)
    write_model(model, population)


if __name__ == "__main__":
    runner.run(main)
