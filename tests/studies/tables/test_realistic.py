"""Tables with labels and gaps: their preparation, the peers for them, and their scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flows.core.errors import UserError
from flows.core.rows import Rows
from flows.mixtures import expectation
from flows.mixtures.fitting import fit_mixture
from studies import engine
from studies.tables import (
    anomalies,
    imputation,
    latent_classes,
    realistic,
    realistic_report,
    realistic_scores,
)

pytestmark = pytest.mark.slow

PARAMS = engine.Study("tables").params


def drawn(n: int, gaps: float = 0.0, seed: int = 0) -> Rows:
    """Return rows of two classes: correlated numbers, and two columns of labels that depend."""
    rng = np.random.default_rng(seed)
    which = rng.random(n) < 0.4
    x = rng.standard_normal((n, 2)) @ np.array([[0.5, 0.3], [0.0, 0.4]]) + np.where(
        which[:, None], 1.2, -0.8
    )
    first = np.where(rng.random(n) < 0.9, which, ~which).astype(int)
    codes = np.stack([first, (first + (rng.random(n) < 0.2)) % 3], axis=1)
    x[rng.random(x.shape) < gaps] = np.nan
    codes[rng.random(codes.shape) < gaps] = -1
    return Rows(x, codes, (2, 3))


# The tables


@pytest.mark.parametrize("name", PARAMS["realistic"]["tables"])
def test_every_label_of_a_table_is_common(name: str) -> None:
    table = realistic.load(name)
    for label in realistic.labels(table):
        counts = table[label].value_counts()
        assert counts.min() >= max(10, realistic.RARE * counts.sum())


def test_preparation_leaves_out_columns_without_a_density() -> None:
    rng = np.random.default_rng(0)
    n = 200
    x, label = rng.normal(size=n), np.repeat(["a", "b", "c", "d"], [120, 70, 6, 4])
    raw = pd.DataFrame(
        {
            "rownames": np.arange(n),
            "x": x,
            "label": label,
            "number": np.arange(n) * 2.0,
            "twice": 2 * x + 1,
            "exponential": np.exp(x),
            "code": np.where(label == "a", 5, 7),
            "constant": 1.0,
            "name": [f"row {k}" for k in range(n)],
            "zeros": np.where(rng.random(n) < 0.5, 0, rng.random(n)),
            "unknown": np.where(rng.random(n) < 0.7, np.nan, x),
            "small": rng.integers(0, 3, n),
            "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        }
    )
    table = realistic.prepare(raw)
    assert list(table) == ["x", "label", "code", "small", "gaps"]
    assert realistic.labels(table) == ["label", "code", "small"]
    assert table["label"].value_counts().to_dict() == {"a": 120, "b": 70, "other": 10}
    assert table["gaps"].isna().sum() == raw["gaps"].isna().sum()


def test_labels_are_in_the_order_of_their_numbers_or_of_the_alphabet() -> None:
    assert realistic.ordered(pd.Series(["10", "2", None, "2"])) == ["2", "10"]
    assert realistic.ordered(pd.Series(["10", "2", "b"])) == ["10", "2", "b"]
    codes = realistic.codes(pd.Series(["10", "2", None], dtype=object))
    assert codes[:2].tolist() == [1, 0]
    assert np.isnan(codes[2])


def test_a_split_is_standardised_and_has_the_labels_of_the_table() -> None:
    split = realistic_scores.load("Stat2Data/Sparrows", 3, 50, 20)
    assert split.train.numbers.shape == (50, 2)
    assert len(split.test.numbers) == 20
    assert np.allclose(split.train.numbers.mean(axis=0), 0)
    assert np.allclose(split.train.numbers.std(axis=0), 1)
    frame = split.frame(split.train)
    assert set(frame["Treatment"]) == {"control", "enlarged", "reduced"}
    assert split.kinds == {"Weight": "real", "WingLength": "real", "Treatment": "category"}
    with pytest.raises(UserError, match="no table 'MASS/none'"):
        realistic_scores.load("MASS/none", 0, 50, 20)


# The peers


def test_one_class_without_gaps_has_the_moments_and_frequencies_of_the_rows() -> None:
    rows = drawn(300)
    fitted = expectation.fit(rows, 1, 1e-9)
    assert np.allclose(fitted.means[0], rows.numbers.mean(axis=0))
    covariance = np.cov(rows.numbers, rowvar=False, bias=True)
    assert np.allclose(fitted.covariances[0], covariance)
    shares = np.bincount(rows.codes[:, 1], minlength=3) / 300
    assert np.allclose(fitted.shares[1][0], shares, atol=0.005)


def test_without_labels_and_gaps_the_classes_are_a_mixture_of_gaussians() -> None:
    numbers = drawn(400).numbers
    rows = Rows(numbers, np.empty((400, 0), int), ())
    ours = expectation.fit(rows, 2, 1e-3).log_prob(numbers).mean()
    assert ours == pytest.approx(
        fit_mixture(numbers, 2, ridge=1e-3).log_prob(numbers).mean(), abs=0.002
    )


@pytest.mark.parametrize("name", latent_classes.FITS)
def test_a_peer_integrates_to_one_over_numbers_and_labels(name: str) -> None:
    fitted = latent_classes.FITS[name](drawn(60, gaps=0.1))
    axis = np.linspace(-8, 8, 161)
    x = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    total = 0.0
    for code in np.ndindex(2, 3):
        rows = Rows(x, np.tile(code, (len(x), 1)), (2, 3))
        total += np.exp(fitted.log_prob(rows)).sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", ["mixture", "margins"])
def test_a_gap_is_integrated_out(name: str) -> None:
    fitted = latent_classes.FITS[name](drawn(150, gaps=0.2))
    axis = np.linspace(-12, 12, 4_001)
    complete = Rows(
        np.stack([np.full(4_001, 0.3), axis], axis=1), np.tile([1, 2], (4_001, 1)), (2, 3)
    )
    row = Rows(np.array([[0.3, np.nan]]), np.array([[1, 2]]), (2, 3))
    total = np.exp(fitted.log_prob(complete)).sum() * (axis[1] - axis[0])
    assert np.exp(fitted.log_prob(row))[0] == pytest.approx(total, rel=0.01)
    both = [Rows(row.numbers, np.array([[code, 2]]), (2, 3)) for code in range(2)]
    without = Rows(row.numbers, np.array([[-1, 2]]), (2, 3))
    labels = np.logaddexp.reduce([fitted.log_prob(each)[0] for each in both])
    assert fitted.log_prob(without)[0] == pytest.approx(labels)


def test_em_learns_from_rows_with_gaps() -> None:
    truth = drawn(2_000, seed=1)
    fitted = expectation.fit(drawn(800, gaps=0.3), 2, 1e-3)
    alone = expectation.independent(drawn(800, gaps=0.3))
    complete = expectation.fit(drawn(800), 2, 1e-3)
    scores = [
        each.log_prob(truth.numbers, truth.codes).mean() for each in (alone, fitted, complete)
    ]
    assert scores[1] - scores[0] > 0.8 * (scores[2] - scores[0]) > 0.5
    assert scores[2] - scores[1] < 0.05


def test_draws_of_a_gap_have_the_conditional_distribution() -> None:
    rows = drawn(150, gaps=0.1)
    for fitted in (latent_classes.mixture(rows, margins=True), latent_classes.stacked(rows)):
        gap = Rows(np.tile([1.0, np.nan], (4_000, 1)), np.tile([1, -1], (4_000, 1)), (2, 3))
        x = fitted.draw(gap, np.random.default_rng(0))
        assert (x[:, 0] == 1.0).all()
        axis = np.linspace(-8, 8, 2_001)
        grid = Rows(np.stack([np.ones(2_001), axis], axis=1), np.tile([1, -1], (2_001, 1)), (2, 3))
        density = np.exp(fitted.log_prob(grid))
        mean = (density * axis).sum() / density.sum()
        assert x[:, 1].mean() == pytest.approx(mean, abs=0.05)


# The scores


def test_our_density_is_refused_if_it_does_not_learn_every_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Lacking:
        columns = ()

    monkeypatch.setattr(realistic_scores.flows, "fit", lambda *_, **__: Lacking())
    split = realistic_scores.load("HSAUR/planets", 0, 50, 20)
    with pytest.raises(UserError, match="does not learn the columns eccen, mass, period"):
        realistic_scores.ours(split, 2)


def test_a_score_is_the_mean_log_density_of_known_values() -> None:
    found = realistic_scores.likelihood("gaussian", 10, "openintro/ncbirths", 0, 300, 100)
    split = realistic_scores.load("openintro/ncbirths", 0, 300, 100)
    log_q = latent_classes.gaussian(split.train).log_prob(split.test)
    gaps = realistic_scores.has_gap(split.test)
    assert found["log_likelihood"] == pytest.approx(log_q.mean())
    assert found["gapped"] == pytest.approx(log_q[gaps].mean())
    assert (found["train"], found["rows"], found["lost"]) == (300, 100, 0)
    assert found["gaps"] == gaps.mean() > 0.05


def test_the_crps_of_draws_has_the_expected_value_for_any_number_of_draws() -> None:
    """For a standard normal and x = 0 it is (sqrt(2) - 1) / sqrt(pi)."""
    expected = (np.sqrt(2) - 1) / np.sqrt(np.pi)
    for m in (2, 5, 20):
        found = imputation.crps(np.random.default_rng(m).standard_normal((m, 100_000)), np.zeros(1))
        assert found.mean() == pytest.approx(expected, abs=0.005)
    assert imputation.crps(np.full((3, 1), 2.0), np.array([0.5])) == pytest.approx(1.5)


def test_imputers_draw_the_hidden_numbers_from_the_other_values() -> None:
    pytest.importorskip("miceforest")
    split = realistic_scores.load("Stat2Data/Sparrows", 0, 60, 20)
    gaps = split.test._replace(numbers=split.test.numbers.copy())
    gaps.numbers[:10, 0] = np.nan
    for draw in (imputation.chained, imputation.forest, imputation.peer("gaussian")):
        found = draw(split, gaps)
        assert found.shape[1:] == gaps.numbers.shape
        assert np.isfinite(found).all()
        assert np.allclose(found[:, 10:], gaps.numbers[10:])
        assert (found[:, :10, 0].std(axis=0) > 0).any()


@pytest.mark.parametrize("name", anomalies.LABELS)
def test_the_rows_to_learn_from_have_the_share_of_anomalies(name: str) -> None:
    learned, rows, odd = anomalies.load(name, 0, 400)
    labels, table = anomalies.LABELS[name](), anomalies.sources.load(name).rows
    assert len(labels) == len(table)
    assert odd.sum() + round(anomalies.SHARE * len(learned)) == min(
        labels.sum(), anomalies.sources.MOST + round(anomalies.SHARE * len(learned))
    )
    assert not {tuple(each) for each in learned} & {tuple(each) for each in rows}
    assert np.allclose(learned.mean(axis=0), 0)


def test_detectors_find_far_rows() -> None:
    rng = np.random.default_rng(0)
    train = rng.standard_normal((120, 3))
    rows = np.concatenate([rng.standard_normal((50, 3)), rng.standard_normal((10, 3)) + 6])
    for name, detector in anomalies.DETECTORS.items():
        found = detector(train, rows)
        assert found[50:].min() > np.median(found[:50]), name


# The report


def test_the_report_shows_wins_and_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """With invented scores: our flow is ahead of all peers by 1 nat on the first table, behind
    stacked mixtures by 2 nat on the second, and behind an imputer and a detector.
    """
    study = engine.Study("tables")
    tables = ["HSAUR/planets", "Stat2Data/Sparrows"]
    own = PARAMS["realistic"] | {"tables": tables, "splits": 4}
    own |= {"imputation": {"splits": 2, "rows": 7}}
    monkeypatch.setitem(study.params, "realistic", own)
    monkeypatch.setitem(study.params, "anomalies", {"tables": ["wine"], "splits": 3})

    def invented(family: str, *parts: object) -> pd.DataFrame:
        if family == "realistic":
            model, table, _ = parts
            value = {"nsf": -4.0, "stacked": -2.0 if table == "Sparrows" else -5.0}
            line = {"log_likelihood": value.get(str(model), -5.0), "noise": 0.01, "lost": 1}
            return pd.DataFrame([line])
        if family == "imputation":
            return pd.DataFrame({"crps": [0.4, 0.5, 0.5, 0.5, 0.5, 0.3]})
        return pd.DataFrame({"precision": [0.5, 0.4, 0.3, 0.7, 0.2]})

    study.table = invented  # type: ignore[method-assign]
    text = realistic_report.document(study).replace("\u2212", "-")
    means, gains = text.split("best of the other peers")
    assert "| planets | 101 | 3 | 0 | 0% | **-4.00** | -5.00 | " in means
    assert "| planets | 1.00 | 1.00 to 1.00 | **win** | " in gains
    assert "| Sparrows | -2.00 | -2.00 to -2.00 | **loss** | " in gains
    assert gains.count("| 1.00 | 1.00 to 1.00 | **win** |") == 3
    assert "NSF is behind (nat): stacked mixtures on Sparrows (2.00)." in text
    assert "(CRPS): miceforest on planets (0.10); miceforest on Sparrows (0.10)." in text
    assert "NSF is behind (average precision): ECOD on wine (0.20)." in text
    assert "not finite: 48 rows" in text
    assert "hidden numbers in 7 test rows" in text
