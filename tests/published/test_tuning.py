"""The tables of the searches are what the committed results give."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml
from pipeline import ROOT

from studies.tuning import settings, tables

HERE = ROOT / "studies/tuning"


@pytest.fixture(autouse=True)
def _in_the_top_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_table_of_the_search_is_made_from_the_committed_results() -> None:
    rows = pd.read_csv(HERE / "results/searches/realnvp.csv").fillna({"case": ""})
    content = settings.load().searches["realnvp"]
    assert tables.search_text("realnvp", content, rows) == (HERE / "results/searches/realnvp.md").read_text(encoding="utf-8")


def test_the_recipe_is_made_from_the_committed_results() -> None:
    now = yaml.safe_load((HERE / "params.yaml").read_text(encoding="utf-8"))["lists"]
    locked = yaml.safe_load((HERE / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    if any(f"compare@{name}" not in locked or locked[f"compare@{name}"]["params"]["params.yaml"][f"lists.{name}"] != now[name] for name in now):
        pytest.skip("lists were changed since they ran")
    assert tables.recipe_text(tables.read_lists()) == (HERE / "recipe.md").read_text(encoding="utf-8")


def test_what_the_readme_shows_of_the_search_is_its_table() -> None:
    """Now, and the best trial."""
    made = [line for line in (HERE / "results/searches/realnvp.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")][:4]
    assert "\n".join(made) in (HERE / "README.md").read_text(encoding="utf-8")


def test_what_the_page_says_of_the_cases_of_images_is_what_they_gave() -> None:
    cases = {name: pd.read_csv(HERE / f"results/images/{name}/bits.csv").mean() for name in settings.load().images.cases}
    one = {name: case.drop("ensemble").mean() for name, case in cases.items()}
    page = (HERE / "README.md").read_text(encoding="utf-8")
    gains = {name: f"{one[name] - cases[name]['ensemble']:.3f}" for name in ("base", "dropout_none")}
    assert f"gains most: {gains['base']} bits, and {gains['dropout_none']} without dropout" in page
    assert f"**Weight decay** gains {one['base'] - one['decay']:.3f}" in page
    costs = sorted(one[name] - one["base"] for name in ("shift", "noise", "dropout_more", "box", "pixel_map"))
    assert f"cost {costs[0]:.3f} to {costs[-1]:.3f}" in page


def test_what_the_pages_say_of_the_lists_and_of_members_astray_holds() -> None:
    gain = pd.read_csv(HERE / "results/lists/realnvp.csv").set_index("case")["kl"]
    page = (HERE / "README.md").read_text(encoding="utf-8")
    assert f"(32 couplings gain {gain['base'] - gain['couplings_32']:.3f} nat" in page
    assert f"has a KL of {gain['found_by_search']:.3f} nat where the defaults have {gain['base']:.3f}" in page
    assert f"at three quarters of its weights, have {gain['spline_couplings_4']:.3f}" in page
    worst = max(pd.read_csv(HERE / f"results/tails/{name}.csv")["kl_worst"].max() for name in ("realnvp", "glow", "nsf"))
    found = pd.read_csv(HERE / "results/tails/found.csv")
    hard = found[found["kl_worst"] > 1]
    assert (len(hard), len(found), set(hard["dim"])) == (3, 20, {3, 5})
    page = (ROOT / "docs/table-study.md").read_text(encoding="utf-8")
    assert f"no member goes astray (worst {worst:.2f}); by the found recipe three of 20 mixtures, in 3 and in 5 dimensions" in page
    assert f"ten members are {hard['kl'].min():.2f} to {hard['kl'].max():.2f}" in page
