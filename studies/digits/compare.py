"""Judge the samples of all rows on one split: ``python -m studies.digits.compare random`` from the top folder."""

from __future__ import annotations

import sys

import numpy as np

from flows.core.errors import UserError, errors_in_one_line
from stages.shared import files
from studies.digits import digits, settings


@errors_in_one_line("compare")
def main(split: str = "") -> None:
    params = settings.load()
    if split not in params.splits:
        raise UserError(f"there is no split {split!r}; the splits are: {', '.join(params.splits)}")
    train, labels, test, test_labels = digits.split(split, params.seed, params.train, params.test)
    judge = digits.Judge(train, labels, params.compare.neighbours, params.seed)
    accuracy, size = judge.accuracy(test, test_labels), len(test) // 2
    rng = np.random.default_rng(params.seed)
    halves = [(test[order[:size]], test[order[size : 2 * size]]) for order in (rng.permutation(len(test)) for _ in range(params.compare.floor))]
    lines = [{"row": "held_out", "member": k, "accuracy": accuracy, **judge.scores(real, other)} for k, (real, other) in enumerate(halves)]
    for name in params.rows:
        drawn = [files.read_npz(settings.path("fits", name, cell)) for cell in params.of(name, split)]
        networks = [fakes for each in drawn if "samples" in each for fakes in each["samples"].astype(float).swapaxes(0, 1)]
        for k, fakes in enumerate(networks):
            sets = [judge.scores(halves[j % len(halves)][0], fakes[j * size : (j + 1) * size]) for j in range(params.compare.draws)]
            lines.append({"row": name, "member": k, "accuracy": accuracy, **{key: np.mean([each[key] for each in sets]) for key in sets[0]}})
    files.write_csv(settings.path("samples", "all", split, "csv"), {key: [line[key] for line in lines] for key in lines[0]}, float_format="%.6g")
    print(f"{split}: {len(lines)} sets of samples; the classifier is right on {accuracy:.1%} of the test images")


if __name__ == "__main__":
    main(*sys.argv[1:])
