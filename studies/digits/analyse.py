"""What the fits say: ``results.json``, ``tables.md`` and ``training.png``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.pyplot import rc_context
from scipy.special import logsumexp

from flows.core import seeds
from flows.core.arrays import Array
from flows.core.errors import errors_in_one_line
from flows.evaluation import statistics
from flows.evaluation.images import bits_per_dimension
from flows.plotting.style import STYLE
from stages.shared import files, markdown
from studies.digits import digits, figures, settings
from studies.digits.settings import HERE, RESULTS, Settings

SAMPLES = ("precision", "recall", "density", "coverage", "c2st_auc", "class_tv", "nearest", "close")
BITS = ("bits", "bits_iw", "ensemble_bits", "ensemble_bits_iw")


@errors_in_one_line("analyse")
def main() -> None:
    params = settings.load()
    judged = {split: pd.read_csv(settings.path("samples", "all", split, "csv")) for split in params.splits}
    lines = [line(params, judged[split], name, split) for split in params.splits for name in ("held_out", *params.rows)]
    files.write_bytes(HERE / "tables.md", text(params, lines, judged).encode())
    known = [{**each, "seconds": seconds(params, each["model"], each["split"])} for each in lines]  # no two runs take the same: DVC is not told
    files.write_bytes(RESULTS, (pd.DataFrame(known).to_json(orient="records", indent=1) + "\n").encode())  # what is not finite is null
    curves = {name: [files.read_npz(settings.path("fits", name, cell)) for cell in params.of(name, "random")] for name in params.rows}
    with rc_context(STYLE):
        figures.training({name: each for name, each in curves.items() if "curve_test_nll" in each[0]}, HERE / "training.png")
    print("; ".join(f"{each['model']} {each['split']} {each['bits']:.3f}" for each in lines if each["bits"]))


def line(params: Settings, judged: pd.DataFrame, name: str, split: str) -> dict[str, Any]:
    """A line of the results. ``bits``: the bound; ``bits_iw``: importance weighted; both with a 95% interval over test images, and of one network
    (the mean) and of the ensemble. ``bits_sd``: over networks.
    """
    fits = [files.read_npz(settings.path("fits", name, cell)) for cell in params.of(name, split)]
    found: dict[str, Any] = {"model": name, "split": split, "networks": None, "draws": params.draws, "bits_sd": None}
    found |= {key + end: None for key in BITS for end in ("", "_ci95")}
    if fits and "log_q" in fits[0]:
        log_q = np.concatenate([each["log_q"] for each in fits], axis=2)  # (draws, n, M)
        found["networks"] = log_q.shape[2]
        mixed = logsumexp(log_q, axis=2) - np.log(log_q.shape[2])
        for end, weighted in (("", False), ("_iw", True)):
            single = bits_per_dimension(log_q, digits.PIXELS, weighted=weighted)
            found |= interval(f"bits{end}", single.mean(axis=1))
            if log_q.shape[2] > 1:
                found |= interval(f"ensemble_bits{end}", bits_per_dimension(mixed, digits.PIXELS, weighted=weighted))
                found |= {} if weighted else {"bits_sd": float(f"{single.mean(axis=0).std(ddof=1):.4g}")}
    own = judged[judged["row"] == name]
    return found | {key: float(f"{own[key].mean():.4g}") if len(own) else None for key in SAMPLES}


def interval(key: str, bits: Array) -> dict[str, Any]:
    """The mean over test images ``(n,)`` and its 95% interval by bootstrap."""
    ends = statistics.mean_interval(bits, seeds.numpy_generator(0, "metric"))
    return {key: float(f"{bits.mean():.5g}"), f"{key}_ci95": [float(f"{end:.5g}") for end in ends]}


def seconds(params: Settings, name: str, split: str) -> float | None:
    """Of the processor, a network."""
    paths = [settings.path("seconds", name, cell, "csv") for cell in params.of(name, split)]
    found = [float(pd.read_csv(path)["seconds"].mean()) for path in paths if path.exists()]
    return float(np.mean(found)) if found else None


def text(params: Settings, lines: list[dict[str, Any]], judged: dict[str, pd.DataFrame]) -> str:
    """The tables of the documents."""
    parts = []
    for split in params.splits:
        own, floor = [each for each in lines if each["split"] == split], judged[split]
        bits = sorted((each for each in own if each["bits"] is not None), key=lambda each: each["bits"])
        rows = [[settings.label(each["model"])[0], str(each["networks"]), *(words(each, key) for key in BITS)] for each in bits]
        head = ["", "networks", "one: bound", "one: importance weighted", "ensemble: bound", "ensemble: importance weighted"]
        samples = [[settings.label(each["model"])[0], *(f"{each[key]:.3f}" for key in SAMPLES)] for each in own if each["recall"] is not None]
        about = f"The features are those of a classifier that is right on {floor['accuracy'].iloc[0]:.1%} of the test images."
        title = f"Split: {split}, {params.train:,} training and {params.test} test images."
        parts += [f"{title} Bits per dimension (95% interval over test images), {params.draws} draws of u; lower is better."]
        parts += [
            markdown.table(head, rows, "lr"),
            f"Samples, {split} split: means over networks. {about}",
            markdown.table(["", *SAMPLES], samples, "lr"),
        ]
    return "\n\n".join(parts) + "\n"


def words(line: dict[str, Any], key: str) -> str:
    low, high = line[f"{key}_ci95"] or (None, None)
    return "" if low is None else f"{line[key]:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
