"""What the documents say of the published results is what the committed files hold.

These are no tests of the code: they fail where a result was made anew and the documents were not, or where settings were changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pandas as pd
import pytest
import yaml
from pipeline import ROOT, text, uncommented
from scipy.stats import ttest_1samp

from studies.tables import analyse
from studies.tables import settings as study_of_tables
from tools import table

CLAIMS = ROOT / "studies/claims/results"
VARIANTS = ("glow", "glow_published", "single_scale", "realnvp_splines_longer", "realnvp_longer")  # of the claims on images
IMAGE_FLOWS = ("glow", "realnvp", "glow_published", "realnvp_published")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks/README.md"]


@pytest.fixture(autouse=True)
def _in_the_top_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def prose(name: str) -> str:
    """A document without code, tables and the targets of links."""
    kept = re.sub(r"^```.*?^```$|^\|.*?$|<!--.*?-->", "", text(name), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", kept)


def settings(name: str) -> dict[str, Any]:
    return yaml.safe_load(text(name))


def kl(cell: str) -> float:
    """Mean KL over the replicates of a cell of the claims study."""
    return float(pd.read_csv(CLAIMS / f"{cell}.csv")["kl"].mean())


@pytest.mark.parametrize(("name", "make"), table.SECTIONS.items())
def test_every_generated_table_is_made_from_the_committed_files(name: str, make: Callable[[], str]) -> None:
    mark = table.MARK.format(name)
    (document,) = (path for path in DOCUMENTS if mark in path.read_text(encoding="utf-8"))
    shown = document.read_text(encoding="utf-8").split(mark)[1].split(table.END)[0].strip()
    assert shown == make(), document.name


def gains() -> list[tuple[str, float, str]]:
    """What NSF gains over the best peer of every table that the study has run on, and what that comes to."""
    params = study_of_tables.load()
    found = analyse.over_best_peers(params, analyse.read(params, "scores"))
    return [(table.replace("_", " "), line.gain, line.verdict) for (table, _), line in found.iterrows()]


def full_size() -> dict[str, float]:
    """The training rows of full size, at most; and how far NSF is below the mixture there, where the truth is one."""
    params = study_of_tables.load()
    full = pd.DataFrame(json.loads(text("studies/tables/results.json"))).query("part == 'full'")
    mean = full.groupby(["model", "table"])["log_likelihood"].mean()
    return {"rows": params.full.train, **{table: mean["mixture", table] - mean["nsf", table] for table in ("mixture", "twonorm")}}


def facts() -> list[str]:
    """Every piece of the README's prose that holds a number, made from what the runs wrote and read."""
    params = settings("params.yaml")
    verdicts = [entry["verdict"] for entry in json.loads(text("studies/claims/claims.json"))]
    claims = settings("studies/claims/params.yaml")
    couplings = claims["ablation"]["couplings"]
    assert couplings == claims["curve"]["couplings"] == claims["claims"]["couplings"]
    rows = claims["curve"]["rows"]
    few, many = rows[0], rows[-1]
    depths = claims["depth"]["couplings"]
    learnt, density = ([kl(f"curve/{name}_{n}") for n in (few, many)] for name in ("realnvp", "kde"))
    digits = {each["model"]: each for each in json.loads(text("studies/digits/results.json")) if each["split"] == "random"}
    return [
        f"{params['data']['samples']:,} points",
        f"{params['train']['members']} independently seeded networks",
        f"{params['evaluate']['fresh']:,} fresh points",
        f"Of {len(verdicts)} tested comparisons {verdicts.count('supported')} are supported, "
        f"{verdicts.count('equivalent')} equivalent, {verdicts.count('refuted')} refuted and {verdicts.count('inconclusive')} inconclusive",
        f"closer to the truth from {depths[1]} to {depths[-1]} couplings, Glow at {params['models']['glow']['couplings']}",
        f"At {couplings} couplings it takes the KL of RealNVP from {kl('ablation/realnvp_none'):.3f} to {kl('ablation/realnvp_recipe'):.3f} nat",
        f"over {claims['replicates']['count']} data sets, NSF reaches "
        f"{kl('equal/nsf'):.3f} nat where RealNVP has {kl('equal/realnvp'):.3f} and Glow {kl('equal/glow'):.3f}",
        *(f"{table} {gain:+.2f}" for table, gain, word in gains() if word == "win"),
        *(f"a {word} on {table} ({gain:+.2f})".replace("-", "\u2212") for table, gain, word in gains() if word != "win"),
        "with up to {rows:,} training rows the mixture leads both, by {twonorm:.2f} and {mixture:.2f}".format(**full_size()),
        f"Glow's ensemble takes {digits['glow_image']['ensemble_bits']:.2f} bits a pixel, RealNVP's {digits['realnvp_image']['ensemble_bits']:.2f}",
        f"as published {digits['glow_published']['bits']:.2f}, a vine copula {digits['vine']['bits']:.2f}",
        f"At {couplings} couplings more points help less and less",
        f"From {few:,} to {many:,} points RealNVP's KL falls from {learnt[0]:.3f} to {learnt[1]:.3f} nat",
        f"that of a kernel density from {density[0]:.3f} to {density[1]:.3f}",
        f"With endless new points {kl(f'control/realnvp_{couplings}'):.3f} would be left",
    ]


