"""Train one population: ``python -m stages.train glow``."""

from __future__ import annotations

from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.networks.registry import build
from flows.training.trainer import train
from stages.pipeline import files, settings


def main(model: str) -> None:
    params = settings.load()
    training = params.training(model)
    prepared = files.read_prepared()
    try:
        network = build(
            model,
            prepared.train.shape[1:],
            params.architecture(model),
            members=training.members,
            seed=training.seed,
            columns=prepared.columns,
        )
    except ValueError as error:
        names = prepared.names
        alone = f"; {names[0]} is the only column" if len(names) == 1 else ""
        raise UserError(f"{settings.PARAMS}: models.{model}: {error}{alone}") from None
    path = files.history(model)
    # Written line by line, so that a plot can be watched while training goes on.
    with files.writing(path), path.open("w", encoding="utf-8", newline="\n") as table:

        def log(epoch: int, curves: dict[str, Array]) -> None:
            if table.tell() == 0:
                columns = [name for key in curves for name in (key, f"{key}_sd")]
                table.write(",".join(["epoch", *columns]) + "\n")
            numbers = (
                f"{value:.6f}"
                for curve in curves.values()
                for value in (curve.mean(), curve.std(ddof=1) if len(curve) > 1 else 0.0)
            )
            table.write(f"{epoch},{','.join(numbers)}\n")
            table.flush()

        train(
            network,
            prepared.train,
            prepared.test,
            training,
            scaler=prepared.scaler,
            on_log=log,
            name=model,
        )
    files.write_model(model, network)


if __name__ == "__main__":
    settings.run(main)
