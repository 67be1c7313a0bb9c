"""Fit a density to a table, and save and load densities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

from flows import saving
from flows.core.checkpoint import CheckpointError
from flows.networks.architecture import Architecture
from flows.networks.densities import Densities
from flows.networks.population import Population
from flows.recipe.record import Record
from flows.tables.checking.comparison import lost_associations
from flows.tables.checking.rows import CheckedRows
from flows.tables.columns.column_maps import ColumnMaps
from flows.tables.columns.constraint import Constraints
from flows.tables.columns.files import is_table
from flows.tables.columns.notices import Notice, TableError, warn
from flows.tables.columns.options import FitOptions, resolve, spelled_out
from flows.tables.columns.parsing import Table, from_user
from flows.tables.columns.schema import Schema
from flows.tables.density.frame_density import Density
from flows.tables.fitting.fit_request import FitRequest
from flows.tables.fitting.learning import learn_table
from flows.tables.posterior.array_density import ArrayDensity
from flows.tables.posterior.target_density import density_of


@spelled_out
def fit(
    frame: Any, model: str | Architecture | None = None, **options: Unpack[FitOptions]
) -> Density:
    """Fit the density of a table, or of a target given the other columns.

    The density is the weighted mean of the densities of several networks and mixtures, the members
    of the ensemble. The automatic recipe trains them with cross-validation: it chooses
    the regularisation and the number of steps, and scores each training row with members that were
    trained without the row (out-of-fold).

    Args:
        frame: a data frame, or an array ``(n, D)``.
        model: an architecture of tables, such as ``flows.NSF(couplings=4)``, or its name:
            ``"nsf"`` (the default), ``"realnvp"`` or ``"glow"``. With a target: ``"conditional"``
            (the default) or, for a single target, ``"nsf"`` or ``"realnvp"``.
        **options: the options of a fit (``tables/columns/options.py``, ``FitOptions``).

    A column that has no density is carried along: a constant, and a linear combination of other
    columns. A column that identifies the rows is excluded. Rare labels of text with more than 200
    different values are pooled. Samples have all columns of the table, in order. Log-densities are
    those of the learned columns, ``Density.columns``.

    Notices, for example on rounded columns, are warnings of the class ``flows.TableNotice``.

    Raises ``UserError`` for a table that cannot be fitted (``TableError``, with the faults of all
    columns), ``LookupError`` for a model that is not one of tables, ``ValueError`` for wrong
    settings, and ``TypeError`` for other types of arguments.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> import flows
        >>> rng = np.random.default_rng(0)
        >>> frame = pd.DataFrame({"age": rng.normal(50, 10, 60), "ward": 30 * ["north", "south"]})
        >>> small = flows.NSF(couplings=2, hidden=4)  # the defaults take seconds to minutes
        >>> quick = {"recipe": "quick"}
        >>> density = flows.fit(frame, small, columns={"age": "positive"}, settings=quick)
        >>> [column.word for column in density.columns]
        ['category', 'positive']

        >>> given = flows.fit(frame, target="age", settings=quick)
        >>> list(given.predict(frame[:2]))
        ['mean', 'sd', 'q0.05', 'q0.5', 'q0.95', 'effective_draws']
    """
    if isinstance(frame, Population):
        raise TypeError("flows.fit fits a table; flows.train(model, rows) trains a population")
    request = FitRequest.of(model, resolve(FitOptions, options, "fit"))
    return fit_table(lambda: from_user(frame, request.columns, request.na), request)


def fit_table(
    read: Callable[[], Table],
    request: FitRequest,
    on_notices: Callable[[Sequence[Notice]], None] = warn,
) -> Density:
    """Fit the density of a table that ``read`` returns; ``learn_table`` has the arguments.

    A notice names associations between columns that samples have lost. The density passes its own
    notices on in the same way as the fit.
    """
    found, sample = learn_table(read, request, on_notices)
    rows = CheckedRows.of_fit(found, sample)
    on_notices(lost_associations(found, rows, request.seed))
    return Density(found.population, found.schema, found.record, on_notices)


def load(path: str | Path) -> Density | Population:
    """Return the ``Density`` or the population that was saved to ``path``.

    Args:
        path: the file.

    Raises ``CheckpointError``, which names the file, for a file that cannot be read.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import flows
        >>> population = flows.build(flows.NSF(couplings=2, hidden=4), (3,), members=2)
        >>> with TemporaryDirectory() as folder:
        ...     flows.save(population, f"{folder}/networks.flow")
        ...     loaded = flows.load(f"{folder}/networks.flow")
        >>> loaded.members
        2
    """
    population, schema, record = _load(path)
    if schema is None and isinstance(population, Population):
        population.record = record
        return population
    return Density(population, schema, record)


def load_array_density(path: str | Path) -> ArrayDensity:
    """Return the density in ``path`` on arrays. Raises ``CheckpointError``, as ``load``."""
    return density_of(*_load(path))


def _load(path: str | Path) -> tuple[Densities, Schema | None, Record | None]:
    """Return a population, the schema of its table if it has columns, and its record."""
    if is_table(path):
        raise CheckpointError(
            f"{path}: is a table and no density; `flows inspect` describes a table, and "
            "`flows fit` learns its density"
        )
    population, record, table = saving.load(path)
    if not isinstance(population.to_real, ColumnMaps):
        return population, None, record
    fields = population.to_real.fields
    schema = Schema.of(fields) if table is None else Schema.from_json(fields, table)
    try:
        Constraints.of(schema)  # text of a file, which is parsed and never executed
    except TableError as error:
        again = "fit the table again with constraints that this version reads"
        raise CheckpointError(f"{path}: {error}; {again}") from None
    return population, schema, record


def save(model: Density | Population, path: str | Path, *, record: bool = True) -> None:
    """Write a density or a population to ``path``, whole or not at all.

    The same object gives the same bytes.

    Args:
        model: the density or the population.
        path: the file.
        record: whether to write the out-of-fold score of each training row; otherwise, counts of
            the scores in bins are written (``Density.save``).

    Raises ``OSError`` if the file cannot be written, and ``ValueError`` for a population whose
    description does not say how to build it.

    Examples:
        >>> import numpy as np
        >>> import flows
        >>> rows = np.random.default_rng(0).normal(size=(60, 2))
        >>> quick = {"recipe": "quick"}
        >>> density = flows.fit(rows, flows.NSF(couplings=2, hidden=4), settings=quick)
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     flows.save(density, f"{folder}/table.flow")
        ...     loaded = flows.load(f"{folder}/table.flow")
        >>> loaded.sample(2).equals(density.sample(2))
        True
    """
    if isinstance(model, Density):
        model.save(path, record=record)
    else:
        own = model.record if record or model.record is None else model.record.without_rows()
        saving.save(model, path, own)
