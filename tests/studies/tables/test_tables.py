"""The study of tables: its sources, its rows on a small table, and its statistics compared with
known results.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import rc_context

from flows import fit
from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.plotting.style import STYLE
from studies import engine, verdicts
from studies.tables import adversarial_forest, cells, peers, report, sources
from studies.tables.questions import CLOSED, DETECTORS, METHODS, UNKNOWN

pytestmark = pytest.mark.slow

# Numbers of training and test rows of split 0, of columns, and of rounded columns
SHAPES = {
    "breast_cancer": (398, 170, 30, 12),
    "wine": (124, 53, 13, 13),
    "diabetes": (309, 132, 9, 9),
    "iris": (105, 45, 4, 4),
    "weather": (3_486, 1_494, 9, 9),
    "flights": (5_000, 3_000, 4, 4),
    "shuttle": (5_000, 5_000, 9, 9),
    "mixture": (5_000, 2_220, 10, 0),
    "twonorm": (5_000, 2_220, 20, 0),
    "fgl": (149, 64, 7, 7),
    "Boston": (354, 151, 10, 9),
    "BudgetUK": (1_063, 455, 9, 9),
    "quakes": (700, 300, 5, 5),
}


@pytest.mark.parametrize("name", sources.SOURCES)
def test_a_table_has_the_rows_of_the_protocol(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources.SOURCES[name]()
    monkeypatch.setitem(sources.SOURCES, name, lambda: source)  # some take long to read
    table = sources.load(name)
    train, test = sources.split(table.rows, 0)
    raw = [] if isinstance(source, sources.Mixture) else source.dropna().to_numpy(float).T
    rounded = np.count_nonzero([sources.step(column) for column in raw])
    assert (len(train), len(test), table.rows.shape[1], rounded) == SHAPES[name]
    assert train.shape[1] == test.shape[1] == table.rows.shape[1]
    assert not {tuple(row) for row in train} & {tuple(row) for row in test}
    assert all(len(np.unique(column)) >= 0.9 * len(column) for column in table.rows.T)
    fewer, same = sources.split(table.rows, 0, most=100)
    assert np.array_equal(fewer, train[:100])
    assert np.array_equal(same, test)


def test_noise_as_wide_as_its_commonest_gap_is_added_to_a_rounded_column_once() -> None:
    assert sources.step(np.array([0.1, 0.2, 0.2, 0.3, 0.7, 0.7])) == 0.1
    assert sources.step(np.arange(20.0)) == 0
    wine, raw = sources.load("wine").rows, sources.SOURCES["wine"]()
    steps = np.array([sources.step(column) for column in raw.to_numpy().T])
    drawn = np.random.default_rng(0).uniform(-0.5, 0.5, wine.shape)
    assert np.allclose((wine - raw) / steps, drawn)


def test_an_unknown_or_missing_table_gives_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no table 'whine'; the tables are: breast_cancer, wine"):
        sources.load("whine")
    sources.load.cache_clear()
    monkeypatch.setattr(sources, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="river is not installed"):
        sources.load("shuttle")


# The rows


def rows(n: int) -> Array:
    return np.random.default_rng(n).standard_normal((n, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])


@cache
def fitted(model: str) -> peers.Density:
    return peers.FITS[model](rows(300))


def on_a_grid(density: peers.Density) -> tuple[Array, float]:
    """Return log-densities on a grid of 181 x 181 points, and the area of a cell."""
    axis = np.linspace(-9, 9, 181)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return density(grid), (axis[1] - axis[0]) ** 2


@pytest.mark.parametrize("model", ["independent", "gaussian", "kernel", "mixture", "margins"])
def test_a_peer_is_a_density_that_integrates_to_one(model: str) -> None:
    log_q, area = on_a_grid(peers.FITS[model](rows(120)))
    assert log_q.shape == (181**2,)
    assert np.exp(log_q).sum() * area == pytest.approx(1, abs=0.02)


def test_the_density_of_a_forest_integrates_to_one_in_one_column() -> None:
    rng = np.random.default_rng(0)
    column = np.concatenate([rng.normal(-2, 0.5, 150), rng.normal(2, 1, 150)])[:, None]
    log_q = adversarial_forest.fit(column, trees=10)
    axis = np.linspace(-12, 12, 20_001)
    density = np.exp(log_q(axis[:, None]))
    assert np.trapezoid(density, axis) == pytest.approx(1, abs=1e-3)
    # Both halves of the rows have their share
    assert np.trapezoid(density[axis < 0], axis[axis < 0]) == pytest.approx(0.5, abs=0.05)
    assert log_q(column).mean() > -2


def test_a_forest_has_a_density_for_equal_values() -> None:
    rng = np.random.default_rng(0)
    train = rng.standard_normal((200, 2))
    train[:100, 0] = -3.0
    log_q = adversarial_forest.fit(train, trees=10)
    assert np.isfinite(log_q(train)).all()
    fine, axis = np.linspace(-5, 7, 2_401), np.linspace(-7, 7, 71)
    grid = np.stack(np.meshgrid(fine, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(log_q(grid)).sum() * (fine[1] - fine[0]) * (axis[1] - axis[0])
    assert mass == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("model", ["vine", "vine_families", "arf", "circuit"])
def test_a_peer_of_another_library_is_a_density_that_integrates_to_one(model: str) -> None:
    log_q, area = on_a_grid(fitted(model))
    # The kernel densities of a vine's margins have a Cauchy's tails outside of the grid
    assert np.exp(log_q).sum() * area == pytest.approx(1, abs=0.03)


def test_all_peers_but_the_independent_one_fit_a_correlated_gaussian() -> None:
    test = rows(1_000)
    mean = {model: fitted(model)(test).mean() for model in peers.FITS}
    best = mean.pop("gaussian")
    assert mean.pop("independent") < best - 0.3
    for model in ("mixture", "margins"):  # may be the same Gaussian except for a ridge
        assert best - 0.1 < mean[model] < best + 0.01, model
    assert mean.pop("circuit") > best - 0.5  # it has independent columns in each of its parts
    assert all(best - 0.2 < each < best + 0.1 for each in mean.values()), mean


def test_the_score_is_in_units_of_the_training_rows_and_the_divergence_has_no_unit() -> None:
    table = sources.load("mixture")
    train, test = sources.split(table.rows, 1, 105)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    truth: Any = table.truth

    def exact(z: Array) -> Array:
        return truth.log_prob(mean + deviation * z) + np.log(deviation).sum()

    def lost(z: Array) -> Array:
        return np.stack([exact(z), np.full(len(z), -99.0), np.full(len(z), np.nan)], axis=1)

    both = cells.scores(lambda _: [exact, lost], "mixture", 1, 105, 500)
    line = {name: values[0] for name, values in both.items()}
    log_q = truth.log_prob(test) + np.log(deviation).sum()
    assert line["log_likelihood"] == line["weakest"] == pytest.approx(log_q.mean())
    assert (line["median"], line["worst"]) == pytest.approx((np.median(log_q), log_q.min()))
    assert line["se"] == pytest.approx(log_q.std(ddof=1) / np.sqrt(len(test)))
    assert line["kl"] == pytest.approx(0, abs=1e-9)
    assert (line["train"], line["lost"]) == (105, 0)
    assert both["lost"].tolist() == [0, 1]
    assert "kl" not in cells.scores(lambda _: [lambda z: z[:, 0]], "iris", 0, 105, 500)


def test_our_models_are_fitted_with_the_defaults_of_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The score is the score of the ensemble."""

    def fit_table(train: Array, *words: str, **options: Any) -> Any:
        asked.append((train.shape, words, options))
        return fit(train, "realnvp", members=2, mixtures=0, settings={"recipe": "quick"})

    asked: list[Any] = []
    monkeypatch.setattr(cells, "fit", fit_table)
    line = cells.ours("nsf", 10, "iris", 0, 100, 50)
    assert line["weakest"] < line["log_likelihood"]
    assert line["lost"] == 0
    assert asked == [((100, 4), ("nsf",), {"members": 10})]


