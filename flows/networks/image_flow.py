"""The flow over images, whose whole-number pixels are dequantised with uniform noise."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from flows.bijections import Bijection
from flows.conditioners import Dropout
from flows.core.scaler import Scaler
from flows.core.seeds import Generators
from flows.networks.base_distribution import Base
from flows.networks.flow import Flow
from flows.networks.network_population import Objective


class ImageFlow(Flow):
    """A flow of ``y = x + u`` for images x with whole-number pixels.

    Pixels are from 0 to levels - 1. Each u is uniform on [0, 1) (uniform dequantisation)::

        P(x) = int q(x + u) du  >=  exp int log q(x + u) du   over the cell of x, a cube of volume 1

    Training draws a new u at every visit to an image x, and so maximises the bound on the right.
    ``log_prob`` takes y, in units of pixel values, and is a proper density: it integrates to 1 over
    the box from 0 to ``levels``, and is minus infinity outside. ``sample`` returns images of whole
    numbers. ``flows/evaluation/bits.py`` estimates P(x) and bits per dimension, which are
    log2(levels) for a uniform q.

    The scaler is fixed: it maps the box to ``[-bound, bound]``, the range of the splines. Source:
    Theis et al. 2016 (A note on the evaluation of generative models), section 3.1.

    Args:
        base: the distribution of the noise, with M members.
        bijections: the bijections from scaled images to noise.
        description: how to build the flow again; empty for a flow assembled by hand.
        levels: number of values of a pixel.
        bound: half the width of the box after the scaler.
        dropout: the dropout of the networks inside the bijections, which only training switches on.

    Raises ``ValueError`` for training images with other pixels, and if all values passed to
    ``log_prob`` are whole numbers, since u was then not added.
    """

    takes_noise: ClassVar[bool] = False

    def __init__(
        self,
        base: Base,
        bijections: Iterable[Bijection],
        description: dict[str, Any] | None = None,
        *,
        levels: int,
        bound: float,
        dropout: Dropout,
    ) -> None:
        super().__init__(base, bijections, description)
        self.levels = levels
        self.dropout = dropout
        shape = tuple(base.event_shape)
        scaler = Scaler(np.full(shape, levels / 2), np.full(shape, levels / (2 * bound)))
        self.preprocessing.use_scaler(scaler)

    def rows(self, value: Any, what: str = "images", *, may_have_gaps: bool = False) -> Tensor:
        """Return images of whole numbers as ``(n, M or 1, *event)``.

        Raises ``ValueError`` if a pixel is not a whole number from 0 to levels - 1, and in the
        cases of ``NetworkPopulation.rows``.
        """
        images = super().rows(value, what, may_have_gaps=may_have_gaps)
        wrong = images[(images != images.floor()) | (images < 0) | (images >= self.levels)]
        if len(wrong):
            raise ValueError(
                f"{what} must hold whole numbers from 0 to levels - 1 = {self.levels - 1}; "
                f"got {wrong[0].item():g}"
            )
        return images

    def visit(self, points: Tensor, generators: Generators) -> Tensor:
        u = torch.from_numpy(np.stack([g.random(points.shape[1:]) for g in generators]))
        moved = points + u.to(points.device) / self.preprocessing.standardize.deviation
        return moved.to(points.dtype)

    def objective(self, points: Tensor, generators: Generators) -> Objective:
        def objective(batch: Tensor) -> tuple[Tensor, Tensor]:
            self.dropout.generators = generators
            try:
                return self.loss(batch)
            finally:
                self.dropout.generators = ()

        return objective

    def log_prob_of_rows(self, rows: Tensor) -> Tensor:
        points = rows.to(self.device)
        if points.numel() and bool((points == points.floor()).all()):
            raise ValueError(
                "whole images have no density: add u, uniform on [0, 1), to every pixel, "
                "or see flows.evaluation.bits"
            )
        inside = ((points >= 0) & (points <= self.levels)).flatten(-len(self.event_shape)).all(-1)
        return torch.where(inside, super().log_prob_of_rows(rows), -torch.inf)

    def restore(self, z: Tensor) -> Tensor:
        """Return the networks' points ``(M, *event, n)`` as images of whole numbers."""
        return super().restore(z).floor().clamp(0, self.levels - 1)
