"""Fit one row on one split, score the test images, judge the samples: ``python -m studies.digits.score glow_image random`` from the top folder.

Log-densities are of y = x + u in levels. What is not finite is kept.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from flows.core.arrays import Array
from flows.core.errors import UserError, errors_in_one_line
from flows.core.seeds import numpy_generator
from flows.networks.images import ImageFlow
from stages.shared import files
from studies.digits import digits, fits, latents, settings
from studies.digits.fits import Fitted

HELD_OUT = "held_out"  # the floor of the sample metrics


@errors_in_one_line("score")
def main(name: str = "", split: str = "") -> None:
    params = settings.load()
    if name not in (HELD_OUT, *params.rows) or split not in settings.SPLITS:
        raise UserError(f"expected one of the rows {HELD_OUT}, {', '.join(params.rows)}, and a split: {', '.join(settings.SPLITS)}")
    row, place = params.rows.get(name, settings.Row()), settings.folder(name, split)
    train, labels, test, digit = digits.split(split, params.seed, params.train, params.test)
    judge, count, begin = digits.Judge(train, labels, params.neighbours, params.seed), row.members.get(split, 1), time.process_time()
    fitted = Fitted() if name == HELD_OUT else fits.fit_row(name, row, range(count), train, test, params.seed)
    files.write_csv(settings.seconds(name, split), {"seconds": [(time.process_time() - begin) / count]}, float_format="%.4g")
    members: dict[str, Array] = {"accuracy": np.full(count, judge.accuracy(test, digit))}
    if fitted.log_q:
        log_q = digits.densities(fitted.log_q, test, params.draws, params.seed, np.random.Generator.random)
        members |= {key: bits.mean(0) for key, bits in digits.estimates(log_q).items()}
        images = {key: bits.mean(1) for key, bits in digits.estimates(log_q).items()}
        if count > 1:
            images |= digits.estimates(logsumexp(log_q, axis=2) - np.log(count), "ensemble_bits")
        files.write_csv(place / "images.csv", images, float_format="%.6g")
    shown = {}
    if fitted.draw or name == HELD_OUT:
        rng, size = numpy_generator(params.seed, "sample"), len(test) // 2
        orders = [rng.permutation(len(test)) for _ in range(params.samples)]
        fakes = fitted.draw(size * params.samples, rng) if fitted.draw else np.concatenate([test[order[-size:]] for order in orders])[:, None]
        members |= dict(pd.DataFrame([judge.mean_scores(test, orders, fakes[:, m]) for m in range(fakes.shape[1])]))
        first = np.nan_to_num(fakes[: digits.SHOWN, 0])
        shown = {"samples": first, "nearest": judge.nearest(first)[0]}
    if isinstance(fitted.network, ImageFlow) and name != "vector":
        shown |= {"between": latents.between(fitted.network, test[:8:2], test[1:8:2]), "anew": latents.anew(fitted.network, test[:4], rng)}
    if fitted.network:
        files.write_csv(place / "curves.csv", curves(fitted.network.history), float_format="%.6g")
    files.write_npz(place / "shown.npz", {key: value.astype(np.uint8) for key, value in shown.items()})
    files.write_csv(place / "members.csv", members, float_format="%.6g")
    print(f"{name} {split}: {', '.join(f'{key} {value.mean():.3f}' for key, value in members.items() if not key.startswith('digit'))}")


def curves(history: dict[str, Array]) -> dict[str, Array]:
    """Mean and deviation over members; negative log-likelihoods in bits per dimension."""
    scaled = {key: value / (digits.PIXELS * np.log(2) if key.endswith("_nll") else 1) for key, value in history.items() if key != "epoch"}
    return {"epoch": history["epoch"]} | {key + end: part for key, x in scaled.items() for end, part in (("", x.mean(1)), ("_sd", x.std(1)))}


if __name__ == "__main__":
    main(*sys.argv[1:])
