"""A field: one column of a table, with all that its kind decides.

The classes in ``flows/tables/columns/kinds`` are the kinds. Code asks a field for what its kind
decides. ``docs/extending.md`` shows how to add a kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from flows.core.arrays import Array, ArrayOrTensor, Mask, Whole
from flows.tables.columns.lazy import pd
from flows.tables.columns.notices import Notice, TableError
from flows.tables.columns.order import ORDER
from flows.tables.columns.spelling import Spelling
from flows.tables.columns.types import cast

if TYPE_CHECKING:
    from flows.tables.columns.lines import Line

Label = str | int | float | bool


class Choice(NamedTuple):
    """What becomes of a column.

    Args:
        field: the field; ``None`` for a column that identifies the rows, which is excluded.
        notice: the notice on the choice; ``None`` if the choice needs none.
        is_text_missing: whether text among numbers counts as missing.
    """

    field: Field | None
    notice: Notice | None = None
    is_text_missing: bool = False


@dataclass(frozen=True)
class Field:
    """A column of a table. Each kind is a subclass, and its numbers are ``(n,)``.

    A missing value is ``NaN``. The numbers of labels are codes: 0 stands for the first label.

    A fit calls ``choose``, or ``named`` and ``with_values`` for the kind of a user's word; then
    ``numbers``, ``holds``, ``fitted``, ``about_samples`` and ``about_values``. Samples are made
    with ``round``, ``shown`` and ``restored``, in this order.

    Args:
        name: the name.
        labels: the labels of a category; empty for numbers.
        decimals: how many decimals samples have; ``None`` for as many as they have.
        dtype: the type of the column in a data frame, as ``types.type_of`` returns it; ``None`` for
            the type that samples have anyway.
        text_is_missing: whether text among numbers counts as missing.
        spelling: the currency or percent sign around the numbers; ``None`` for none.

    Examples:
        >>> import flows
        >>> import numpy as np
        >>> visits = flows.Field.parse("visits", "count")
        >>> visits.bounds
        (-0.5, inf)
        >>> visits.holds(np.array([2.0, 2.5, -1.0]))
        array([ True, False, False])
    """

    name: str
    labels: tuple[Label, ...] = field(default=(), kw_only=True)
    decimals: int | None = field(default=None, kw_only=True)
    dtype: Any = field(default=None, kw_only=True, hash=False)
    text_is_missing: bool = field(default=False, kw_only=True)
    spelling: Spelling | None = field(default=None, kw_only=True)

    kind: ClassVar[str] = ""  # the first part of a user's word, and the name in a file
    words: ClassVar[tuple[str, ...]] = ()  # what a user writes, for messages
    is_discrete: ClassVar[bool] = False  # whether samples are rounded to the centres of cells
    is_numeric: ClassVar[bool] = False  # whether means and quantiles of samples are numbers
    reads_labels: ClassVar[bool] = False  # whether numbers in text are labels
    kinds: ClassVar[dict[str, type[Field]]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Register the kind, so that users can name it, and files hold it."""
        super().__init_subclass__(**arguments)
        if "kind" in vars(cls):  # a subclass without a kind of its own is no kind
            Field.kinds[cls.kind] = cls

    def __post_init__(self) -> None:
        """Complete a field that a file holds as lists."""
        if self.spelling is not None:
            object.__setattr__(self, "spelling", Spelling(*self.spelling))

    # How a field comes about

    @staticmethod
    def parse(name: str, word: str) -> Field:
        """Return the field ``name`` of the kind that a user writes as ``word``.

        Args:
            name: the name of the column.
            word: the kind, with the numbers that it needs, such as ``"interval:0:1"``.

        Raises ``ValueError``, which names the column, for a word that is not a kind.
        """
        (kind, *texts), kinds = word.split(":"), registered()
        if kind in kinds and (found := kinds[kind].named(name, texts)):
            return found
        *words, last = (each for cls in kinds.values() for each in cls.words)
        there = f"{', '.join(words)} or {last}"
        raise ValueError(f"column {name}: {word!r} is not a kind; a kind is {there}")

    @classmethod
    def named(cls, name: str, texts: Sequence[str]) -> Self | None:
        """Return the field for a user's word; ``None`` if the word does not fit the kind.

        Args:
            name: the name of the column.
            texts: the parts of the word after the kind, such as ``["0", "1"]``.
        """
        return None if texts else cls(name)

    @classmethod
    def choose(cls, known: pd.Series) -> Choice | None:
        """Return the field for a column without a user's word; ``None`` if another kind fits.

        Args:
            known: the parsed values that are not missing: floats, objects, dates of pandas or a
                categorical. A kind of a user gets at least one value.
        """

    def with_values(self, known: pd.Series) -> Self:
        """Return the field of a user's word, completed from its values, such as with labels.

        Args:
            known: the parsed values that are not missing.
        """
        return self

    def fitted(self, x: Array, *, is_rounded: bool) -> Self:
        """Return the field with what its known numbers ``x`` ``(n,)`` tell.

        Args:
            x: the numbers that are learned.
            is_rounded: whether the column counts as rounded (``checking.check``).
        """
        return self

    @property
    def without_ends(self) -> Field:
        """The same field without the ends that were chosen from its values."""
        return self

    def about_values(self, x: Array) -> list[Notice]:
        """Return notices on suspicious numbers.

        Args:
            x: the known numbers ``(n,)``.
        """
        return []

    def about_samples(self, x: Array, *, is_rounded: bool) -> list[Notice]:
        """Return notices on how samples of a learned column differ from the values.

        The field is the result of ``fitted``.

        Args:
            x: the known numbers ``(n,)``.
            is_rounded: whether many rows hold equal numbers.
        """
        return []

    # Values

    def numbers(self, values: pd.Series, *, is_fit: bool = False) -> Array:
        """Return parsed values as numbers, ``(n,)``. The code of a refused label is -1.

        Args:
            values: the parsed values, ``NaN`` if missing.
            is_fit: whether the error may advise another kind.

        Raises ``TableError``, which names the first value that is no number.
        """
        raise NotImplementedError

    def misread(self, text: str) -> str:
        """Return why a user's text outside of a table is not one value, or an empty text.

        Args:
            text: the text, which ``numbers`` reads.
        """
        return ""

    def holds(self, x: Array) -> Mask:
        """Return a mask of the numbers that the kind allows, ``(n,)``.

        Args:
            x: the numbers ``(n,)``.
        """
        low, high = self.bounds
        return (low < x) & (x < high)

    @property
    def allowed(self) -> str:
        """The numbers that the kind allows, as words that follow "must be"."""
        low, high = self.bounds
        if math.isinf(low) and math.isinf(high):
            return "finite"
        if math.isinf(high):
            return f"finite and above {low:.15g}"
        return f"finite and strictly between {low:.15g} and {high:.15g}"

    def refusal(self, x: float) -> str:
        """Return why the column does not hold a value, as a clause that follows the user's value.

        Args:
            x: the value as a number.
        """
        return f"which its kind, {self.word}, does not allow"

    def round(self, x: ArrayOrTensor) -> ArrayOrTensor:
        """Return numbers rounded to the values of samples.

        Args:
            x: an array or a tensor of any shape.
        """
        return x

    def shown(self, x: Array) -> Array:
        """Return samples with the decimals of the column, but not rounded onto a bound.

        Args:
            x: the samples ``(n,)``.
        """
        return x

    def written(self, x: Array) -> Array:
        """Return numbers as they are written: rounded, and with the decimals of the column.

        Args:
            x: the numbers ``(n,)``.
        """
        return self.shown(np.asarray(self.round(x)))

    def computed(self, x: Array) -> Array:
        """Return computed numbers as they are written, perhaps beyond the bounds of the column.

        Args:
            x: the numbers ``(n,)``.
        """
        return self.written(x)

    @property
    def scale(self) -> float:
        """The factor from the numbers of the column to those of a constraint: dates are in days."""
        return 1.0

    @property
    def spacing(self) -> float:
        """The distance between neighbouring values as they are written; 0 for all numbers."""
        if self.is_discrete:
            return self.cell
        return 0.0 if self.decimals is None else 10.0**-self.decimals

    def restored(
        self, x: Array, generator: np.random.Generator, rare: Set[Label] | None = None
    ) -> pd.Series:
        """Return samples as values of the user's type.

        Args:
            x: the samples, which ``shown`` returned.
            generator: draws values that one number stands for, such as rare labels.
            rare: the rare labels to draw from; by default all.
        """
        raise NotImplementedError

    def spelled(
        self, x: Array, generator: np.random.Generator, rare: Set[Label] | None = None
    ) -> pd.Series:
        """Return samples as ``restored`` does, with the sign of the column.

        Args:
            x: the samples, which ``shown`` returned.
            generator: draws values that one number stands for, such as rare labels.
            rare: the rare labels to draw from; by default all.
        """
        if self.spelling is None:
            return self.restored(x, generator, rare)
        numbers = replace(self, dtype=None).restored(x, generator, rare)
        return cast(self.spelling.write(numbers), self.dtype)

    def natural_types(self) -> tuple[Any, ...]:
        """Return the types of a data frame and of Arrow that samples have without a ``dtype``.

        These are not stored, so files of equal tables in two formats are equal.
        """
        return ()

    def points(self, x: Array, *, is_distance: bool = False) -> pd.Series:
        """Return means or quantiles in the user's unit, not rounded.

        Args:
            x: the numbers ``(n,)``.
            is_distance: whether they are distances between values, such as standard deviations.
        """
        raise NotImplementedError

    def text(self, x: float) -> str:
        """Return a number as text for formulas and messages.

        Args:
            x: the number.
        """
        return f"{x:.6g}"

    def short_text(self, x: float) -> str:
        """Return a number as text for pictures.

        Args:
            x: the number.
        """
        return f"{x:.5g}"

    @property
    def ticks(self) -> Callable[[float], str] | None:
        """The text of a tick, by its number within the bounds; ``None`` for the number itself."""
        return None

    # Rare labels, of which one code stands for several

    @property
    def ordered(self) -> bool:
        """Whether the labels have an order."""
        return False

    @property
    def pool(self) -> int | None:
        """The code that stands for several rare labels; ``None`` if there is none."""
        return None

    def is_label(self, text: str) -> bool:
        """Return whether a text is a label, perhaps a rare one.

        Args:
            text: the text.
        """
        return False

    def rare_among(self, values: Sequence[Any]) -> frozenset[Label]:
        """Return the rare labels among a user's values; the label of the pool means them all.

        Args:
            values: the values.

        Raises ``TableError`` for a label that no row held.
        """
        return frozenset()

    def rare_share(self, labels: Set[Label]) -> float:
        """Return the share of some rare labels among the rows of the pool.

        Args:
            labels: the rare labels.
        """
        raise NotImplementedError

    # The real line

    @property
    def bounds(self) -> tuple[float, float]:
        """The lower and the upper bound; all values lie strictly between them."""
        return -math.inf, math.inf

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value; infinity, or a bound, if there is none."""
        (low, high), half = self.bounds, self.is_discrete * self.cell / 2
        return low + half, high - half

    @property
    def cell(self) -> float:
        """The width of the cell that a rounded value stands for; 0 if values are not rounded."""
        return 0.0

    @property
    def peak_cell(self) -> tuple[float, float] | None:
        """The cell of a value that many rows hold, far from the others; ``None`` for none."""
        return None

    @property
    def breaks(self) -> tuple[float, ...]:
        """The values where the density may jump, such as the ends of the cell of a peak, sorted."""
        return ()

    @property
    def line(self) -> Line:
        """The map to the real line."""
        from flows.tables.columns.lines import Straight

        return Straight()

    def spread(self, x: Array, u: Array, *, is_narrow: bool = False) -> Array:
        """Return values with noise over their cells, which gives them a density.

        Near a bound the noise is narrower, so values stay within the bounds.

        Args:
            x: the values ``(n,)``.
            u: uniform numbers between -1/2 and 1/2, ``(n,)``.
            is_narrow: whether a label keeps a distance from the ends of its cell
                (``Category.spread``).
        """
        low, high = self.bounds
        return x + u * np.minimum(self.cell, 2 * np.minimum(x - low, high - x))

    # Conditions and events

    def range_of(self, low: float, high: float) -> tuple[float, float]:
        """Return the interval of the values that lie in a range; a value stands for its cell.

        Args:
            low: the lower end of the range, which belongs to it; perhaps infinite.
            high: the upper end.
        """
        least, most = self.bounds
        return max(low, least), min(high, most)

    def cells_of(self, x: Array) -> Array:
        """Return the cells of values, ``(I, 2)``, sorted; adjacent cells stay apart.

        Args:
            x: the values ``(n,)``.

        Raises ``TableError`` for a column whose single values have probability 0.
        """
        why = "is learned as a number with decimals, so single values have probability 0"
        raise TableError([Notice(f"{why}; give a range", self.name)])

    # Words and files

    @property
    def word(self) -> str:
        """The kind as a user writes it and ``parse`` reads it."""
        return self.kind

    @property
    def closed(self) -> str:
        """The closed ends as text, without 0; empty if there are none."""
        return ""

    @property
    def details(self) -> str:
        """What a description of the density adds to the ``word``."""
        return ""

    def to_json(self) -> dict[str, Any]:
        """Return the field as a dict that JSON can hold; ``from_json`` reads it."""
        defaults = {each.name: each.default for each in fields(self)}
        own = {key: value for key, value in asdict(self).items() if value != defaults[key]}
        return {"kind": self.kind, **own}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Field:
        """Return the field that ``to_json`` wrote.

        Args:
            content: the dict.

        Raises ``ValueError``, which names the column, for a kind without a class.
        """
        own, kinds = dict(content), registered()
        if (kind := own["kind"]) not in kinds:
            problem = f"column {own['name']} has the kind {kind!r}, which is not defined"
            raise ValueError(f"{problem}; import the module with its class first")
        cls = kinds[kind]
        names = {each.name for each in fields(cls)}
        names = {name for name in names if own.get(name) is not None}
        return cls(**{name: _frozen(own[name]) for name in names})


class Sampled(NamedTuple):
    """Samples of the learned columns.

    Args:
        fields: the learned columns.
        rows: the samples as they are shown, ``(n, D)``, with codes for labels.
        start: the number of samples before these.
        columns: the values of learned and of computed columns, ``(n,)``, by their name.
    """

    fields: Sequence[Field]
    rows: Array
    start: int
    columns: Mapping[str, Array] = {}

    @property
    def row_numbers(self) -> Whole:
        """The numbers of the samples, from 1, ``(n,)``."""
        return np.arange(self.start + 1, self.start + len(self.rows) + 1)


def registered() -> dict[str, type[Field]]:
    """Return the classes of all kinds, by ``kind``: ours, and then those of users."""
    import_module("flows.tables.columns.kinds")  # by name: the kinds import this module
    ours = {kind: Field.kinds[kind] for kind in reversed(ORDER) if kind in Field.kinds}
    return ours | Field.kinds


def kinds_of_users() -> list[type[Field]]:
    """Return the classes of kinds that users defined, and that choose columns."""
    return [cls for kind, cls in Field.kinds.items() if kind not in ORDER and "choose" in vars(cls)]


def _frozen(value: Any) -> Any:
    """Return lists as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
