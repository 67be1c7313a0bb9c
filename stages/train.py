"""Train one population: ``python -m stages.train glow``."""

from __future__ import annotations

import numpy as np
import torch

import flows
from flows.training import TrainingSettings, fit
from stages import files, settings


def main(model: str) -> None:
    params = settings.load()
    training = params.training(model)
    mean, std = files.read_scaler()
    train, test = (torch.from_numpy(files.read_rows(path) * std + mean) for path in (files.TRAIN, files.TEST))
    network = flows.model_class(model)(dim=train.shape[1], members=training.members, seed=training.seed, **params.architecture(model))
    with files.open_table(files.history(model)) as table:

        def log(epoch: int, curves: dict[str, np.ndarray]) -> None:
            if table.tell() == 0:
                table.write(",".join(["epoch", *(word for key in curves for word in (key, f"{key}_sd"))]) + "\n")
            numbers = (f"{value:.6f}" for curve in curves.values() for value in (curve.mean(), curve.std(ddof=1) if len(curve) > 1 else 0.0))
            table.write(f"{epoch},{','.join(numbers)}\n")
            table.flush()  # so that a plot can be watched while training goes on

        history = fit(network, train, test, TrainingSettings(**training.model_dump(exclude={"members"})), on_log=log, name=model)
    files.write_npz(files.member_histories(model), {"epoch": history.epoch, **history.columns})
    files.write_model(model, network)


if __name__ == "__main__":
    settings.run(main)
