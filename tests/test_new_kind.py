"""The kind of docs/extending.md, in one file, in a fit, a file and all questions."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from pipeline import text

import flows
from flows.__main__ import main
from flows.tables.columns.field import Field
from flows.tables.columns.notices import TableError

(CODE,) = re.findall(
    r"<!-- kind: flows/tables/columns/kinds/percentage.py -->\n```python\n(.*?)```",
    text("docs/extending.md"),
    flags=re.S,
)


@pytest.fixture(scope="module", autouse=True)
def _kind() -> Iterator[None]:
    """Define the kind as the page does, and forget it after these tests."""
    module = types.ModuleType("percentage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)  # where dataclasses look
        patch.setitem(Field.kinds, "percentage", Field)  # forgets the kind at the end
        exec(compile(CODE, "percentage.py", "exec"), module.__dict__)
        yield


def table(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    share = rng.binomial(100, 0.4, n)
    return pd.DataFrame({"share": [f"{x}%" for x in share], "x": share / 10 + rng.normal(size=n)})


@pytest.fixture(scope="module")
def density() -> flows.Density:
    quick = {"recipe": "quick", "couplings": 2, "hidden": 8}
    return flows.fit(table(), members=2, settings=quick)


def test_the_kind_is_chosen_and_described(density, capsys):
    found = flows.inspect(table())
    assert found.loc["share"].tolist() == ["learned", "percentage", "is taken as percentages"]
    assert density.columns[0].word == "percentage"
    assert "column share: percentage" in str(density)


def test_samples_are_percentages(density):
    drawn = density.sample(200).share
    assert drawn.str.fullmatch(r"\d+%").all()
    assert drawn.str.rstrip("%").astype(int).between(0, 100).all()


def test_the_kind_survives_a_file(density, tmp_path):
    density.save(tmp_path / "share.flow")
    again = flows.load(tmp_path / "share.flow")
    assert again.columns == density.columns
    assert again.sample(20).equals(density.sample(20))


def test_rows_are_scored_and_a_value_beyond_is_refused(density, capsys):
    assert np.isfinite(density.log_prob(table())).all()
    wrong = pd.DataFrame({"share": ["40%", "140%"], "x": 4.0})
    assert np.isneginf(density.log_prob(wrong)).tolist() == [False, True]
    assert "column share, row 1 holds 140%, which its kind, percentage, does not allow" in (
        capsys.readouterr().err
    )
    with pytest.raises(TableError, match="column share, row 1 holds 'much', which is not a perc"):
        density.log_prob(wrong.assign(share=["40%", "much"]))


def test_conditions_events_and_predictions_take_percentages(density):
    assert (density.sample(20, given={"share": "40%"}).share == "40%").all()
    below = density.probability({"share": (None, "39%")}).probability
    above = density.probability({"share": ("40%", None)}).probability
    assert below + above == pytest.approx(1, abs=0.03)
    predicted = density.predict(pd.DataFrame({"x": [2.0, 6.0]}), "share")
    assert predicted["mean"].between(0, 100).all()


def test_pictures_show_percentages(density):
    figure = density.plot(table(), row=3)
    assert any("%" in axis.get_title() for axis in figure.axes)


def test_the_command_line_knows_the_kind(tmp_path, capsys):
    path = tmp_path / "table.csv"
    table().to_csv(path, index=False)
    main(["inspect", str(path), "--column", "share=percentage"])
    assert "share  percentage" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"or percentage$"):
        Field.parse("share", "percent")
