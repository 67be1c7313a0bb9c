"""Split the raw rows into training and test, and standardise both.

The statistics are those of the training rows alone.
"""

from __future__ import annotations

import numpy as np

from flows.core.columns import dequantise
from flows.core.errors import UserError
from flows.data import table
from flows.data.splits import holdout
from stages.pipeline import files, settings


def main() -> None:
    prepare = settings.load().prepare
    names, rows, *_ = table.read(files.RAW)
    (*_, columns), learned = files.read_target(), rows
    # Rounded numbers have no density until they are spread; whole ones are scored whole, as they
    # are drawn.
    if columns:
        from flows.evaluation.problem import on_line

        spread = dequantise(columns, rows, prepare.seed)
        whole = np.where([column.kind == "integer" for column in columns], rows, spread)
        learned, rows = on_line(columns, spread), on_line(columns, whole)
    count = prepare.test_rows(len(rows))
    train, test = holdout(learned, count, prepare.seed)[0], holdout(rows, count, prepare.seed)[1]
    mean, std = train.mean(axis=0), train.std(axis=0)
    for name, value in zip(names, std, strict=True):
        if not value > 0:
            raise UserError(
                f"{files.RAW}: column {name} has standard deviation {value} in the training rows; "
                "it must vary"
            )
    files.write_npy(files.TRAIN, (train - mean) / std)
    files.write_npy(files.TEST, (test - mean) / std)
    files.write_json(files.SCALER, {"columns": names, "mean": mean.tolist(), "std": std.tolist()})
    print(f"{len(train)} training rows, {len(test)} test rows, {rows.shape[1]} columns")


if __name__ == "__main__":
    settings.run(main)