def test_every_number_in_the_prose_of_the_readme_is_held() -> None:
    said = prose("README.md")
    for fact in facts():
        assert fact in said, fact
        said = said.replace(fact, "")
    for word in ("Python 3.11", "95% interval", "scores, not 1", "8x8 digits", "x86-64"):  # no results
        said = said.replace(word, "")
    assert not re.findall(r".*\d.*", said)


def test_the_readme_is_right_about_the_claims() -> None:
    """What it says in words."""
    entries = [entry for entry in json.loads(text("studies/claims/claims.json")) if entry["comparison"] == "glow - realnvp"]
    (needed,) = (entry for entry in entries if entry["metric"] == "couplings_needed")
    assert needed["verdict"] == "supported"
    assert 0.5 < needed["effect"] < 1.5
    found = {entry["metric"]: entry["verdict"] for entry in entries}
    assert found["epochs_to_converge"] == "inconclusive"
    assert all(found[metric] == "equivalent" for metric in ("flops_per_epoch", "recall", "coverage", "mode_tv"))
    assert found["kl"] == "refuted"


def test_the_page_is_right_about_the_flows_that_come_next() -> None:
    params = study_of_tables.load()
    scores = analyse.read(params, "scores")
    assert "vine" not in analyse.over_best_peers(params, scores).index.get_level_values(1)  # the README says so
    means = analyse.means(params, scores)
    assert list(analyse.ranks(means).sort_values().index[:3]) == ["nsf", "glow", "realnvp"]
    assert (means.loc[["realnvp", "glow"]] > means.loc["margins"]).all(axis=None)
    assert (means.loc["vae"] < means.loc["gaussian"]).sum() == 5


def test_the_pages_are_right_about_the_claims_on_images() -> None:
    """What README.md, docs/images.md and the study's own page say in words."""
    entries = json.loads(text("studies/digits_claims/claims.json"))

    def verdicts(claim: int, *metrics: str) -> list[str]:
        return [entry["verdict"] for entry in entries if entry["claim"] == claim and entry["metric"] in metrics]

    assert verdicts(1, "bits") == ["refuted", "refuted", "equivalent"]
    assert [*verdicts(2, "bits"), *verdicts(3, "bits")] == ["supported", "supported"]
    assert all(verdicts(claim, "bits", "precision", "recall") == ["equivalent"] * 3 for claim in (4, 7))
    assert all(verdicts(claim, "coverage", "c2st_auc") == ["inconclusive"] * 2 for claim in (4, 7))
    assert all(verdicts(claim, "bits", "c2st_auc") == ["supported"] * 2 for claim in (5, 6))
    assert all(verdicts(claim, "recall", "coverage") == ["equivalent"] * 2 for claim in (5, 6))
    assert verdicts(8, "recall", "c2st_auc") == ["supported"] * 4
    assert verdicts(8, "precision", "coverage") == ["refuted", "supported", "refuted", "refuted"]
    bare, learned, scales, *published = (
        f"{abs(entry['effect']):.3f}"
        for claim, comparison in (
            (1, "learned_bare - permutation_bare"),
            (1, "learned - glow"),
            (3, "glow - single_scale"),
            (5, "glow_published - realnvp_published"),
            (6, "glow_published - realnvp_longer"),
        )
        for entry in entries
        if (entry["claim"], entry["comparison"], entry["metric"]) == (claim, comparison, "bits")
    )
    page, images = text("studies/digits_claims/README.md"), text("docs/images.md")
    assert f"with ActNorm by {learned} bits and without by {bare}" in page
    assert f"at equal time, by {scales} bits" in page
    assert f"by {published[0]} bits at equal depth and {published[1]} at equal time" in page
    took = {name: f"{pd.read_csv(ROOT / f'studies/digits_claims/seconds/{name}.csv')['seconds'][0]:.0f} s" for name in VARIANTS}
    assert f"a network of `glow` took {took['glow']} and one of `glow_published` {took['glow_published']}" in page
    assert ", ".join(f"`{name}` {took[name]}" for name in VARIANTS[2:]) in page
    assert f"{scales} bits better than a single one" in images
    assert f"a fixed permutation is {learned} bits better" in images
    assert f"by {published[0]} at equal depth" in images


