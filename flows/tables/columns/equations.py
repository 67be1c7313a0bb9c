"""The columns that equal formulas of other columns, which therefore have no density of their own.

Squares, logarithms, products and ratios come first (``formula_search.py``), and then linear
combinations, of learned columns and of these.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from flows.core.arrays import Array, Mask
from flows.tables.columns.field import Field
from flows.tables.columns.formula_search import BASES, Found, search
from flows.tables.columns.formulas import OPERATIONS
from flows.tables.columns.kinds.continuous import Positive, Real
from flows.tables.columns.kinds.unlearned import Carried, ends_of
from flows.tables.columns.kinds.whole import Whole

SMALL = 0.1  # a part of an equation is small if its deviation is below this share of the largest
LEAST_COMPLETE = 10  # rows in which all columns of a linear combination are known


def equations(
    fields: Sequence[Field],
    values: Array,
    computable: Mask,
    stored: Array | None = None,
    named: Collection[str] = (),
) -> dict[int, Carried]:
    """Return the columns that formulas of other columns give, by their place.

    Args:
        fields: the columns.
        values: their values ``(n, D)``, with codes for labels and ``NaN`` for gaps.
        computable: which columns may be computed, and be in a formula, ``(D,)``.
        stored: the values before ``values.as_written``, ``(n, D)``, if they differ. Formulas that a
            program computed in single precision hold in these.
        named: the names of the columns whose kind the user names.
    """
    both = (values,) if stored is None else (values, stored)
    found = _functions(fields, both, computable, named)
    for numbers in both:
        _add_linear(found, fields, numbers, computable)
    return found


def _functions(
    fields: Sequence[Field], both: Sequence[Array], computable: Mask, named: Collection[str]
) -> dict[int, Carried]:
    """Return the columns that are functions of one or two other columns, by their place.

    Functions of one column come first. Those of a finely rounded column precede those of a coarsely
    rounded one: if p is a / b, then a is p b up to its rounding, but p does not follow from the
    rounded a. Of equally rounded ones, a square precedes a root, and a formula without a factor
    precedes a formula with a factor.

    Args:
        fields: the columns.
        both: their values as they are written and as they are stored, ``(n, D)`` each.
        computable: which columns may be in a formula, ``(D,)``.
        named: the names of the columns whose kind the user names.
    """
    # The codes of the labels 0 and 1 are numbers
    are_numbers = [field.is_numeric or field.labels == (0, 1) for field in fields]
    places = np.flatnonzero(computable & are_numbers).tolist()
    numbers = [fields[d] for d in places]
    formulas = [each for values in both for each in search(numbers, values[:, places])]
    found = dict[int, Carried]()
    formulas.sort(key=_rank)
    for place, term, factor, _ in formulas:
        d = places[place]
        if d in found or _needs(term.names, fields[d].name, found.values()):
            continue
        field = fields[d]
        if isinstance(field, Whole):  # samples of the other columns may give other multiples
            field = replace(field, multiple=None)
        if term.word in BASES and isinstance(field, Positive) and field.name not in named:
            field = _any_number(field)  # a logarithm has no smallest value
        found[d] = Carried(field, 0.0, ((term, factor),))
    return found


def _any_number(field: Field) -> Real:
    """Return a column of numbers without the bounds of its kind."""
    return Real(
        field.name,
        decimals=field.decimals,
        dtype=field.dtype,
        text_is_missing=field.text_is_missing,
        spelling=field.spelling,
    )


def _needs(names: Iterable[str], name: str, carried: Iterable[Carried]) -> bool:
    """Return whether one of the columns ``names`` is the column ``name``, or computed from it."""
    known, rest = {each.name: each for each in carried}, {*names}
    seen = set[str]()
    while rest:
        seen |= rest
        rest = {own for each in rest if each in known for own in known[each].needs} - seen
    return name in seen


def _add_linear(
    found: dict[int, Carried], fields: Sequence[Field], values: Array, computable: Mask
) -> None:
    """Add the columns that equal another, or a linear combination of others, to ``found``.

    Columns are compared on the rows that are complete in all of them. In a QR decomposition of the
    standardised columns, the diagonal of R is the part of each column that the columns before it do
    not explain. This part is 0, up to rounding, for a linear combination.

    Of the columns of an equation, one with a large part in the equation is carried, because a small
    difference of two large columns needs a density of its own; of these the fittest (``_fitness``);
    of equally fit ones, one that no function needs, and else the last.
    """
    functions = {d: each for d, each in found.items() if any(term.word for term, _ in each.terms)}
    places = [d for d in np.flatnonzero(computable).tolist() if d in functions or d not in found]
    fields, values = [fields[d] for d in places], values[:, places]
    values = values[~np.isnan(values).any(axis=1)]
    if len(values) < LEAST_COMPLETE or not (np.ptp(values, axis=0) > 0).all():
        return
    known = [*found.values()]
    needed = {name for each in known for name in each.needs}
    deviation = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / deviation
    rounding = 1e-10 + 4 * np.finfo(float).eps * (np.abs(values).max(axis=0) / deviation).sum()
    beyond = np.abs(np.diagonal(np.linalg.qr(standard, mode="r"))) / math.sqrt(len(values))

    def others(d: int) -> list[int]:
        """Return the kept columns that column d equals, or is a combination of."""
        if equal := [k for k in kept if (values[:, k] == values[:, d]).all()][:1]:
            return equal
        if len(values) <= len(fields) or beyond[d] >= rounding:
            return []
        share = np.linalg.lstsq(standard[:, kept], standard[:, d], rcond=None)[0]
        return [k for k, part in zip(kept, share, strict=True) if abs(part) > 1e-6]

    def equation(d: int, terms: Sequence[int]) -> Carried:
        names = [fields[k].name for k in terms]
        return Carried.from_values(fields[d], values[:, d], names, values[:, terms])

    carried, kept = list[int](), list[int]()
    for d in range(len(fields)):
        if not (terms := others(d)):
            kept.append(d)
            continue
        ranks = dict[int, tuple[bool, bool, bool, float, bool]]()
        whole = equation(d, terms)
        sizes = {k: abs(c) * deviation[k] for k, (_, c) in zip(terms, whole.terms, strict=True)}
        sizes[d] = deviation[d]
        for k in (members := [*terms, d]):
            own, name = [e for e in members if e != k], fields[k].name
            if places[k] in functions or _needs((fields[e].name for e in own), name, known):
                continue
            if not _is_sound(fields[k], [fields[e] for e in own], values[:, own]):
                continue
            fitness = _fitness(equation(k, own), [fields[e] for e in own], values[:, own])
            is_large = sizes[k] > SMALL * max(sizes.values())
            ranks[k] = is_large, *fitness, name not in needed
        if not ranks:  # a function gives d, or d stays
            if places[d] not in functions:
                kept.append(d)
            continue
        chosen = max(ranks, key=lambda k: (*ranks[k], k))
        kept = sorted({*kept, d} - {chosen})
        carried.append(chosen)
        beyond[chosen] = 0.0  # the columns before d explain the chosen column, too
    for d in carried:  # again, because other columns may be kept since
        column = equation(d, others(d))
        if not _needs(column.needs, column.name, found.values()):
            found[places[d]] = column


def _is_sound(field: Field, others: Sequence[Field], values: Array) -> bool:
    """Return whether a linear combination gives a column, and not by chance codes of labels.

    The code of one of three labels or more is no number. A combination with such codes is sound in
    three cases: it needs one column alone; or all other columns have two labels, as columns of 0
    and 1 that each stand for a label; or the rows hold all combinations of the values of the other
    columns.

    Args:
        field: the column.
        others: the columns that it is computed from.
        values: their values ``(n, K)``.
    """
    if len(others) == 1 or all(len(each.labels) <= 2 for each in (field, *others)):
        return True
    if all(len(each.labels) == 2 for each in others):
        return True
    different = [len(np.unique(x)) for x in values.T]
    return math.prod(different) == len(np.unique(values, axis=0))


def _rank(found: Found) -> tuple[int, float, int, float]:
    """Return the rank of a formula among all, as ``_functions`` says."""
    columns, magnitude = len(found.term.names), math.log10(found.rounding)
    if columns == 1:
        return columns, round(magnitude), [*OPERATIONS].index(found.term.word), 0.0
    return columns, round(magnitude, 2), 0, abs(math.log10(found.factor))


def _fitness(column: Carried, fields: Sequence[Field], values: Array) -> tuple[bool, bool, float]:
    """Return how well a column can be computed from others, in the order of what matters:

    - whether the column keeps its equation, because its formula gives multiples of its step;
    - whether its bounds follow from those of the others;
    - the share of rows in which the computed value lies within the bounds of the column, if the
      other columns are independent.

    Args:
        column: the column.
        fields: the columns that it is computed from.
        values: their values ``(n, K)``.
    """
    step, spacings = column.field.spacing, {each.name: each.spacing for each in fields}
    steps = [c * spacings[term.names[0]] / (step or 1.0) for term, c in column.terms if c]
    is_exact = not step or all(abs(each - round(each)) < 1e-6 and each for each in steps)
    mixed = np.random.default_rng(0).permuted(values, axis=0)
    x = column.values({each.name: x for each, x in zip(fields, mixed.T, strict=True)})
    return is_exact, not column.free_ends(ends_of(fields, ())), column.within(x)
