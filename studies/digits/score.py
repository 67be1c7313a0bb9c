"""Fit one row on one split: ``python -m studies.digits.score glow_image random_0`` from the top folder.

Log-densities are in nats, of y = x + u in levels; what is not finite is kept.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from flows.core import checkpoint
from flows.core.errors import errors_in_one_line
from flows.core.seeds import numpy_generator
from flows.evaluation.images import bits_per_dimension
from stages.shared import files
from studies.digits import digits, fits, settings


@errors_in_one_line("score")
def main(name: str = "", cell: str = "") -> None:
    params = settings.load()
    row, split, members = settings.checked(params, name, cell)
    train, _, test, _ = digits.split(split, params.seed, params.train, params.test)
    begin = time.process_time()
    fitted = fits.fit_row(name, row, members, train, test, params.seed)
    seconds = (time.process_time() - begin) / len(members)
    arrays, said = {f"curve_{key}": curve for key, curve in fitted.curves.items()}, []
    if fitted.log_q:
        rng = numpy_generator(params.seed, "fresh")  # the same u for all rows
        arrays["log_q"] = np.stack([fitted.log_q(test + rng.random(test.shape)) for _ in range(params.draws)])
        bound, tighter = (bits_per_dimension(arrays["log_q"], digits.PIXELS, weighted=weighted).mean() for weighted in (False, True))
        said.append(f"bound {bound:.3f}, importance weighted {tighter:.3f} bits per dimension")
    if fitted.draw:
        count = params.compare.draws * (len(test) // 2)
        arrays["samples"] = fitted.draw(count, numpy_generator(params.seed, "sample", members.start)).astype(np.uint8)
        said.append(f"{count} samples a network")
    if fitted.network and name in params.ensembles:
        checkpoint.save(fitted.network, settings.path("networks", name, cell, "safetensors"))
    files.write_npz(settings.path("fits", name, cell), arrays)
    files.write_csv(settings.path("seconds", name, cell, "csv"), {"seconds": [seconds]}, float_format="%.4g")
    print(f"{name} {cell}: {'; '.join(said)}; {seconds:.0f} s a network")


if __name__ == "__main__":
    main(*sys.argv[1:])
