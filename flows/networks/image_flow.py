"""The flow over images: whole-number pixels, spread over their cells afresh at every visit."""

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
from flows.networks.network import Objective


class ImageFlow(Flow):
    """A flow of ``y = x + u``, over images x of whole-number pixels.

    The pixels are from 0 to levels - 1 and every u is uniform on [0, 1)::

        P(x) = int q(x + u) du  >=  exp int log q(x + u) du   over the cell of x, a cube of volume 1

    Training takes whole images and draws a fresh u at every visit: what it raises is the bound on
    the right. ``log_prob`` takes y, in units of pixel values, and is a proper density: it
    integrates to 1 over the box from 0 to ``levels``, and is minus infinity outside. ``sample``
    gives whole images. ``flows/evaluation/bits.py`` estimates P(x) and bits per dimension. A
    uniform q gives log2(levels) bits.

    The scaler is fixed: it maps the box to that from ``-bound`` to ``bound``, where splines work.
    Source: Theis et al. 2016 (A note on the evaluation of generative models), section 3.1. Raises
    ``ValueError`` for images that are not whole numbers from 0 to levels - 1, and for a
    ``log_prob`` of images without u.
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

    def rows(self, value: Any, what: str = "images") -> Tensor:
        """Return whole images ``(n, M or 1, *event)``.

        Raises ``ValueError`` where a pixel is no whole number from 0 to levels - 1, and as for all
        networks.
        """
        images = super().rows(value, what)
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

    def log_prob(self, value: Any) -> Tensor:
        points = self.points(value).to(self.device)
        if points.numel() and bool((points == points.floor()).all()):
            raise ValueError(
                "whole images have no density: add u, uniform on [0, 1), to every pixel, "
                "or see flows.evaluation.bits"
            )
        inside = ((points >= 0) & (points <= self.levels)).flatten(-len(self.event_shape)).all(-1)
        return torch.where(inside, super().log_prob(value), -torch.inf)

    def restore(self, z: Tensor) -> Tensor:
        """Return the networks' points as whole images."""
        return super().restore(z).floor().clamp(0, self.levels - 1)
