"""Test the claims on the scores of all variants: ``claims.json``, ``claims.md`` and ``forest.png``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.pyplot import rc_context

from flows.core.arrays import Array
from flows.core.errors import errors_in_one_line
from flows.plotting.style import STYLE
from stages.shared import files, markdown
from studies import verdicts
from studies.digits_claims import settings
from studies.digits_claims.settings import Settings
from studies.forest import forest
from studies.verdicts import Metric

CLAIMS = {
    1: "a learned 1x1 convolution beats a fixed permutation",
    2: "a learned 1x1 convolution loses by the steps of the pixels",
    3: "several scales beat a single one at equal time",
    4: "Glow beats RealNVP, both with splines, at equal depth",
    5: "Glow beats RealNVP, both as published, at equal depth",
    6: "Glow beats RealNVP, both as published, at equal time",
    7: "Glow beats RealNVP, both with splines, at equal time",
    8: "the flows beat a VAE and a GAN",
}
METRICS = {
    "bits": Metric("bits per dimension", "bits", 3, "bits", lower_is_better=True),
    "precision": Metric("share of samples among the held-out digits", "", 3, "sample"),
    "recall": Metric("share of held-out digits among the samples", "", 3, "sample"),
    "coverage": Metric("share of held-out digits with a sample near by", "", 3, "sample"),
    "c2st_auc": Metric("AUC of a classifier of held-out digits against samples", "", 3, "sample", lower_is_better=True),
}
SAMPLES = ("precision", "recall", "coverage", "c2st_auc")
# Claim, metrics, and the two that are compared; `a:b` is what a has more than b; `flows` is the mean of RealNVP and Glow with splines.
FAMILY: tuple[tuple[int, tuple[str, ...], str, str], ...] = (
    (1, ("bits",), "learned", "glow"),
    *((1, ("bits",), f"learned_{end}", f"permutation_{end}") for end in ("bare", "smooth")),
    (2, ("bits",), "learned:glow", "learned_smooth:permutation_smooth"),
    (3, ("bits",), "glow", "single_scale"),
    (4, ("bits", *SAMPLES), "glow", "realnvp"),
    (5, ("bits", *SAMPLES), "glow_published", "realnvp_published"),
    (6, ("bits", *SAMPLES), "glow_published", "realnvp_longer"),
    (7, ("bits", *SAMPLES), "glow", "realnvp_splines_longer"),
    *((8, SAMPLES, "flows", other) for other in ("vae", "gan")),
)


@errors_in_one_line("analyse")
def main() -> None:
    params = settings.load()
    tables = read(params)
    entries = examine(params, tables)
    files.write_bytes(settings.HERE / "claims.json", verdicts.report(entries).encode())
    files.write_bytes(settings.HERE / "claims.md", document(params, tables, entries).encode())
    with rc_context(STYLE):
        forest([verdicts.in_margins(entry) for entry in entries], CLAIMS, settings.HERE / "forest.png")
    for entry in entries:
        print(f"claim {entry['claim']}, {entry['metric']}, {entry['comparison']}: {entry['verdict']}")


def read(params: Settings) -> dict[str, pd.DataFrame]:
    return {name: verdicts.read(settings.path(name), params.replicates) for name in params.variants}


def values(tables: dict[str, pd.DataFrame], metric: str, name: str) -> Array:
    """The metric of every replicate, ``(R,)``."""
    first, *second = (tables[each][metric].to_numpy(dtype=np.float64) for each in name.split(":"))
    return first - second[0] if second else first


def examine(params: Settings, tables: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Every comparison, adjusted as one family. Lower bits are better, but a loss by steps is a difference that is claimed to be positive."""
    entries, tables = [], tables | {"flows": (tables["glow"] + tables["realnvp"]) / 2}
    for claim, metrics, first, second in FAMILY:
        for metric in metrics:
            kind, pair = METRICS[metric], (values(tables, metric, first), values(tables, metric, second))
            entry = {"claim": claim, "metric": metric, "comparison": f"{first} - {second}", "replicates": params.replicates}
            entry["sign"] = -1 if kind.lower_is_better and claim != 2 else 1
            entries.append(entry | verdicts.compare(kind, dict(params.margins)[kind.margin], *pair))
    verdicts.judge(entries)
    return entries


def document(params: Settings, tables: dict[str, pd.DataFrame], entries: list[dict[str, Any]]) -> str:
    keys = [*METRICS, "density", "class_tv", "nearest", "close"]
    cells = {name: [f"{t[key].mean():.3f} \u00b1 {t[key].std():.3f}" if key in t else "" for key in keys] for name, t in tables.items()}
    parts = (
        "# The claims on images: what was found",
        f"Made by `make digits-claims`; the settings are in `params.yaml`, the protocol is in `README.md`. {params.replicates} replicates.",
        "![Every effect in units of its margin](forest.png)",
        verdicts.table(entries, CLAIMS, METRICS),
        "Mean \u00b1 standard deviation over replicates:",
        markdown.table(["", *keys], [[name, *row] for name, row in cells.items()], "lr"),
    )
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