# The statistics


def gained(gains: dict[str, Array]) -> pd.DataFrame:
    wide = pd.DataFrame({"nsf": np.zeros(5)} | {name: -each for name, each in gains.items()})
    scores = wide.melt(var_name="model", value_name="log_likelihood", ignore_index=False)
    scores = scores.reset_index(names="split").assign(table="t", part="ranking")
    return report.gains(scores).loc["t"]


def test_an_interval_accounts_for_rows_that_splits_share() -> None:
    differences = np.array([0.9, 1.0, 1.1, 1.2, 0.8])
    half = 2.776445 * np.sqrt((1 / 5 + 3 / 7) * 0.025)
    assert verdicts.paired_interval(differences) == pytest.approx((1.0, 1 - half, 1 + half))
    gains = {"win": differences, "tie": differences - 1, "loss": -differences}
    found = gained(gains)
    assert found["verdict"].to_dict() == {word: word for word in gains}
    line = found.loc["win", ["gain", "low", "high"]].tolist()
    assert line == pytest.approx([1.0, 1 - half, 1 + half])
    one = verdicts.paired_interval(differences[:1])
    assert one[0] == 0.9
    assert np.isnan(one[1:]).all()
    assert report.with_interval(pd.Series(differences)) == f"**1.00 \u00b1 {half:.2f}**"
    assert report.with_interval(pd.Series(differences - 1)) == f"0.00 \u00b1 {half:.2f}"
    assert report.with_interval(pd.Series(differences[:1])) == "0.90"
    others = {"infinite": np.array([0.1, 0.2, 0.1, 0.2, np.inf]), "none": np.full(5, np.nan)}
    assert gained(others)["verdict"].to_dict() == {"infinite": "win", "none": "tie"}


