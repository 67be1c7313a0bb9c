"""The documents show the numbers of the committed results.

These are not tests of the code: they fail if results changed and the documents were not written
again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pandas as pd
import pytest
from pipeline import ROOT, text

from tools import table

DOCUMENTS = [ROOT / path for path in table.DOCUMENTS]


@pytest.mark.parametrize(("name", "make"), table.SECTIONS.items())
def test_every_generated_table_is_made_from_the_committed_files(
    name: str, make: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    mark = table.MARK.format(name)
    (document,) = (path for path in DOCUMENTS if mark in path.read_text(encoding="utf-8"))
    shown = document.read_text(encoding="utf-8").split(mark)[1].split(table.END)[0].strip()
    assert shown == make(), document.name


def test_the_example_of_make_compare_has_the_committed_numbers() -> None:
    """Only the numbers of `main` are compared: no commit holds the other branch of the example."""
    members = pd.read_csv(ROOT / "metrics/glow/members.csv")
    page = text("docs/dvc-recipes.md")
    for metric, unit in (("kl", " (nat)"), ("high_quality", ""), ("mode_tv", "")):
        line = rf"^\| {metric}{re.escape(unit)} \| [a-z ]+ \| (.*?) \|"
        (shown,) = re.findall(line, page, flags=re.M)
        assert shown == f"{members[metric].mean():.4g} ± {members[metric].std():.2g}"


def test_the_committed_models_reach_the_quality_that_is_expected() -> None:
    """The GAN finds at least 7 modes, and at least 85% of its samples have high quality.

    PacGAN reports 7.8 modes and 95.9% after learning from 100,000 points instead of 800.
    Highest-density regions have the right probability, except for the VAE and the kernel density.
    """
    names = ("gmm", "kde", "realnvp", "glow", "vae", "gan", "flow_matching")
    members = {name: pd.read_csv(ROOT / f"metrics/{name}/members.csv") for name in names}
    assert members["gan"]["modes"].mean() >= 7
    assert members["gan"]["high_quality"].mean() >= 0.85
    assert (members["vae"]["modes"] == 8).all()
    exact = ("gmm", "realnvp", "glow", "flow_matching")
    assert all(members[name]["hdr_error"].max() < 0.02 for name in exact)
    assert all(members[name]["hdr_error"].min() > 0.02 for name in ("kde", "vae"))
    assert members["flow_matching"]["kl"].mean() < 0.06
    assert json.loads(text("metrics/flow_matching.json"))["kl_ensemble"] < 0.05
