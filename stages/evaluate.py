"""Score one trained population against the truth: ``python -m stages.evaluate glow``."""

from __future__ import annotations

import numpy as np

import flows
from flows.checkpoint import CheckpointError
from flows.evaluation.cost import epochs_to_converge, flops_per_epoch
from stages import files, settings
from stages.report import write_report


def main(model: str) -> None:
    params = settings.load()
    params.model(model)  # a clear error for a name that is not there
    try:
        network = flows.load(files.checkpoint(model))
    except CheckpointError as error:
        raise settings.UserError(f"{error}; `dvc repro train@{model}` makes it anew") from None
    history = files.read_npz(files.member_histories(model))
    nll = history.get("test_nll")
    if nll is None and network.has_density():
        raise settings.UserError(f"{files.member_histories(model)}: holds no test_nll; `dvc repro train@{model}` makes it anew")
    columns = {
        "parameters": network.parameters_per_member(),
        "flops_per_epoch": flops_per_epoch(network, len(files.read_rows(files.TRAIN))),
        "epochs_to_converge": np.nan if nll is None else epochs_to_converge(history["epoch"], nll),
    }
    write_report(network, model, params.evaluate, columns=columns)


if __name__ == "__main__":
    settings.run(main)
