"""Fit one row on one split, score the test images, judge the samples: ``python -m studies.digits.score glow_image random`` from the top folder.

Log-densities are of y = x + u in levels. What is not finite is kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp

from flows.core.arrays import Array
from flows.core.errors import UserError, errors_in_one_line
from flows.core.seeds import numpy_generator
from flows.evaluation.images import bits_per_dimension
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
        log_q = densities(fitted, test, params.draws, params.seed)
        members |= {f"bits{end}": bits.mean(0) for end, bits in estimates(log_q).items()}
        mixed = estimates(logsumexp(log_q, axis=2) - np.log(count)) if count > 1 else {}
        images = {f"bits{end}": bits.mean(1) for end, bits in estimates(log_q).items()} | {f"ensemble_bits{e}": bits for e, bits in mixed.items()}
        files.write_csv(place / "images.csv", images, float_format="%.6g")
    shown = {}
    if fitted.draw or name == HELD_OUT:
        rng, size = numpy_generator(params.seed, "sample"), len(test) // 2
        orders = [rng.permutation(len(test)) for _ in range(params.samples)]
        fakes = fitted.draw(size * params.samples, rng) if fitted.draw else np.concatenate([test[order[-size:]] for order in orders])[:, None]
        sets = [(test[order[:size]], fakes[k * size : (k + 1) * size]) for k, order in enumerate(orders)]
        members |= digits.means([[judge.scores(real, fake[:, m]) for real, fake in sets] for m in range(fakes.shape[1])])
        first = np.nan_to_num(fakes[: digits.SHOWN, 0])
        shown = {"samples": first, "nearest": judge.nearest(first)[0]}
    if isinstance(fitted.network, ImageFlow) and len(row.settings.get("steps", [1, 1])) > 1 and name != "vector":
        shown |= {"between": latents.between(fitted.network, test[:8:2], test[1:8:2]), "anew": latents.anew(fitted.network, test[:4], rng)}
    if fitted.curves:
        files.write_csv(place / "curves.csv", digits.curves(fitted.curves), float_format="%.6g")
    files.write_npz(place / "shown.npz", {key: value.astype(np.uint8) for key, value in shown.items()})
    files.write_csv(place / "members.csv", members, float_format="%.6g")
    print(f"{name} {split}: {', '.join(f'{key} {value.mean():.3f}' for key, value in members.items() if not key.startswith('digit'))}")


def densities(fitted: Fitted, images: Array, draws: int, seed: int, noise: Callable[..., Array] = np.random.Generator.random) -> Array:
    """``log_q`` ``(draws, n, M)``, at the same u for all rows: ``noise(generator, shape)``."""
    rng = numpy_generator(seed, "fresh")
    assert fitted.log_q
    return np.stack([fitted.log_q(images + noise(rng, images.shape)) for _ in range(draws)])


def estimates(log_q: Array) -> dict[str, Array]:
    """Bits per dimension ``(n, ...)``: the bound, and importance weighted."""
    return {end: bits_per_dimension(log_q, digits.PIXELS, weighted=bool(end)) for end in ("", "_iw")}


if __name__ == "__main__":
    main(*sys.argv[1:])
