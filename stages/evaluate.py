"""Score one trained population against the truth: ``python -m stages.evaluate glow``."""

from __future__ import annotations

import flows
from flows.checkpoint import CheckpointError
from flows.evaluation.cost import epochs_to_converge, flops_per_epoch
from stages import files, settings
from stages.report import write_report


def main(model: str) -> None:
    params = settings.load()
    params.model(model)  # a clear error for a name that is not there
    try:
        flow = flows.load(files.checkpoint(model))
    except CheckpointError as error:
        raise settings.UserError(f"{error}; `dvc repro train@{model}` makes it anew") from None
    history = files.read_npz(files.member_histories(model), "epoch", "test_nll")
    columns = {
        "parameters": flow.parameters_per_member(),
        "flops_per_epoch": flops_per_epoch(flow, len(files.read_rows(files.TRAIN))),
        "epochs_to_converge": epochs_to_converge(history["epoch"], history["test_nll"]),
    }
    write_report(flow, model, params.evaluate, columns=columns)


if __name__ == "__main__":
    settings.run(main)
