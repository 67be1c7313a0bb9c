"""Glow (Kingma and Dhariwal 2018).

ActNorm, a 1x1 convolution that mixes the channels, a coupling; repeated, at several scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from flows.networks.architecture import ImageModel

if TYPE_CHECKING:
    import numpy as np

    from flows.bijections import Bijection
    from flows.bijections.coupling import Conditioner


class GlowImage(ImageModel):
    """Steps of ActNorm, mixing and coupling; a learned prior for what leaves a scale.

    As published: affine, learned mixing, normal base.

    Args:
        mixing: ``"learned"``, an invertible 1x1 convolution; or ``"permutation"``, an order of the
            channels that is drawn once. Only the latter stays in the box, where there is no ActNorm
            either.
    """

    label: ClassVar[str] = "Glow (images)"
    color: ClassVar[str] = "#AA4499"
    prior: ClassVar[bool] = True

    mixing: Literal["learned", "permutation"] = "permutation"

    @model_validator(mode="after")
    def _mixes_in_the_box(self) -> GlowImage:
        if self.base == "box" and self.mixing == "learned":
            raise ValueError("mixing learned leaves the box: base must be normal")
        return self

    def layers(
        self,
        channels: int,
        steps: int,
        generators: Sequence[np.random.Generator],
        conditioner: Conditioner,
    ) -> list[Bijection]:
        from flows.bijections import ActNorm, Permutation, PLULinear

        bijections: list[Bijection] = []
        for _ in range(steps):
            if self.base == "normal":
                bijections.append(ActNorm(channels, len(generators)))
            bijections.append(
                PLULinear(channels, generators)
                if self.mixing == "learned"
                else Permutation(channels, generators)
            )
            bijections.append(self.coupling(channels, generators, conditioner))
        return bijections
