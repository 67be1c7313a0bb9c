"""What a verb works on: a density, files and their formats. Torch is not imported at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from flows.core.errors import UserError
from flows.tables.columns import files
from flows.tables.columns.options import FitOptions, InspectOptions, Options, options_of, resolve
from flows.tables.columns.parsing import Table
from flows.tables.columns.values import PLAIN, Format

if TYPE_CHECKING:
    from flows.tables.posterior.array_density import ArrayDensity


@dataclass(frozen=True)
class Command:
    """A verb with its files and their formats; the settings of the verb are other arguments.

    Args:
        verb: the verb.
        named: the parts of the format of CSV files that the user named.
        model: the file of the density, if the verb reads one.
        table: the table that the verb reads; ``None`` for conditions.
        output: the file to write; ``None`` for standard output.
        takes_table: whether the verb may read a table.
    """

    verb: str
    named: Mapping[str, str]
    model: Any  # a path if the verb needs one
    table: Any
    output: Any
    takes_table: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> tuple[Command, dict[str, Any]]:
        """Return a command with the settings of its verb, from the arguments of both."""
        rest = {**arguments}
        parts = {name: rest.pop(name, None) for name in Format._fields}
        named = {name: part for name, part in parts.items() if part is not None}
        own: dict[str, Any] = {"takes_table": "table" in rest, "verb": rest.pop("verb")}
        own |= {name: rest.pop(name, None) for name in ("model", "table", "output")}
        return cls(named=named, **own), rest

    @cached_property
    def density(self) -> ArrayDensity:
        """The density of the table in ``model``.

        Raises ``UserError`` for a model of images and, before the file is read, for wrong marks of
        a CSV file.
        """
        from flows.tables.density.fitting import load_array_density  # imports torch

        self.format()
        density = load_array_density(self.model)
        if not density.columns:
            raise UserError(
                f"{self.model}: is a model of images; load it in Python with flows.load"
            )
        return density

    def format(self, fitted: Format = PLAIN) -> Format:
        """Return the format of CSV files, in which the named parts come first.

        Args:
            fitted: all other parts.

        Raises ``UserError`` for an empty mark, and for two equal marks.
        """
        if self.named.get("sep") == "":
            raise UserError("--sep is empty; name the mark between fields, or leave the option out")
        found = fitted._replace(**self.named)
        if found.thousands == found.decimal:
            raise UserError(f"--thousands and --decimal are both {found.decimal!r}; name two marks")
        return found

    @property
    def written(self) -> Format:
        """The format of the CSV file to write; by default, that of the table of the fit."""
        return self.format(self.density.schema.written)

    def format_in(self, path: Path) -> Format:
        """Return the format of a file to read; by default, that of the table of the fit."""
        return self.format(files.format_for(path, self.density.schema.written))

    def read(
        self, options: InspectOptions | FitOptions, only: Sequence[str], drop: Sequence[str]
    ) -> Table:
        """Return the parsed table of a fit.

        Args:
            options: the options of the fit.
            only: the names of the columns to read; empty for all.
            drop: the names of columns that are left out.
        """
        which: Any = {"only": only, "drop": drop, "na": options["na"]}
        return files.read(self.table, options["columns"] or {}, self.format(), **which)

    def options(self, kind: type[Options], given: Mapping[str, Any]) -> Options:
        """Return all options of a fit. Raises ``UserError`` for a name that is given twice.

        Args:
            kind: the class of the options.
            given: the options that the user named; a mapping is a list of pairs.
        """
        found = {**given}
        for name, (hint, option) in options_of(kind).items():
            if name in given and any(get_origin(part) is Mapping for part in get_args(hint)):
                found[name] = once(option.flag or f"--{name}", given[name])
        return resolve(kind, found, self.verb)


def once(option: str, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a dict. Raises ``UserError`` for a name that occurs twice."""
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise UserError(f"{option} {name}=... is given {count} times; give it once")
    return dict(pairs)
