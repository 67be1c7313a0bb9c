"""The study of alarms: tables, restricted fits, pooled p-values, and the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline import ROOT
from scipy.stats import kurtosis

from studies.alarms import cells, report, tables
from studies.engine import Study

pytestmark = pytest.mark.slow


def drawn(name: str) -> np.ndarray:
    return tables.TABLES[name](20_000, 3, np.random.default_rng(0))


def test_each_table_has_its_defect():
    assert np.corrcoef(drawn("dependent").T)[0, 1] == pytest.approx(0.5, abs=0.02)
    assert drawn("dependent").std(axis=0) == pytest.approx(1, abs=0.02)
    assert (np.abs(drawn("modes")[:, 0]) < 0.5).mean() < 0.15  # few rows between the modes
    squared = np.corrcoef(drawn("banana")[:, 0] ** 2, drawn("banana")[:, 1])[0, 1]
    assert squared == pytest.approx(np.sqrt(2 / 3), abs=0.03)
    assert (kurtosis(drawn("tails")) > 2).all()
    assert np.abs(kurtosis(drawn("normal"))).max() < 0.15


def test_restricted_fits_learn_what_they_can():
    rows = tables.dependent(400, 3, np.random.default_rng(1))
    together = tables.fit_gaussian(rows, 0).log_density(rows).mean()
    apart = tables.fit_independent(rows, 0).log_density(rows).mean()
    assert together - apart == pytest.approx(-0.5 * np.log(1 - 0.25), abs=0.05)
    record = tables.fit_gaussian(rows, 0).record
    assert record is not None
    assert sorted(each.fold for each in record.members) == [0, 1, 2, 3, 4]


def test_the_reference_shows_the_tables_of_the_results():
    results = (ROOT / "studies/alarms/results.md").read_text(encoding="utf-8")
    lines = results.partition("## Level")[2].partition("## Traces")[0].splitlines()
    reference = (ROOT / "docs/tables-reference.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("|") and line not in reference] == []


def test_pooled_p_values_of_equal_fits_and_refits_are_uniform():
    rng = np.random.default_rng(0)
    names = ("statistic", "difference", "distance_0", "distance_1")
    own = {name: rng.random(300) for name in names} | {"kl": np.ones(300)}
    again = {f"again_{name}": rng.random(300) for name in names}
    found = report.p_values(pd.DataFrame(own | again))
    for p in found.values():
        assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.05)
        assert p.mean() == pytest.approx(0.5, abs=0.07)
    far = report.p_values(pd.DataFrame(own | again).assign(statistic=2.0))["density"]
    assert (far == 1 / 301).all()
    of_one = report.p_values(pd.DataFrame(own | again).assign(difference=9.0))
    assert (of_one["samples"] == 1 / 301).all()
    assert (of_one["fit"] == 1 / 301).all()
    assert of_one["columns"].mean() == pytest.approx(0.5, abs=0.07)
    assert report.rates({"density": far}, 0.05) == ["100% (99% to 100%)"]


def test_tails_are_found_and_normal_columns_are_not():
    found = {
        name: report.p_values(pd.DataFrame(cells.power(name, "gaussian", 300, 5, 8)))["density"]
        for name in ("tails", "normal")
    }
    assert np.median(found["tails"]) <= 2 / 9
    assert np.median(found["normal"]) > 2 / 9


def test_networks_without_noise_leave_traces():
    assert cells.traces(60, 3, 0, 300)["auc"] > 0.8


def test_the_report_has_all_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study, rng = Study("alarms"), np.random.default_rng(0)

    def table(*parts: object) -> pd.DataFrame:
        n = 6 if parts[0] == "power" else 1
        names = ["statistic", "difference", "distance_0", "distance_1", "auc"]
        own = {name: rng.random(n) for name in [*names, *(f"again_{each}" for each in names)]}
        return pd.DataFrame({**own, "kl": 0.1, "is_listed": 1.0, "seconds": 20.0})

    monkeypatch.setattr(study, "table", table)
    study.folder = tmp_path
    report.report(study)
    text = (tmp_path / "results.md").read_text()
    assert "| 100 x 2 |" in text
    assert "| one Gaussian | nothing: alarms are false | 300 x 5 |" in text
    assert "in 5 of 5 fits" in text
    assert "took 20 s" in text
