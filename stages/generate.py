"""Draw the data set from the truth that ``data:`` describes, or take the user's table, and write both down."""

from __future__ import annotations

from flows.core.mixture import entropy
from flows.core.seeds import numpy_generator
from stages.shared import files, settings

ENTROPY_DRAWS = 1_000_000  # standard error about 0.001 nat


def main() -> None:
    params = settings.load()
    data, truth = params.data, params.data.make_truth()
    if truth is None:
        columns, rows = files.read_source()
        settings.check_rows(params, len(rows))
        scores = None
    else:
        rows = truth.sample(data.samples, numpy_generator(data.seed, "generate"))
        scores = entropy(truth, ENTROPY_DRAWS, numpy_generator(data.seed, "entropy"))
        columns = ["x", "y"] if rows.shape[1] == 2 else [f"x{k}" for k in range(rows.shape[1])]
    files.write_csv(files.RAW, dict(zip(columns, rows.T, strict=True)), float_format="%.12g")
    files.write_truth(truth, scores)
    known = "no truth known" if scores is None else "entropy {:.4f} +- {:.4f} nat".format(*scores)
    print(f"{len(rows)} rows of {len(columns)} columns from {data.target}, {known}")


if __name__ == "__main__":
    settings.run(main)
