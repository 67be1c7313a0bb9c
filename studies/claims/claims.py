"""The claims of the study, and the comparisons that test them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from studies.verdicts import Metric


class Comparison(NamedTuple):
    """A test of a claim: ``first`` against ``second``, by one or more metrics.

    ``metrics``: for each metric, the sign that ``first - second`` has if the claim holds.
    ``first`` and ``second``: models or variants whose scores are in the cells ``group``; ``flows``
    is the mean of RealNVP and Glow, and ``a:b`` is the difference a - b.
    """

    claim: int
    group: str
    metrics: Mapping[str, int]
    first: str
    second: str


class Section(NamedTuple):
    """Claims whose p-values are adjusted together."""

    title: str
    claims: Mapping[int, str]
    metrics: Mapping[str, Metric]
    comparisons: Sequence[Comparison]
    figure: str


PLANE = Section(
    title="In the plane",
    figure="forest.png",
    claims={
        1: "RealNVP converges in fewer epochs than Glow",
        2: "RealNVP needs fewer couplings than Glow to reach a given KL",
        3: "Glow costs more training time than RealNVP",
        4: "Glow's samples are more diverse than RealNVP's",
        5: (
            "Glow's samples are of better quality than RealNVP's, "
            "and its density is closer to the truth"
        ),
        6: "the flows beat a VAE and a GAN of equal size",
        7: "at equal size a spline flow is closer to the truth than affine RealNVP and Glow",
    },
    metrics={
        "epochs_to_converge": Metric(
            "epochs until the test NLL has settled", "epochs", 0, "share", lower_is_better=True
        ),
        "couplings_needed": Metric(
            "couplings needed for the KL of `verdicts.threshold`",
            "couplings",
            2,
            "share",
            lower_is_better=True,
        ),
        "flops_per_epoch": Metric(
            "operations of an epoch", "million", 2, "share", lower_is_better=True
        ),
        "recall": Metric("recall (share of real points among the samples)", "", 3, "sample"),
        "coverage": Metric(
            "coverage (share of real points with a sample near by)", "", 3, "sample"
        ),
        "mode_tv": Metric(
            "misplaced mass over the eight modes (0 is perfect)",
            "",
            3,
            "sample",
            lower_is_better=True,
        ),
        "precision": Metric("precision (share of samples among the real points)", "", 3, "sample"),
        "density": Metric("density (real points around a sample; 1 is perfect)", "", 3, "sample"),
        "c2st_auc": Metric(
            "AUC of a classifier of real against sampled (0.5 is perfect)",
            "",
            3,
            "sample",
            lower_is_better=True,
        ),
        "kl": Metric("KL from the truth", "nat", 3, "nat", lower_is_better=True),
    },
    comparisons=(
        Comparison(1, "depth", {"epochs_to_converge": 1}, "glow", "realnvp"),
        Comparison(2, "depths", {"couplings_needed": 1}, "glow", "realnvp"),
        Comparison(3, "depth", {"flops_per_epoch": 1}, "glow", "realnvp"),
        Comparison(4, "depth", {"recall": 1, "coverage": 1, "mode_tv": -1}, "glow", "realnvp"),
        Comparison(
            5,
            "depth",
            {"precision": 1, "density": 1, "c2st_auc": -1, "kl": -1},
            "glow",
            "realnvp",
        ),
        Comparison(
            6,
            "equal",
            {"recall": 1, "precision": 1, "c2st_auc": -1, "mode_tv": -1, "kl": -1},
            "flows",
            "vae",
        ),
        Comparison(
            6,
            "equal",
            {"recall": 1, "precision": 1, "c2st_auc": -1, "mode_tv": -1},
            "flows",
            "gan",
        ),
        Comparison(7, "equal", {"kl": -1}, "nsf", "realnvp"),
        Comparison(7, "equal", {"kl": -1}, "nsf", "glow"),
    ),
)

BITS = {"bits": -1}
SAMPLES = {"precision": 1, "recall": 1, "coverage": 1, "c2st_auc": -1}
IMAGES = Section(
    title="On images",
    figure="forest_images.png",
    claims={
        1: "a learned 1x1 convolution beats a fixed permutation",
        2: "a learned 1x1 convolution loses by the steps of the pixels",
        3: "several scales beat a single one at equal time",
        4: "Glow beats RealNVP, both with splines, at equal depth",
        5: "Glow beats RealNVP, both as published, at equal depth",
        6: "Glow beats RealNVP, both as published, at equal time",
        7: "Glow beats RealNVP, both with splines, at equal time",
        8: "the flows beat a VAE and a GAN",
    },
    metrics={
        "bits": Metric("bits per dimension", "bits", 3, "bits", lower_is_better=True),
        "precision": Metric("share of samples among the held-out digits", "", 3, "sample"),
        "recall": Metric("share of held-out digits among the samples", "", 3, "sample"),
        "coverage": Metric("share of held-out digits with a sample near by", "", 3, "sample"),
        "c2st_auc": Metric(
            "AUC of a classifier of held-out digits against samples",
            "",
            3,
            "sample",
            lower_is_better=True,
        ),
    },
    comparisons=(
        Comparison(1, "images", BITS, "learned", "glow"),
        Comparison(1, "images", BITS, "learned_bare", "permutation_bare"),
        Comparison(1, "images", BITS, "learned_smooth", "permutation_smooth"),
        Comparison(2, "images", {"bits": 1}, "learned:glow", "learned_smooth:permutation_smooth"),
        Comparison(3, "images", BITS, "glow", "single_scale"),
        Comparison(4, "images", BITS | SAMPLES, "glow", "realnvp"),
        Comparison(5, "images", BITS | SAMPLES, "glow_published", "realnvp_published"),
        Comparison(6, "images", BITS | SAMPLES, "glow_published", "realnvp_longer"),
        Comparison(7, "images", BITS | SAMPLES, "glow", "realnvp_splines_longer"),
        Comparison(8, "images", SAMPLES, "flows", "vae"),
        Comparison(8, "images", SAMPLES, "flows", "gan"),
    ),
)
SECTIONS = (PLANE, IMAGES)
