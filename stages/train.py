"""Train one population: ``python -m stages.train glow``."""

from __future__ import annotations

from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.networks.registry import build
from flows.training.trainer import fit
from stages.pipeline import files, settings


def main(model: str) -> None:
    params = settings.load()
    training = params.training(model)
    problem = files.read_problem()
    try:
        network = build(
            model,
            problem.event_shape,
            params.architecture(model),
            members=training.members,
            seed=training.seed,
            columns=problem.kinds,
        )
    except ValueError as error:
        alone = f"; {problem.columns[0]} is the only column" if len(problem.columns) == 1 else ""
        raise UserError(f"{settings.PARAMS}: models.{model}: {error}{alone}") from None
    path = files.history(model)
    # Written line by line, so that a plot can be watched while training goes on.
    with files.writing(path), path.open("w", encoding="utf-8", newline="\n") as table:

        def log(epoch: int, curves: dict[str, Array]) -> None:
            if table.tell() == 0:
                table.write(
                    ",".join(["epoch", *(word for key in curves for word in (key, f"{key}_sd"))])
                    + "\n"
                )
            numbers = (
                f"{value:.6f}"
                for curve in curves.values()
                for value in (curve.mean(), curve.std(ddof=1) if len(curve) > 1 else 0.0)
            )
            table.write(f"{epoch},{','.join(numbers)}\n")
            table.flush()

        fit(network, problem.train, problem.test, training, on_log=log, name=model)
    files.write_model(model, network)


if __name__ == "__main__":
    settings.run(main)
