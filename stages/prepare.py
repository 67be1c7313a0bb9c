"""Split the raw rows into training and test, and standardise both with the statistics of the training rows alone."""

from __future__ import annotations

from flows.core.errors import UserError
from flows.data.splits import holdout
from stages.shared import files, settings


def main() -> None:
    prepare = settings.load().prepare
    columns, rows = files.read_raw()
    train, test = holdout(rows, prepare.test_rows(len(rows)), prepare.seed)
    mean, std = train.mean(axis=0), train.std(axis=0)
    for column, value in zip(columns, std, strict=True):
        if not value > 0:
            raise UserError(f"{files.RAW}: column {column} has standard deviation {value} in the training rows; it must vary")
    files.write_npy(files.TRAIN, (train - mean) / std)
    files.write_npy(files.TEST, (test - mean) / std)
    files.write_json(files.SCALER, {"columns": columns, "mean": mean.tolist(), "std": std.tolist()})
    print(f"{len(train)} training rows, {len(test)} test rows, {rows.shape[1]} columns")


if __name__ == "__main__":
    settings.run(main)
