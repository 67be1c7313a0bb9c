"""Files of images on the command line."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from images import build, whole
from PIL import Image

import flows
from flows.__main__ import main
from flows.command_line.image_files import read
from flows.evaluation.bits import bits_per_dimension, ensemble_log_density


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a checkpoint of two members, and the images that it has learned."""
    folder = tmp_path_factory.mktemp("images")
    np.save(folder / "images.npy", whole(30)[:, 0])
    flows.save(
        flows.train(build("glow"), whole(30), settings=flows.TrainingSettings(epochs=1)),
        folder / "model",
    )
    return folder


def test_samples_are_written_to_an_array_or_a_picture(files):
    main(["sample", str(files / "model"), "-n", "5", "-o", str(files / "drawn.npy")])
    drawn = np.load(files / "drawn.npy")
    assert drawn.shape == (5, 1, 8, 8)
    assert drawn.dtype == np.int64
    assert 0 <= drawn.min() < drawn.max() <= 16
    main(["sample", str(files / "model"), "-n", "5", "-o", str(files / "drawn.png")])
    with Image.open(files / "drawn.png") as picture:
        assert picture.size == (3 * 9 * 4, 2 * 9 * 4)
        assert picture.getpixel((0, 0)) == round(drawn[0, 0, 0, 0] * 255 / 16)
    with pytest.raises(
        SystemExit,
        match=r"flows: images go into a file: -o FILE\.npy, or FILE\.png for one picture of all",
    ):
        main(["sample", str(files / "model")])


def test_plot_rejects_a_model_of_images(files):
    with pytest.raises(
        SystemExit,
        match=r"^flows: .*model: is a model of images, which has no columns; "
        r"`flows sample` draws images to a \.png file$",
    ):
        main(
            ["plot", str(files / "model"), str(files / "images.npy"), "-o", str(files / "page.png")]
        )
    assert not (files / "page.png").exists()


def test_scores_are_log_probabilities_and_the_least_likely_images_can_be_drawn(files, capsys):
    model, images = flows.load(files / "model"), whole(30)
    main(
        ["score", str(files / "model"), str(files / "images.npy"), "-o", str(files / "scores.npy")]
    )
    expected = (
        -bits_per_dimension(ensemble_log_density(model, images, 16), 64, weighted=True)
        * 64
        * math.log(2)
    )
    np.testing.assert_allclose(np.load(files / "scores.npy"), expected)
    main(
        [
            "score",
            str(files / "model"),
            str(files / "images.npy"),
            "-o",
            str(files / "worst.png"),
            "--anomalies",
            "1",
        ]
    )
    with Image.open(files / "worst.png") as picture:
        np.testing.assert_array_equal(
            np.array(picture)[:32:4, :32:4], (images[expected.argmin(), 0] * 255 / 16).round()
        )
    main(["score", str(files / "model"), str(files / "images.npy")])
    assert re.fullmatch(
        r"bits per dimension of 30 images: \d\.\d{3} as a bound, \d\.\d{3} importance weighted; "
        r"16 draws per image\n",
        capsys.readouterr().out,
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "model",
            r"not an \.npy file of numbers, or a damaged one; images are scored from \.npy files$",
        ),
        ("archive.npz", r"not an \.npy file"),
        ("wrong.npy", r"expected numbers of shape \(n, 1, 8, 8\); got int64 of"),
        ("none.npy", "holds no images"),
    ],
)
def test_an_invalid_file_of_images_is_named(files, name, words):
    np.save(files / "wrong.npy", np.zeros((3, 8, 7), dtype=int))
    np.save(files / "none.npy", whole()[:0])
    np.savez(files / "archive.npz", whole())
    with pytest.raises(SystemExit, match=rf"{re.escape(str(files / name))}: {words}"):
        main(["score", str(files / "model"), str(files / name)])


@pytest.mark.parametrize("output", [[], ["-o", "s.npy"]])
def test_the_least_likely_images_need_a_picture_file(files, tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SystemExit, match=r"^flows: --anomalies of images needs a picture: -o FILE\.png$"
    ):
        main(
            ["score", str(files / "model"), str(files / "images.npy"), "--anomalies", "3", *output]
        )
    assert not list(tmp_path.iterdir())


def test_images_of_two_levels_may_be_booleans(files, tmp_path):
    np.save(tmp_path / "b.npy", whole(3) > 8)
    found = read(tmp_path / "b.npy", (1, 8, 8))
    assert (found == (whole(3) > 8)).all()
