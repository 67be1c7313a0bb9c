"""The kinds of columns.

``KINDS`` is the order in which they choose columns: the first kind that fits takes a column.
"""

from flows.tables.field import Field
from flows.tables.kinds.category import Category
from flows.tables.kinds.continuous import Interval, Positive, Real
from flows.tables.kinds.date import Date
from flows.tables.kinds.unlearned import Identifier
from flows.tables.kinds.whole import Count, Integer

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