def test_ranks_put_scores_that_are_not_finite_last_and_average_ties() -> None:
    scores = {"a": [3.0, 1.0, 1.0, np.nan], "b": [2.0, 1.0, -np.inf, 0.0]}
    ranks = report.ranks(pd.DataFrame(scores, index=["nsf", "x", "y", "z"]))
    assert ranks.to_dict() == {"nsf": 1.0, "x": 2.25, "y": 3.25, "z": 3.5}


def test_the_critical_difference_agrees_with_demsars_table() -> None:
    """Table 5 of his paper: q is 2.569 for four classifiers and 3.164 for ten."""
    for models, tables, q in ((4, 14, 2.569), (10, 30, 3.164)):
        expected = q * np.sqrt(models * (models + 1) / (6 * tables))
        assert report.critical_difference(models, tables) == pytest.approx(expected, rel=1e-3)


def test_nine_wins_give_the_smallest_possible_p() -> None:
    models = "abcdefghijk"
    table = pd.DataFrame(np.arange(12.0)[::-1, None] * np.ones(9), index=["nsf", *models])
    p = report.against(table).to_dict()
    assert p == pytest.approx(dict.fromkeys(models, 11 * 2 / 2**9))


def study(folder: Path, **changes: Any) -> engine.Study:
    """Return a study of few tables and few splits in a new folder."""
    params = engine.Study("tables").params
    none = {"tables": [], "fits": 0, "members": 1}
    content = params | {"fresh": 500, "census": none}
    content["ranking"] = {"splits": 3, "new_splits": 3, "train": 105}
    for part in ("realistic", "anomalies"):  # test_realistic.py
        content[part] = params[part] | {"tables": []}
    content["realistic"]["set_aside"] = {"tables": [], "splits": 1}
    few = {"tables": {"HSAUR/planets": ["mass"], "Stat2Data/Sparrows": ["Treatment"]}}
    few |= {"all_labels": {}, "train": 60, "test": 20, "members": 1}
    content["given_others"] = params["given_others"] | few
    content |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return engine.Study("tables", folder)


