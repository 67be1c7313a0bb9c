"""Score one trained population against the true density: ``python -m stages.evaluate glow``."""

from __future__ import annotations

from typing import Any

import numpy as np

from flows.evaluation.cost import epochs_to_converge, flops_per_epoch
from stages.pipeline import files, runner, schema
from stages.pipeline.models import read_model
from stages.pipeline.report import write_report


def main(model: str) -> None:
    params = schema.load()
    architecture = params.architecture(model)  # raises a clear error for an unknown name
    problem = files.read_prepared().problem
    population = read_model(model, problem.event_shape)
    epoch, nll = population.history["epoch"], population.history.get("test_nll")
    if nll is None or np.isnan(nll[:-1]).all():  # no curve, or only its end
        converged: Any = np.nan
    else:
        converged = epochs_to_converge(epoch, nll)
    columns = {
        "parameters": population.parameters_per_member(),
        "flops_per_epoch": flops_per_epoch(population, len(problem.train)),
        "epochs_to_converge": converged,
    }
    scored = architecture.scored(problem.event_shape)
    write_report(population, model, problem, params.evaluate, columns=columns, scored=scored)


if __name__ == "__main__":
    runner.run(main)
