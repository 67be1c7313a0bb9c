"""Train a variant on every replicate and score it: ``python -m studies.digits_claims.score glow`` from the top folder."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from flows.bijections import ActNorm
from flows.bijections.chain import Chain
from flows.core.arrays import Array
from flows.core.errors import UserError, errors_in_one_line
from flows.core.seeds import numpy_generator
from flows.networks.network import Network
from stages.shared import files
from studies.digits import digits, fits
from studies.digits_claims import settings
from studies.digits_claims.settings import Variant


@errors_in_one_line("score")
def main(name: str = "") -> None:
    params = settings.load()
    if name not in params.variants:
        raise UserError(f"there is no variant {name!r}; the variants are: {', '.join(params.variants)}")
    variant, seeds = params.variants[name], range(params.first, params.first + params.replicates)
    parts = [digits.split("random", seed, params.train, params.test) for seed in seeds]
    train, test = (np.stack([part[k] for part in parts], axis=1) for k in (0, 2))  # (n, R, 64): replicate r is member r
    begin = time.process_time()
    fitted = fits.train_network(name, variant, range(len(seeds)), train, None, params.first, lambda network: change(network, variant))
    files.write_csv(settings.path(name, "seconds"), {"seconds": [(time.process_time() - begin) / len(seeds)]}, float_format="%.4g")
    columns: dict[str, Any] = {"seed": np.array(seeds)}
    if fitted.log_q:
        noise = smooth_noise if variant.smooth else np.random.Generator.random
        log_q = digits.densities(fitted.log_q, test, params.draws, params.first, noise)
        columns |= {key: bits.mean(0) for key, bits in digits.estimates(log_q).items()}
    if fitted.draw and not variant.smooth:
        fakes, scores = fitted.draw(len(test) // 2 * params.samples, numpy_generator(params.first, "sample")), []
        for r, (learned, labels, held, _) in enumerate(parts):
            judge, halves = digits.Judge(learned, labels, params.neighbours, seeds[r]), np.random.default_rng(seeds[r])
            scores.append(judge.mean_scores(held, [halves.permutation(len(held)) for _ in range(params.samples)], fakes[:, r]))
        columns |= dict(pd.DataFrame(scores))
    files.write_csv(settings.path(name), columns, float_format="%.6g")
    print(f"{name}: {', '.join(f'{key} {value.mean():.3f}' for key, value in columns.items() if not key.startswith(('digit', 'seed')))}")


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """The sum of four uniform numbers on [0, 2): a B-spline of width 8. A density of whole numbers plus this has no steps: its kernels, one apart,
    add up to a constant wherever their heights do.
    """
    return 2 * rng.random((4, *shape)).sum(axis=0)


def change(network: Network, variant: Variant) -> None:
    """Take the ActNorm out, or give the pixels another noise, where the variant says so."""
    for part in network.modules():
        if isinstance(part, Chain) and not variant.actnorm:
            part.bijections = nn.ModuleList(each for each in part.bijections if not isinstance(each, ActNorm))

    def visit(points: Tensor, generators: list[np.random.Generator]) -> Tensor:
        noise = torch.from_numpy(np.stack([smooth_noise(g, tuple(points.shape[1:])) for g in generators]))
        return (points + noise / network.standardize.deviation).to(points.dtype)

    if variant.smooth:
        network.visit = visit  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main(*sys.argv[1:])
