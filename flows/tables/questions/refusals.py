"""Questions that a density cannot answer."""

from __future__ import annotations

import numpy as np

from flows.core.errors import UserError
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.region import Region
from flows.tables.questions.question import Question


def refuse(question: Question, density: ArrayDensity, region: Region) -> None:
    """Raise ``UserError`` for a question that the density cannot answer, with the alternative.

    A joint density answers all questions. The density of a target is conditional on the other
    columns, so it has no distribution of these columns, nor of a part of the targets.
    """
    if not density.targets:
        return
    names, gaps = ", ".join(density.targets), region.gaps
    if question.given:
        raise UserError(
            f"given: the density of {names} is conditional on all other columns already"
        )
    described = question.describes(density, region)
    if len(described) == len(density.columns):
        raise UserError(
            f"the density of {names} is conditional: give values of other columns (given, or "
            "--given and --given-rows on the command line), or fit the table without a target"
        )
    for name in described:
        if density.inputs[density.schema.find(name)]:
            raise UserError(
                f"column {name} is not a target, so its values cannot be predicted or filled; the "
                f"density is of {names} given the other columns: fit the table without a target"
            )
    if not question.fills_gaps:
        return
    knows_target = ~gaps[:, ~density.inputs].all(axis=1)
    for k in np.flatnonzero(knows_target & gaps.any(axis=1))[:1].tolist():
        unknown = density.columns[int(gaps[k].argmax())].name
        raise UserError(
            f"a row with a known target has no value of {unknown}; only {names} can be drawn, all "
            "together: leave the targets out, or fit the table without a target"
        )


def refuse_known(question: Question, density: ArrayDensity, region: Region) -> None:
    """Raise ``UserError`` for conditions with a value of a column that the question hides."""
    for name in dict.fromkeys(question.hidden(density)):
        if not region.gaps[:, density.schema.find(name)].all():
            raise UserError(f"given: {name} is predicted; leave it out, or give a range")
