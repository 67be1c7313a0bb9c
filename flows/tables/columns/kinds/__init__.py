"""The kinds of columns.

``KINDS`` is the order in which they choose columns: the first kind that fits takes a column.
"""

from flows.tables.columns.field import Field
from flows.tables.columns.kinds.category import Category
from flows.tables.columns.kinds.continuous import Interval, Positive, Real
from flows.tables.columns.kinds.date import Date
from flows.tables.columns.kinds.unlearned import Identifier
from flows.tables.columns.kinds.whole import Count, Integer

KINDS: list[type[Field] | type[Identifier]] = [
    Date,
    Category,
    Identifier,
    Count,
    Integer,
    Interval,
    Positive,
    Real,
]