def test_each_flow_over_images_alone_differs_from_a_vae_and_a_gan_as_the_page_says() -> None:
    scores = {name: pd.read_csv(ROOT / f"studies/digits_claims/results/{name}.csv") for name in [*IMAGE_FLOWS, "vae", "gan"]}
    means = {}
    for flow, other in product(IMAGE_FLOWS, ("vae", "gan")):
        differences = (scores[flow] - scores[other])[["precision", "recall", "coverage", "c2st_auc"]]
        assert (ttest_1samp(differences, 0).pvalue < 0.05).all()  # a 95% interval leaves out 0
        means[flow, other] = differences.mean()
    odd = [(*pair, metric) for pair, mean in means.items() for metric in mean.index if mean[metric] * means["glow", pair[1]][metric] < 0]
    assert odd == [("realnvp_published", "gan", "c2st_auc")]
    assert f"(AUC +{means['realnvp_published', 'gan']['c2st_auc']:.3f})" in text("studies/digits_claims/README.md")


def test_what_the_results_page_says_in_words_holds() -> None:
    members = {name: pd.read_csv(ROOT / f"metrics/{name}/members.csv") for name in ("gmm", "kde", "realnvp", "glow", "vae", "gan")}
    assert all(members[name]["hdr_error"].max() < 0.02 for name in ("gmm", "realnvp", "glow"))
    assert all(members[name]["hdr_error"].min() > 0.02 for name in ("kde", "vae"))
    count, page = settings("studies/claims/params.yaml")["replicates"]["count"], prose("docs/results.md")
    modes = pd.read_csv(CLAIMS / "equal/gan.csv")["modes"]
    assert (modes < 8).sum() == 1
    assert modes.min() == 1
    assert f"from {count} replicates" in page
    assert f"One of the {count} lost seven of the eight" in page
    depth = {name: [kl(f"depth/{name}_{couplings}") for couplings in (2, 4, 6, 8, 12)] for name in ("realnvp", "glow")}
    closer = [realnvp < glow - 0.002 for realnvp, glow in zip(depth["realnvp"], depth["glow"], strict=True)]
    assert closer == [False, True, True, True, True]
    assert depth["glow"][0] < depth["realnvp"][0]
    assert kl("equal/glow") < kl("equal/realnvp") - 0.002


def test_the_example_of_make_compare_has_the_committed_numbers() -> None:
    """Of `main`: the other branch of the example is in no commit."""
    members = pd.read_csv(ROOT / "metrics/glow/members.csv")
    page = text("docs/dvc-recipes.md")
    for metric, unit in (("kl", " (nat)"), ("high_quality", ""), ("mode_tv", "")):
        (shown,) = re.findall(rf"^\| {metric}{re.escape(unit)} \| [a-z ]+ \| (.*?) \|", page, flags=re.M)
        assert shown == f"{members[metric].mean():.4g} ± {members[metric].std():.2g}"


def test_the_gan_and_the_vae_are_as_good_as_others_of_their_kind() -> None:
    """PacGAN's table has 7.8 modes and 95.9% of high quality, learned from 100,000 points and not from 800."""
    gan, vae = (pd.read_csv(ROOT / f"metrics/{name}/members.csv") for name in ("gan", "vae"))
    assert gan["modes"].mean() >= 7
    assert gan["high_quality"].mean() >= 0.85
    assert (vae["modes"] == 8).all()


def test_every_key_of_the_settings_has_a_comment() -> None:
    assert uncommented(text("params.yaml")) == []
