"""Split the raw rows, and standardise both parts with the statistics of the training rows."""

from __future__ import annotations

from common import storage
from common.splits import holdout
from flows.core.errors import UserError
from flows.core.plurals import counted
from flows.core.scaler import Scaler
from flows.tables.columns.files import read_numbers
from stages.pipeline import files, runner, schema
from stages.pipeline.preparation import learnable, scorable


def main() -> None:
    prepare = schema.load().prepare
    names, rows = read_numbers(files.RAW)
    columns = files.read_target(with_truth=False).columns
    count = prepare.test_rows(len(rows))
    train, _ = holdout(learnable(columns, rows, prepare.seed), count, prepare.seed)
    _, test = holdout(scorable(columns, rows, prepare.seed), count, prepare.seed)
    try:
        scaler = Scaler.fit(train, names)
    except ValueError as error:
        raise UserError(f"{files.RAW}: {error}") from None
    storage.write_npy(files.TRAIN, scaler.scale(train))
    storage.write_npy(files.TEST, scaler.scale(test))
    moments = {"mean": scaler.mean.tolist(), "std": scaler.deviation.tolist()}
    storage.write_json(files.SCALER, {"columns": names, **moments})
    print(f"{len(train)} training rows, {len(test)} test rows, {counted(rows.shape[1], 'column')}")


if __name__ == "__main__":
    runner.run(main)
