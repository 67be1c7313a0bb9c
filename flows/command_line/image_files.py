"""Read, score and write images: ``.npy`` files hold numbers, and ``.png`` files pictures."""

import math
from pathlib import Path

import numpy as np

from flows.core import atomic
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.evaluation.bits import bits_per_dimension, ensemble_log_density
from flows.networks.image_flow import ImageFlow

DRAWS = 16  # draws of the dequantisation noise for each image that is scored


def score(model: ImageFlow, source: Path, output: Path | None, count: int | None) -> None:
    """Score the images of an ``.npy`` file with the ensemble.

    Write log-probabilities in nats, ``(n,)``, to an ``.npy`` file, or the ``count`` least likely
    images to a ``.png`` file. Without an output, print bits per dimension. Raises ``UserError`` for
    a file that does not hold images of the model, and for ``count`` without a ``.png`` file.
    """
    suffix = "" if output is None else output.suffix.lower()
    if count is not None and suffix != ".png":
        raise UserError("--anomalies of images needs a picture: -o FILE.png")
    whole = read(source, tuple(model.event_shape))
    dimensions = model.event_shape.numel()
    log_q = ensemble_log_density(model, whole, DRAWS)
    bound = bits_per_dimension(log_q, dimensions)
    weighted = bits_per_dimension(log_q, dimensions, weighted=True)
    if output is None:
        print(
            f"bits per dimension of {len(whole)} images: {bound.mean():.3f} as a bound, "
            f"{weighted.mean():.3f} importance weighted; {DRAWS} draws per image"
        )
    elif suffix == ".npy":
        with atomic.replacing(output) as unfinished, unfinished.open("wb") as file:
            np.save(file, -weighted * dimensions * np.log(2))
    else:
        least = np.argsort(-weighted, kind="stable")[:count]
        write(output, whole[least], model.levels)


def read(path: Path, event_shape: tuple[int, ...]) -> Array:
    """Return the images ``(n, C, H, W)`` of an ``.npy`` file.

    An array ``(n, H, W)`` has one channel. Raises ``UserError``, which names the file.
    """
    try:
        images = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        # NumPy takes any other file for a pickle, and recommends to load the pickle
        images = None
    if not isinstance(images, np.ndarray):  # for example an .npz archive
        raise UserError(
            f"{path}: not an .npy file of numbers, or a damaged one; "
            "images are scored from .npy files"
        )
    if images.ndim == 3 and event_shape[0] == 1:
        images = images[:, None]
    if images.shape[1:] != event_shape or images.dtype.kind not in "biuf":
        raise UserError(
            f"{path}: expected numbers of shape (n, {', '.join(map(str, event_shape))}); "
            f"got {images.dtype} of {images.shape}"
        )
    if not len(images):
        raise UserError(f"{path}: holds no images")
    return images.astype(float)


def write(path: Path | None, images: Array, levels: int) -> None:
    """Write images ``(n, C, H, W)`` as an ``.npy`` file of whole numbers, or as a ``.png``.

    A ``.png`` file shows all images in a grid. Raises ``UserError`` for another extension, and for
    a ``.png`` file if the images have other than one or three channels.
    """
    suffix = "" if path is None else path.suffix.lower()
    if path is None or suffix not in (".npy", ".png"):
        raise UserError(
            f"images go into a file: -o FILE.npy, or FILE.png for one picture of all; got {path}"
        )
    with atomic.replacing(path) as unfinished, unfinished.open("wb") as file:
        if suffix == ".npy":
            np.save(file, images.astype(np.int64))
        else:
            from PIL import Image

            Image.fromarray(grid(images * (255 / (levels - 1)))).save(file, format="png")


def grid(images: Array) -> np.ndarray:
    """Return one picture ``(height, width[, 3])`` of images ``(n, C, H, W)`` side by side.

    Values are from 0 to 255. The grid is about square, and each pixel becomes 4 x 4 pixels. Raises
    ``UserError`` for other than one or three channels.
    """
    n, channels, height, width = images.shape
    if channels not in (1, 3):
        raise UserError(
            f"a picture needs images of one or three channels; these have {channels}: "
            "write an .npy file"
        )
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    missing = rows * columns - n
    # With a dark line between neighbours
    cells = np.pad(images, ((0, missing), (0, 0), (0, 1), (0, 1)))
    cells = cells.reshape(rows, columns, channels, height + 1, width + 1)
    page = cells.transpose(0, 3, 1, 4, 2).reshape(rows * (height + 1), -1, channels)
    return page.round().astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1).squeeze()
