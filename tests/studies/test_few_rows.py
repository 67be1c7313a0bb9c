"""The study of intervals of few rows: truths, the cover by hand, and the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline import ROOT
from scipy.integrate import quad
from scipy.special import logsumexp

from studies.engine import Study
from studies.few_rows import cells, report
from studies.few_rows.tables import LABELS, Truth, inside, summary_of_last

pytestmark = pytest.mark.slow


def truth(*, is_skewed: bool = True) -> Truth:
    return Truth.random(np.random.default_rng(3), is_skewed=is_skewed)


def test_the_density_of_a_row_is_that_of_draws():
    own = truth()
    frame = own.draw(200_000, np.random.default_rng(0), has_labels=True)
    middle = frame[["a", "b", "c", "d"]].median()
    near = {name: (middle[name] - 0.5, middle[name] + 0.5) for name in "abcd"}
    box = inside(frame, near)
    rows = frame[box]
    mean = np.exp([logsumexp(own.log_parts(row)) for _, row in rows[:1_000].iterrows()])
    # The mean of 1 / density over rows of a box is the volume of the box over its probability
    assert 1 / box.mean() == pytest.approx((1 / mean).mean(), rel=0.1)
    shares = np.mean([own.label_shares(row) for _, row in rows.iterrows()], axis=0)
    found = rows["label"].value_counts(normalize=True).reindex(LABELS, fill_value=0.0)
    np.testing.assert_allclose(found, shares, atol=0.1)


def test_the_summary_of_a_column_given_the_others_is_that_of_its_density():
    own = truth(is_skewed=False)
    row = own.draw(1, np.random.default_rng(1), has_labels=False).iloc[0]

    def density(y: float) -> float:
        return float(np.exp(logsumexp(own.log_parts(pd.Series({**row, "d": y})))))

    whole = quad(density, -20, 20, limit=500)[0]
    found = summary_of_last(own, row)
    mean = quad(lambda y: y * density(y), -20, 20, limit=500)[0] / whole
    assert found["mean"] == pytest.approx(mean, abs=1e-5)
    assert quad(density, -20, found["q0.05"], limit=500)[0] / whole == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize("kind", ["numbers", "labels", "target"])
def test_a_cell_has_errors_and_widths_of_all_questions(kind: str):
    found = pd.DataFrame(cells.cover(kind, 60, 5_000, 1))
    kinds = {cells.KINDS[k] for k in found["kind"].astype(int)}
    assert "log-density of a row" in kinds
    assert ("probability of a label given values" in kinds) == (kind == "labels")
    assert ("mean given a range" in kinds) == (kind != "target")
    assert (found["of_rows"].dropna() >= 0).all()
    assert found["of_rows"].median() > 0
    shown = found["error"].abs() < 5 * np.hypot(found["of_rows"], found["of_draws"])
    assert shown.mean() > 0.8


def answers() -> pd.DataFrame:
    """Return 20 answers with an error of 1, and 20 with an error of 2, of two kinds."""
    error = np.repeat([1.0, -2.0], 20)
    return pd.DataFrame(
        {
            "error": error,
            "of_rows": 1.0,
            "of_draws": 0.0,
            "kind": np.where(error > 0, "probability", "mean"),
            "rows": 100,
            "table": "t",
        }
    )


def test_the_cover_is_the_share_of_errors_below_the_width():
    found = answers()
    assert report.cover(found, 1.5) == 0.5
    assert report.cover(found, 2.0) == 1.0
    assert report.exact(found) == 2.0
    assert report.exact(found[:21]) == 1.0
    found["of_draws"] = 2.0
    assert report.cover(found, 0.0) == 1.0
    assert report.exact(found) == 0.0
    assert report.by_kind(answers()).index.tolist() == ["mean", "probability"]
    assert report.named(answers()) == "mean (0%)"


def test_an_answer_without_interval_is_left_out_and_a_wrong_0_is_a_miss(
    monkeypatch: pytest.MonkeyPatch,
):
    study = Study("few_rows")
    table = pd.DataFrame(
        {
            "kind": 0.0,
            "error": [0.5, np.inf, 0.1],
            "of_rows": [1.0, np.nan, np.nan],
            "of_draws": 0.0,
        }
    )
    monkeypatch.setattr(study, "table", lambda *parts: table)
    found, without = report.read(study)
    assert without == len(found) / 2
    assert report.cover(found, 1.4) == 0.5


def test_the_report_has_all_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study, rng = Study("few_rows"), np.random.default_rng(0)

    def table(*parts: object) -> pd.DataFrame:
        kinds = np.arange(len(cells.KINDS), dtype=float)
        numbers = {name: rng.random(len(kinds)) for name in ("error", "of_rows", "of_draws")}
        return pd.DataFrame({"kind": kinds, **numbers})

    monkeypatch.setattr(study, "table", table)
    study.folder = tmp_path
    report.report(study)
    text = (tmp_path / "results.md").read_text()
    assert "| factor" in text
    assert "| 1,000 |" in text
    assert "probability given a rare range" in text


def test_the_committed_cover_is_what_the_reference_says():
    results = (ROOT / "studies/few_rows/results.md").read_text(encoding="utf-8")
    lines = results.partition("## The other half")[2].partition("## By kind")[0].splitlines()
    reference = (ROOT / "docs/tables-reference.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("|") and line not in reference] == []
