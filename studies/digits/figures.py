"""The figures of the study: ``python -m studies.digits.figures`` draws those that need networks or samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.pyplot import rc_context
from scipy.special import ndtr, ndtri
from torch import Tensor

from flows.bijections import Bijection, FactorOut
from flows.bijections.chain import Chain
from flows.core.arrays import Array
from flows.core.errors import errors_in_one_line
from flows.networks.base import Uniform
from flows.networks.flow import Flow
from flows.networks.registry import load
from flows.plotting.style import STYLE, explain, panels, save
from stages.shared import files
from studies.digits import digits, settings
from studies.digits.settings import HERE

SIDE, ACROSS, STEPS, EDGE = 8, 14, 11, 1e-6


@errors_in_one_line("figures")
def main() -> None:
    params = settings.load()
    train, labels, test, _ = digits.split("random", params.seed, params.train, params.test)
    judge = digits.Judge(train, labels, params.compare.neighbours, params.seed)
    drawn = {name: files.read_npz(settings.path("fits", name, "random_0")) for name in params.rows}
    shown = {"held_out": test} | {name: each["samples"][:, 0].astype(float) for name, each in drawn.items() if "samples" in each}
    flows: dict[str, Any] = {name: load(settings.path("networks", name, "random_0", "safetensors")) for name in params.ensembles}
    with rc_context(STYLE):
        samples(shown, judge, HERE / "samples.png")
        interpolation(flows, test, HERE / "interpolation.png")
        scales(flows, test, HERE / "scales.png")
    print(f"samples of {len(shown) - 1} models beside data; interpolations and scales of {len(flows)}")


def training(curves: Mapping[str, Sequence[Mapping[str, Array]]], path: Path) -> None:
    """Bits per dimension against the epoch: a panel a flow, mean and deviation over networks."""
    sheet, axes = panels(len(curves), 2, 2.6, sharey=True)
    for axis, (name, parts) in zip(axes, curves.items(), strict=True):
        label, color = settings.label(name)
        for key, style in (("train", "--"), ("test", "-")):
            bits = np.concatenate([part[f"curve_{key}_nll"] for part in parts], axis=1) / (digits.PIXELS * np.log(2))
            mean, sd, epoch = bits.mean(1), bits.std(1), parts[0]["curve_epoch"]
            axis.plot(epoch, mean, style, color=color, label=f"{key}, {mean[-1]:.2f} at the end")
            axis.fill_between(epoch, mean - sd, mean + sd, color=color, alpha=0.2, linewidth=0)
        axis.set(title=f"{label}, {bits.shape[1]} networks", xlabel="epoch", ylabel="bits per dimension", ylim=(1.5, 2.8))
        axis.legend()
    explain(sheet, "random split, one draw of u; line and band: mean \u00b1 1 sd over networks; nothing is chosen by the test images")
    save(sheet, path)


def samples(shown: Mapping[str, Array], judge: digits.Judge, path: Path) -> None:
    sheet, axes = panels(len(shown), 2, 1.15)
    for axis, (name, images) in zip(axes, shown.items(), strict=True):
        near, distance = judge.nearest(images)
        show(axis, [images[:ACROSS], near[:ACROSS]])
        axis.set_title(f"{settings.label(name)[0]}: {distance.mean():.1f} levels to the nearest", fontsize=10)
    explain(sheet, "above: images, the first ones drawn; below each: the training image that is nearest to it, and the mean distance")
    save(sheet, path)


def interpolation(flows: Mapping[str, Flow], test: Array, path: Path) -> None:
    """Between pairs of test images, along great circles of normal noise."""
    sheet, axes = panels(len(flows), 2, 2.9)
    for axis, (name, flow) in zip(axes, flows.items(), strict=True):
        first, second = (normal_noise(flow, images)[..., None] for images in (test[:8:2], test[1:8:2]))  # (4, 64, 1)
        t, norms = np.linspace(0, 1, STEPS), [np.linalg.norm(each, axis=1, keepdims=True) for each in (first, second)]
        angle = np.arccos((first * second).sum(1, keepdims=True) / norms[0] / norms[1])
        path_between = (np.sin((1 - t) * angle) * first + np.sin(t * angle) * second) / np.sin(angle)  # (4, 64, STEPS)
        show(axis, [images_of(flow, each.T) for each in path_between])
        axis.set_title(settings.label(name)[0])
        axis.set_xticks([4, 9 * STEPS - 5], ["test image", "test image"])
    explain(sheet, "in latent space, both ends are test images that the flow did not learn from")
    save(sheet, path)


def scales(flows: Mapping[str, Flow], test: Array, path: Path) -> None:
    """Test images with the latents of one scale drawn anew, from fine to coarse, and at last all of them."""
    sheet, axes = panels(len(flows), 2, 2.9)
    for axis, (name, flow) in zip(axes, flows.items(), strict=True):
        own = scale_of(flow.chain, torch.zeros(1, 1, SIDE, SIDE, 1)).flatten().numpy()
        count = int(own.max()) + 1
        fresh, kept = np.random.default_rng(0).standard_normal((4, 3, digits.PIXELS)), normal_noise(flow, test[:4])
        chosen = [own == k for k in range(count)] + [own >= 0] * (count > 1)
        lines = [np.concatenate([z[None], *(np.where(anew, new, z) for anew in chosen)]) for z, new in zip(kept, fresh, strict=True)]
        show(axis, [images_of(flow, z) for z in lines])
        axis.set_title(settings.label(name)[0])
        names = ["fine", *(["middle"] * (count - 2)), "coarse", "all"] if count > 1 else ["all"]
        axis.set_xticks([4, *(9 * (3 * k + 2) + 4 for k in range(len(chosen)))], ["kept", *(f"{each} new" for each in names)])
    explain(sheet, "first column: test images; then three draws each with the latents of one scale drawn anew, all others kept; at last all are new")
    save(sheet, path)


def show(axis: Axes, lines: Sequence[Array]) -> None:
    """Lines of images ``(n, 64)``, one below the other; dark is ink."""
    rows = [np.pad(line.reshape(-1, SIDE, SIDE), ((0, 0), (0, 1), (0, 1))).transpose(1, 0, 2).reshape(SIDE + 1, -1) for line in lines]
    axis.imshow(np.concatenate(rows), cmap="gray_r", vmin=0, vmax=digits.LEVELS - 1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])


def normal_noise(flow: Flow, images: Array) -> Array:
    """The latents ``(n, 64)`` of the middles of images' cells, as normal numbers."""
    z = flow.encode(images.reshape(-1, 1, SIDE, SIDE) + 0.5)[:, 0].flatten(1).double().numpy()
    return ndtri(((z / flow.base.bound + 1) / 2).clip(EDGE, 1 - EDGE)) if isinstance(flow.base, Uniform) else z


def images_of(flow: Flow, noise: Array) -> Array:
    """Whole images ``(n, 64)`` of the first network."""
    z = (2 * ndtr(noise) - 1) * flow.base.bound if isinstance(flow.base, Uniform) else noise
    x = torch.from_numpy(z.reshape(-1, 1, 1, SIDE, SIDE)).movedim(0, -1).expand(flow.members, -1, -1, -1, -1).to(flow.dtype)
    with torch.no_grad():
        for bijection in reversed([*flow.door, *flow.chain]):
            x = bijection.inverse(x)[0]
    return np.floor(x[0].flatten(0, 2).T.numpy()).clip(0, digits.LEVELS - 1)


def scale_of(chain: Sequence[Bijection], x: Tensor) -> Tensor:
    """The scale that each number leaves at, 0 is the finest, in the place where it is in noise."""
    for part in chain:
        if isinstance(part, Chain):
            x = part.leave(x, scale_of(part.chain, part.enter(x) + isinstance(part, FactorOut)))
    return x


if __name__ == "__main__":
    main()
