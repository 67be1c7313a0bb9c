"""What regularisation is worth on a small set of images: ``python -m studies.tuning.images decay`` scores a case of ``images`` in ``params.yaml``.

Some of the digits' training images (random split) are learned from, the others choose; no test image is seen. A case is one population, and all
cases meet the same images. What a case adds is seen by training alone, not by its curves and its score::

    decay    loss + decay |w|^2 / 2
    shift    so many of the images move by one pixel, to the left or to the right; the outer columns of digits are all but empty
    noise    normal noise beside u, with a standard deviation of so many levels, reflected at the edges of the box
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from flows.bijections import BoxSplineCoupling
from flows.core.errors import UserError, errors_in_one_line
from flows.core.seeds import normals
from flows.networks.images import ImageFlow
from flows.networks.network import Network, Objective
from stages.shared import files
from studies.digits import digits, fits
from studies.digits.pixel_map import PixelMap
from studies.digits.score import curves
from studies.digits.settings import Row
from studies.tuning import settings
from studies.tuning.settings import HERE, ImageCase

TRAIN, TEST = 1350, 447  # of the study of digits
BOX = BoxSplineCoupling.BOUND


@errors_in_one_line("images")
def main(name: str = "") -> None:
    study = settings.load().images
    if name not in study.cases:
        raise UserError(f"expected one of the cases {', '.join(study.cases)}")
    case, images = study.cases[name], digits.split("random", 0, TRAIN, TEST)[0]
    learned, held_out = images[: study.learn], images[study.learn :]
    row = Row(model=study.model, settings=case.settings, training=study.training)
    fitted = fits.train_network(name, row, range(study.members), learned, held_out, 0, lambda network: regularise(network, case))
    assert fitted.log_q
    assert fitted.network
    log_q = digits.densities(fitted.log_q, held_out, study.draws, 0, np.random.Generator.random)
    bits = digits.estimates(log_q)["bits"]
    mixed = digits.estimates(logsumexp(log_q, axis=2) - np.log(study.members), "ensemble")["ensemble"]
    place = HERE / "results/images" / name
    files.write_csv(place / "bits.csv", {**{f"member_{m}": each for m, each in enumerate(bits.T)}, "ensemble": mixed}, float_format="%.6g")
    files.write_csv(place / "curves.csv", curves(fitted.network.history), float_format="%.6g")
    print(f"{name}: {bits.mean():.3f} bits per dimension, the ensemble {mixed.mean():.3f}")


def regularise(network: Network, case: ImageCase) -> None:
    """Change the untrained ``network``, and what it learns from."""
    assert isinstance(network, ImageFlow)
    if case.pixel_map:
        network.bijections.insert(0, PixelMap(network.members, network.event_shape, network.levels, BOX))
    plain = network.objective

    def objective(points: Tensor, generators: Sequence[np.random.Generator]) -> Objective:
        inner = plain(points, generators)

        def changed(batch: Tensor) -> tuple[Tensor, Tensor]:
            batch = shifted(batch, case.shift, generators)
            batch = batch + case.noise / network.standardize.deviation * normals(generators, *batch.shape[1:])
            batch = torch.where(batch.abs() > BOX, 2 * BOX * batch.sign() - batch, batch).to(network.dtype)
            loss, gradient = inner(batch)
            return loss, gradient + case.decay * torch.cat([each.detach().flatten(1) for each in network.parameters()], dim=1)

        return changed

    network.objective = objective  # type: ignore[method-assign]


def shifted(points: Tensor, share: float, generators: Sequence[np.random.Generator]) -> Tensor:
    """``points`` ``(M, C, H, W, N)``, a ``share`` of the N moved by one pixel."""
    drawn = torch.from_numpy(np.stack([g.random(points.shape[-1]) for g in generators]))[:, None, None, None]
    left, right = drawn < share / 2, (drawn >= share / 2) & (drawn < share)
    return torch.where(left, points.roll(-1, 3), torch.where(right, points.roll(1, 3), points))


if __name__ == "__main__":
    main(*sys.argv[1:])
