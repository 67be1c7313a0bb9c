"""``make compare``: what it reads from two branches, what it says of their numbers, and the page it makes."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pipeline import TINY

from stages import settings
from tools import compare

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
METRICS = [f"metric_{k}" for k in range(20)]
MEMBERS = 10


def members(seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Ten members whose metrics scatter around 1 with standard deviation 0.1; ``kl`` around 1 + ``shift``."""
    rng = np.random.default_rng(seed)
    table = {"member": np.arange(MEMBERS), "kl": rng.normal(1 + shift, 0.1, MEMBERS)}
    return pd.DataFrame({**table, **{name: rng.normal(1, 0.1, MEMBERS) for name in METRICS}, "parameters": 28464, "none": np.nan})


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (900, 500), (shade, 120, 200)).save(buffer, format="png")
    return buffer.getvalue()


def commit(folder: Path, branch: str, params: str, tables: dict[str, pd.DataFrame], shade: int = 0) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *words], cwd=folder, check=True, capture_output=True)

    if not (folder / ".git").exists():
        git("init", "--quiet", "--initial-branch", branch)
    else:
        git("switch", "--quiet", "--create", branch)
    (folder / "params.yaml").write_text(params, encoding="utf-8")
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "density.png").write_bytes(picture(shade))
    (folder / "figures" / "same.png").write_bytes(picture(7))
    for name, table in tables.items():
        (folder / "metrics" / name).mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / "metrics" / name / "members.csv", index=False)
        (folder / "metrics" / f"{name}.json").write_text('{"kl": 1.0}', encoding="utf-8")
        epochs = np.arange(10, 101, 10)
        history = {"epoch": epochs, "train_nll": 3 + 1 / epochs, "train_nll_sd": 0.1, "test_nll": 4 + shade / 100 + 1 / epochs, "test_nll_sd": 0.1}
        pd.DataFrame(history).to_csv(folder / "metrics" / name / "history.csv", index=False)
    git("add", "--all")
    git("commit", "--quiet", "--message", branch)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``main``; ``seeds`` with other member seeds; ``worse`` with the same seeds, other noise and a KL that is two deviations higher."""
    monkeypatch.chdir(tmp_path)
    commit(tmp_path, "main", TINY, {name: members(k) for k, name in enumerate(("realnvp", "glow", "vae"))})
    commit(
        tmp_path,
        "seeds",
        TINY.replace("members: 3\n  seed: 0", "members: 3\n  seed: 1"),
        {"realnvp": members(10), "glow": members(11), "vae": members(2)},
        90,
    )
    subprocess.run(["git", "switch", "--quiet", "main"], check=True)
    commit(tmp_path, "worse", TINY.replace("noise: auto", "noise: 0.0"), {"realnvp": members(0, 0.2)}, 200)
    return tmp_path


def found(a: str, b: str) -> dict[tuple[str, str], compare.Number]:
    return {(one.model, one.metric): one for one in compare.numbers(compare.read(a), compare.read(b))}


def test_other_member_seeds_are_within_noise_and_equal_tables_the_same(repository: Path):
    numbers = found("main", "seeds")
    tested = [one for (model, metric), one in numbers.items() if model != "vae" and metric not in ("parameters", "none")]
    assert len(tested) == 42
    assert sum(one.verdict == "within noise" for one in tested) >= 0.95 * 42
    assert {one.verdict for (model, _), one in numbers.items() if model == "vae"} == {"same"}
    assert numbers["glow", "parameters"].verdict == "same"


def test_a_higher_kl_is_different_and_nothing_else_is(repository: Path):
    numbers = found("main", "worse")
    assert [key for key, one in numbers.items() if one.verdict == "different"] == [("realnvp", "kl")]
    kl = numbers["realnvp", "kl"]
    assert kl.difference == pytest.approx(0.2)  # paired: the members' own scatter is gone
    assert kl.half_width < 1e-6


def test_pairing_is_for_the_same_data_and_seeds_alone():
    left, right = members(0)["kl"].to_numpy(), members(0)["kl"].to_numpy() + np.random.default_rng(1).normal(0.02, 0.01, MEMBERS)
    together, apart = (compare.number("glow", "kl", left, right, paired) for paired in (True, False))
    assert together.p < 0.001 < 0.1 < apart.p
    assert apart.half_width > 3 * together.half_width


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        ([1.0], [2.0], "changed"),
        ([1.0], [1.0], "same"),
        ([1.0, np.nan], [1.0, 2.0], "changed"),
        ([np.nan] * 2, [np.nan] * 2, "same"),
        ([1.0, 1.0], [2.0, 2.0], ""),
    ],
)
def test_numbers_without_scatter(left: list[float], right: list[float], verdict: str):
    one = compare.number("glow", "kl", np.array(left), np.array(right), False)
    assert one.verdict == verdict
    assert verdict or one.p == 0  # a certain difference


def test_false_alarms_are_rare():
    """Of 300 pages of 20 numbers without a difference, a share of about 5% may have one that is said to be different."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        p = [compare.number("m", "x", rng.normal(size=MEMBERS), rng.normal(size=MEMBERS), False).p for _ in range(20)]
        alarms += compare.holm(np.array(p)).min() < 0.05
    assert alarms < 300 * 0.05 + 4 * np.sqrt(300 * 0.05 * 0.95)


def test_markdown_has_the_settings_and_the_verdicts(repository: Path):
    a, b = compare.read("main"), compare.read("worse")
    text = compare.markdown(a, b, compare.numbers(a, b))
    assert "| train.noise | auto | 0.0 |" in text
    assert re.search(r"\| kl \| 1\.\d+ ± 0\.\d+ \| 1\.\d+ ± 0\.\d+ \| \+0\.2.* \| different \|", text)
    assert "nan" not in text


@pytest.mark.parametrize(("revision", "said"), [("nowhere", "the branches are: empty, main, seeds, worse"), ("empty", "empty has no results")])
def test_what_can_not_be_compared_is_said_in_one_line(repository: Path, revision: str, said: str):
    subprocess.run(["git", "switch", "--quiet", "--orphan", "empty"], check=True)
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, "commit", "--quiet", "--allow-empty", "--message", "Nothing"], check=True)
    with pytest.raises(settings.UserError) as caught:
        compare.read(revision)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_page_needs_nothing_but_itself(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["compare", "main", "worse"])
    started = time.monotonic()
    compare.main()
    assert time.monotonic() - started < 5
    text = (repository / "compare.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    assert "//" not in re.sub(r"base64,[^\"]+", "", text)
    assert text.count("<img") == 3 + 1 + 2  # a history a model, one figure that is the same, two of the one that is not


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser_without_a_network(repository: Path, monkeypatch: pytest.MonkeyPatch, width: int):
    from playwright.sync_api import sync_playwright

    monkeypatch.setattr("sys.argv", ["compare", "main", "seeds"])
    compare.main()
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": width, "height": 900}, offline=True).new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(request.url))
        page.goto((repository / "compare.html").as_uri())
        pictures = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0 && i.getBoundingClientRect().width > 200)")
        wide = page.evaluate("document.documentElement.scrollWidth")
        letters = page.evaluate("Math.min(...[...document.querySelectorAll('p, td, th, h1')].map(e => parseFloat(getComputedStyle(e).fontSize)))")
        browser.close()
    assert said == []
    assert len(pictures) >= 5
    assert all(pictures)
    assert wide <= width  # tables scroll by themselves, the page does not
    assert letters >= 12  # CSS pixels