def test_the_report_shows_wins_and_losses_and_counts_failures(tmp_path: Path) -> None:
    """With invented scores: our flow is best on iris and second to the mixture on the other table,
    and the vine fails.
    """
    own = engine.Study("tables").params
    full = {**own["full"], "tables": ["mixture"], "splits": 2, "train": 120}
    asked = own["questions"] | {"tables": ["iris", "mixture"], "splits": 1}
    tables = study(tmp_path, tables=["iris", "mixture"], full=full, questions=asked)
    rng = np.random.default_rng(0)
    for name in engine.select(tables, ["ours", "peer", "treated"]):
        family, model, table = name.split("/")[:3]
        value = -5 - rng.uniform(0, 0.1) + 2 * (model == "nsf")
        value += 3 * (model == table == "mixture")
        line: dict[str, Any] = {"log_likelihood": value, "se": 0.1, "lost": 0}
        if model == "nsf":  # with mixtures, and the networks alone
            line["log_likelihood"] = np.array([value, value - 0.5])
        if family == "treated":
            levels = [-2.0, -1.0] if model == "nsf" else [-2.0, -1.0, 0.0]
            line["log_likelihood"] = value + np.array(levels)
        line |= {"kl": 0.5} if table == "mixture" else {}
        line |= {"log_likelihood": -np.inf, "lost": 1} if model == "vine" else {}
        keys = dict.fromkeys(engine.KEYS, "")
        tables.stored.rows[tables.key(name)] = [keys | row for row in engine.as_rows(line)]
        tables.stored.runs[tables.key(name)] = {"seconds": "1.5"}
    for name in engine.select(tables, ["given_others"]):
        losses = {"boosting": 1.0, "labels": 3 if name.endswith("Treatment") else 0}
        for part in ("joint", "target", "change"):
            losses |= {part: 0.5, f"{part}_low": 0.4, f"{part}_high": 0.6}
        line = {key: str(value) for key, value in losses.items()}
        tables.stored.rows[tables.key(name)] = [dict.fromkeys(engine.KEYS, "") | line]
    for name in engine.select(tables, ["questions"]):
        keys = dict.fromkeys(engine.KEYS, "")
        answers = engine.as_rows(answers_to_questions(name))
        tables.stored.rows[tables.key(name)] = [keys | row for row in answers]
    with rc_context(STYLE):
        tables.report()
    text = (tmp_path / "tables.md").read_text(encoding="utf-8")
    ranking, rest = text.split("NSF against")
    best, rest = rest.split("Full size")
    found = {line.split("|")[1].strip(): line for line in best.splitlines() if "**" in line}
    assert "**win**" in found["iris"]
    assert "**loss**" in found["mixture"]
    assert found["mixture"].split("|")[2] == " mixture "
    assert re.search(r"^\| NSF \| *\*\*\u22123\.0", ranking, re.M)
    assert "\u2212\u221e" in ranking
    assert "not finite: 8.\n" in text
    alike = text.split("## Same treatment")[1].split("Tables set aside")[0]
    assert re.search(r"^\| NSF, treated \| *\*\*\u22123\.5", alike, re.M)
    assert re.search(r"^\| NSF, plain \| *\u22125\.0", alike, re.M)
    numbers = {
        line.split("|")[1].strip(): [float(cell.split()[0]) for cell in cells_of(line)]
        for line in alike.split("The lead")[1].splitlines()
        if "\u00b1" in line
    }
    lead, *parts = list(numbers.values())[:4]
    assert np.allclose(np.sum(parts, axis=0), lead, atol=0.02)
    assert np.allclose(numbers["due to margins"], 1, atol=0.1)
    assert np.allclose(numbers["due to the flow"], [1.5, -1.5], atol=0.2)
    assert np.allclose(numbers["NSF as shipped over mixture, treated"], [2, -1], atol=0.2)
    assert re.search(r"NSF is behind \(nat\): mixture on mixture \(1\.\d+\)\.", alike)
    assert re.search(r"^\| adversarial random forest, shipped \|", alike, re.M)
    assert "NSF is behind (nat): mixture on iris, two (0.30)." in text
    assert "| mixture on margins | iris | 0.50 \u00b1 0.20 | 0.50 " in text
    assert "NSF is behind (CRPS): nowhere." in text
    assert "NSF is behind (share): ECOD on iris (0.40)." in text
    assert "at most 0.020; at most 3% of a table's rows" in text
    assert "| mixture | " in rest.split("KL from the truth")[0]
    assert "| NSF | 1.50 | 1.50 |" in report.seconds(tables)
    assert (tmp_path / "ranks.png").stat().st_size > 10_000


