"""What the documents say is what the files hold."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from studies.tuning import search, summarize, tables
from tools import table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _in_the_top_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(("name", "make"), table.SECTIONS.items())
def test_the_readmes_tables_are_made_from_the_committed_files(name: str, make: Callable[[], str]) -> None:
    shown = README.split(table.MARK.format(name))[1].split(table.END)[0].strip()
    assert shown == make()


def test_every_file_that_the_readme_links_or_names_in_its_tree_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_readme_names_every_make_target_that_the_makefile_has() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    promised = set(re.findall(r"make ([a-z-]+)\b", re.sub(r"```.*?```", lambda block: block[0], README, flags=re.S)))
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))
    assert {word for word in promised if word in targets} >= {
        "repro",
        "test",
        "quick",
        "lint",
        "verify",
        "clean",
        "tuning",
        "test-fast",
        "bench",
        "claims",
    }


def test_the_tables_of_the_searches_are_made_from_the_committed_results() -> None:
    for name, content in summarize.read().items():
        assert "\n".join(summarize.table(content)) in (ROOT / "studies/tuning/recipe.md").read_text(encoding="utf-8"), name
    for name in yaml.safe_load((ROOT / "studies/tuning/params.yaml").read_text(encoding="utf-8"))["searches"]:
        path = ROOT / f"studies/tuning/results/searches/{name}"
        rows = pd.read_csv(path.with_suffix(".csv")).fillna({"case": ""})
        assert path.with_suffix(".md").read_text(encoding="utf-8") == tables.table(rows, search.committed_search(name), f"--search {name}")


def test_the_gan_and_the_vae_are_as_good_as_the_readme_says() -> None:
    """PacGAN's table has 7.8 modes and 95.9% of high quality, learned from 100,000 points and not from 800."""
    gan, vae = (pd.read_csv(ROOT / f"metrics/{name}/members.csv") for name in ("gan", "vae"))
    assert gan["modes"].mean() >= 7
    assert gan["high_quality"].mean() >= 0.85
    assert (vae["modes"] == 8).all()


def test_no_tracked_text_holds_a_path_of_a_machine() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, tracked):
        path = ROOT / name
        if path.suffix in {".png", ".gif"} or not path.is_file() or name.startswith("tests/"):
            continue
        found = re.search(r"(?<![\w.])/(?:work|root|home|tmp)/\w", path.read_text(encoding="utf-8"))
        assert not found, f"{name}: {found and found[0]}"
