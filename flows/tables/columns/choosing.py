"""The kind of a column: the kind that the user names, or the first kind that takes its values.

The kinds choose in the order of ``order.ORDER``; ``choose`` of each class says what it takes. Kinds
of users with a ``choose`` of their own come first, for columns that hold a value.

Text with more than 20 different values, among them numbers in at least half of the rows, has the
kind of these numbers, and its other text counts as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from flows.core.plurals import counted
from flows.tables.columns.field import Choice, Field, kinds_of_users, registered
from flows.tables.columns.kinds import Category, Real
from flows.tables.columns.kinds.category import label_counts
from flows.tables.columns.kinds.unlearned import Excluded
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, ReadAsMissing, SetKind
from flows.tables.columns.order import FEW_LABELS, ORDER
from flows.tables.columns.spelling import has_leading_zeros
from flows.tables.columns.values import SOME, are_numbers, as_written

Rule = Callable[[pd.Series], Choice | None]  # takes known values, or returns ``None``


def choose(values: pd.Series, word: str | None = None) -> Choice:
    """Choose what becomes of a column of parsed ``values``; ``NaN`` is a missing value.

    Raises ``ValueError`` for a ``word`` that is not a kind, and ``TableError`` for dates that
    cannot be read.
    """
    known, name = values.dropna(), str(values.name)
    if known.dtype.kind == "f":
        known = pd.Series(as_written(known.to_numpy()), known.index, name=name)
    if word:
        return Choice(Field.parse(name, word).with_values(known))
    if known.empty:  # all values are in rows that are left out
        is_typed = known.dtype == "category" or known.dtype.kind == "M"
        return _first(known, _rules()) if is_typed else Choice(Real(name))
    choice = _first(known, [*(cls.choose for cls in kinds_of_users()), *_rules()])
    is_text = choice.field is None or isinstance(choice.field, Category)
    if choice.notice is None or not is_text or not has_leading_zeros(known):
        return choice
    numbers = ("learn the numbers", SetKind(name, "integer"))
    return choice._replace(notice=replace(choice.notice, advice=(*choice.notice.advice, numbers)))


def _rules() -> list[Rule]:
    """Return the rules of the library, in the order of ``ORDER``."""
    rules: dict[str, Rule] = {name: cls.choose for name, cls in registered().items()}
    rules |= {"numbers with text": _of_numbers_with_text, "identifier": Excluded.choose}
    return [rules[name] for name in ORDER]


def _first(known: pd.Series, rules: Sequence[Rule]) -> Choice:
    """Return the choice of the first rule that takes the values; the last takes all numbers."""
    return next(choice for rule in rules if (choice := rule(known)))


def _of_numbers_with_text(known: pd.Series) -> Choice | None:
    """Take numbers with some text among them."""
    if known.dtype != object:
        return None
    name, counts = str(known.name), label_counts(known)
    if has_leading_zeros(known):
        return None
    some = counts.head(SOME)
    if some[are_numbers(some.index.to_series())].sum() < some.sum() / 2:
        return None
    is_text = np.array([isinstance(value, str) for value in known])
    if not is_text.any() or are_numbers(pd.Series(known[is_text].unique()).astype(str)).any():
        return Choice(Real(name))  # numbers in another format: the fault names the format
    text, row = known[is_text].iloc[0], known.index[is_text][0]
    to_mark = ("mark missing values", ReadAsMissing(text))
    to_learn = SetKind(name, Category.kind)
    if len(counts) <= FEW_LABELS:
        found = Category(name).with_values(known)
        problem = f"holds {text!r}, which is not a number; the column is taken as a category of "
        problem += f"{len(found.labels)} labels"
        advice = (to_mark, ("keep the labels", to_learn))
        together = "hold text among numbers, and are taken as categories"
        return Choice(found, Notice(problem, name, row, advice, True, together))
    rows = f"in {counted(is_text.sum(), 'row')}"
    problem = f"holds text among numbers {rows}, such as {text!r}, which counts as a missing value"
    advice = (to_mark, ("learn labels", to_learn))
    together = "hold text among numbers, which counts as missing values"
    notice = Notice(problem, name, advice=advice, is_decision=True, together=together)
    numbers = choose(known[~is_text].astype(np.float64))
    return Choice(numbers.field, notice, is_text_missing=True)