def cells_of(line: str) -> list[str]:
    """Return the numbers of a line of a table, without marks, and with ASCII minus signs."""
    plain = line.replace("*", "").replace("\u2212", "-")
    return [cell for cell in plain.split("|")[2:] if cell.strip()]


def answers_to_questions(name: str) -> dict[str, Array]:
    """Return scores with our flow best, except on iris with two unknown columns and in guesses."""
    frame = pd.DataFrame(index=METHODS, dtype=float)
    for column in UNKNOWN:
        frame.loc[["nsf", *CLOSED], [column]] = -1.5
        frame.loc["nsf", [column]] = -1.0
        frame[f"{column}_se"], frame.loc["nsf", f"{column}_noise"] = 0.2, 0.02
        frame.loc["nsf", f"{column}_rough"] = 0.03
    frame["rmse"] = frame["absolute"] = frame["crps"] = frame["cover"] = 0.9
    frame["hit"] = frame["far"] = 0.5
    frame.loc[[*DETECTORS], ["rmse", "absolute", "crps", "cover"]] = np.nan
    if "iris" in name:
        frame.loc["mixture", "two"], frame.loc["ECOD", "hit"] = -0.7, 0.9
    frame.loc["truth"] = np.nan
    if "mixture" in name:
        frame.loc["truth", [*UNKNOWN]] = -0.9
    return {str(column): values.to_numpy() for column, values in frame.items()}


@pytest.mark.usefixtures("short_recipe")
def test_the_whole_study_runs_on_a_small_table(tmp_path: Path) -> None:
    """A check of its cells finds no difference."""
    own = engine.Study("tables").params
    changes = {"tables": ["iris"], "members": {"nsf": 1, "vae": 1}}
    changes |= {
        "ranking": {"splits": 2, "new_splits": 1, "train": 60},
        "full": own["full"] | {"tables": []},
    }
    aside = {"tables": ["iris"], "models": ["vae"], "splits": 1, "train": 60}
    changes |= {"set_aside": own["set_aside"] | aside}
    changes |= {"small": own["small"] | {"splits": 0}}
    asked = {"train": 60, "members": 1, "rows": 5, "odd": 5}
    few = {"tables": ["iris"], "set_aside": ["quakes"], "splits": 1, **asked}
    few["small"] = own["questions"]["small"] | asked
    changes["questions"] = own["questions"] | few
    tables = study(tmp_path, **changes)
    assert engine.run(tables)
    with rc_context(STYLE):
        tables.report()
    assert tables.table("ours/nsf/iris/ranking/0")["log_likelihood"][0] > -4
    assert "no claim is made about them" in (tmp_path / "tables.md").read_text(encoding="utf-8")
    again = ["ours/vae/iris/ranking/0", *engine.select(tables, ["peer/kernel", "peer/zuko_maf"])]
    assert engine.check(tables, again) == []
