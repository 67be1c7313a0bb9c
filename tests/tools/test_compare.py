"""``make compare``: the results that it reads, its verdicts, and the tables that it prints."""

from __future__ import annotations

import math
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pipeline import TINY
from scipy import stats

from flows.core.errors import UserError
from tools import command, compare, rank_tests

METRICS = [f"metric_{k}" for k in range(20)]
MEMBERS = 10


def members(seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Return metrics of ten members, normal around 1, and ``kl`` around 1 + ``shift``, by 0.1."""
    rng = np.random.default_rng(seed)
    table = {"member": np.arange(MEMBERS), "kl": rng.normal(1 + shift, 0.1, MEMBERS)}
    table |= {name: rng.normal(1, 0.1, MEMBERS) for name in METRICS}
    return pd.DataFrame({**table, "parameters": 28464, "none": np.nan})


def git(*words: str) -> None:
    command.git("-c", "user.name=Test", "-c", "user.email=test@example.org", *words)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with the branches ``main``, ``seeds`` (other members) and ``worse``.

    ``worse`` has another noise, and its KL is three deviations higher.
    """
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    settings = yaml.safe_load(TINY)
    others = {name: members(2) for name in (*settings["references"], *settings["models"])}
    for branch, edit, realnvp, glow in [
        ("main", ("", ""), members(0), members(1)),
        ("seeds", ("epochs: 4\n", "epochs: 5\n"), members(10), members(11)),
        ("worse", ("noise: auto", "noise: 0.0"), members(0, 0.3), members(1)),
    ]:
        git("checkout", "--quiet", "--orphan", branch)
        Path("params.yaml").write_text(TINY.replace(*edit, 1), encoding="utf-8")
        for name, table in {**others, "realnvp": realnvp, "glow": glow}.items():
            Path(f"metrics/{name}").mkdir(parents=True, exist_ok=True)
            table.to_csv(f"metrics/{name}/members.csv", index=False)
        git("add", "--all")
        git("commit", "--quiet", "--message", branch)
    return tmp_path


def found(a: str, b: str) -> dict[tuple[str, str], compare.Number]:
    return {
        (one.model, one.metric): one for one in compare.numbers(compare.read(a), compare.read(b))
    }


def test_other_seeds_are_within_noise_and_equal_tables_are_the_same(repository: Path):
    numbers = found("main", "seeds")
    assert not [metric for _, metric in numbers if metric == "none"]
    tested = [
        one
        for (model, metric), one in numbers.items()
        if model in ("realnvp", "glow") and metric != "parameters"
    ]
    assert len(tested) == 42
    assert sum(one.verdict == "within noise" for one in tested) >= 0.95 * 42
    assert {one.verdict for (model, _), one in numbers.items() if model == "vae"} == {"same"}
    assert numbers["glow", "parameters"].verdict == "same"


def test_only_the_higher_kl_is_different(repository: Path):
    numbers = found("main", "worse")
    assert [key for key, one in numbers.items() if one.verdict == "different"] == [
        ("realnvp", "kl")
    ]
    kl = numbers["realnvp", "kl"]
    assert kl.difference == pytest.approx(0.3, abs=0.05)
    assert 0.1 < kl.interval[0] < kl.difference < kl.interval[1] < 0.5


def test_an_outlier_does_not_hide_a_difference():
    """All members are worse, one of them 1,000 times, like flows without regularisation.

    A t-test of the means has p = 0.33.
    """
    rng = np.random.default_rng(0)
    left, right = (
        rng.normal(0.07, 0.003, MEMBERS),
        np.append(rng.normal(1.3, 0.3, MEMBERS - 1), 2e4),
    )
    assert stats.ttest_ind(left, right, equal_var=False).pvalue > 0.3
    one = compare.number("glow", "kl", left, right)
    assert one.p == pytest.approx(2 / math.comb(20, 10))
    assert one.difference < 2


def test_a_missing_number_counts_as_the_largest_and_is_reported():
    left, right = (
        np.linspace(0.07, 0.08, MEMBERS),
        np.append(np.linspace(1, 2, MEMBERS - 2), [np.nan, np.nan]),
    )
    one = compare.number("glow", "kl", left, right)
    assert one.p == pytest.approx(2 / math.comb(20, 10))
    assert compare.cells(one)[2:5] == ["0.075 ± 0.0034", "none in 2 of 10", "\u2013"]


@pytest.mark.parametrize("sizes", [(4, 4), (3, 6)])
@pytest.mark.parametrize("steps", [3, 10_000], ids=["ties", "no ties"])
def test_the_p_value_equals_that_of_the_permutation_distribution(
    sizes: tuple[int, int], steps: int
):
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.integers(steps, size=sum(sizes)).astype(float)
        ranks = stats.rankdata(values)
        sums = np.array(
            [ranks[list(chosen)].sum() for chosen in combinations(range(len(values)), sizes[0])]
        )
        away = np.abs(sums - sizes[0] * (len(values) + 1) / 2)
        expected = (away >= away[0] - 1e-9).mean()  # the first choice is the actual one
        assert rank_tests.rank_sum_p(values[: sizes[0]], values[sizes[0] :]) == pytest.approx(
            expected
        )


def test_the_interval_has_its_nominal_coverage():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        _, (low, high) = rank_tests.shift(
            rng.standard_cauchy(MEMBERS), 1 + rng.standard_cauchy(MEMBERS)
        )
        held += low <= 1 <= high
    assert abs(held - 950) < 4 * np.sqrt(1000 * 0.05 * 0.95)
    assert np.isnan(
        rank_tests.shift(np.zeros(3), np.ones(3))[1]
    ).all()  # too few values for an interval


@pytest.mark.parametrize(
    ("metric", "left", "right", "verdict"),
    [
        ("kl", [1.0], [2.0], "changed"),
        ("kl", [1.0], [1.0], "same"),
        ("kl", [np.nan] * 2, [np.nan] * 2, "same"),
        ("parameters", [100] * 2, [101] * 2, "different"),  # known, not estimated
        ("modes", [8.0, 8.0], [7.0, 7.0], ""),  # equal by chance
        ("parameters", [100] * 2, [100] * 3, "same"),
        ("parameters", [100] * 2, [101] * 3, "different"),
        ("modes", [8.0] * 5, [8.0], "same"),
        ("kl", [np.nan] * 2, [np.nan], "same"),
        ("kl", [1.0, 2.0], [1.0], "changed"),
    ],
)
def test_numbers_without_scatter(metric: str, left: list[float], right: list[float], verdict: str):
    one = compare.number("glow", metric, np.array(left), np.array(right))
    assert one.verdict == verdict
    assert verdict or one.p == pytest.approx(1 / 3)


def test_too_few_members_are_not_reported_as_within_noise(repository: Path):
    a, b = compare.read("main"), compare.read("worse")
    few = [
        side._replace(members={name: table[:3] for name, table in side.members.items()})
        for side in (a, b)
    ]
    assert {one.verdict for one in compare.numbers(*few)} == {"too few members", "same"}


def said(a: compare.Side, b: compare.Side) -> str:
    return "\n\n".join(compare.report(a, b, compare.numbers(a, b)))


def test_the_tables_have_the_verdicts(repository: Path, capsys: pytest.CaptureFixture[str]):
    compare.main("main", "worse")
    text = capsys.readouterr().out
    assert re.search(
        r"\| kl \(nat\) \| different \| 1\.\d+ ± 0\.\d+ \| 1\.\d+ ± 0\.\d+ \| "
        r"\+0\.\d+ \(\+0\.\d+ to \+0\.\d+\) \| \S+ \|",
        text,
    )
    assert "### RealNVP\n\n| metric | verdict | main | worse |" in text
    assert re.match(r"Models with the same numbers for each member: truth, .*, Glow, .*GAN\.", text)
    assert compare.CAVEAT not in text
    assert "nan" not in text


def test_models_of_only_one_side_are_named(repository: Path):
    a, b = compare.read("main"), compare.read("seeds")
    a = a._replace(members={**a.members, "maf": members(5)})
    del b.members["vae"]
    assert said(a, b).endswith("Only on main: VAE, maf.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "caveat"), [("data", True), ("prepare", True), ("evaluate", True), ("train", False)]
)
def test_other_data_give_a_caveat(repository: Path, section: str, caveat: bool):
    a = compare.read("main")
    b = a._replace(params={**a.params, section: {**a.params[section], "seed": 7}})
    assert (compare.CAVEAT in said(a, b)) is caveat


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("nowhere", "git show: invalid object name 'nowhere'"),
        ("empty", "git show: path 'params.yaml' exists on disk, but not in 'empty'"),
        ("partial", "git show: path 'metrics/truth/members.csv' exists on disk, but not in"),
        ("damaged", "damaged:metrics/truth/members.csv: cannot be read (could not convert"),
    ],
)
def test_invalid_revisions_give_a_one_line_error(repository: Path, revision: str, said: str):
    git("switch", "--quiet", "--create", "damaged")
    Path("metrics/truth/members.csv").write_text("member,kl\n0,low\n", encoding="utf-8")
    git("commit", "--quiet", "--all", "--message", "Text")
    git("rm", "-r", "--quiet", "--cached", "metrics")
    git("switch", "--quiet", "--create", "partial")
    git("commit", "--quiet", "--message", "Settings")
    git("rm", "--quiet", "--cached", "params.yaml")
    git("switch", "--quiet", "--create", "empty")
    git("commit", "--quiet", "--message", "Nothing")
    with pytest.raises(UserError) as caught:
        compare.read(revision)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
