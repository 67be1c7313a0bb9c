"""The kinds of columns, which ``order.ORDER`` lists in the order in which they choose columns."""

from flows.tables.columns.kinds.category import Category
from flows.tables.columns.kinds.continuous import Interval, Positive, Real
from flows.tables.columns.kinds.date import Date
from flows.tables.columns.kinds.time import Time
from flows.tables.columns.kinds.whole import Count, Integer

__all__ = ["Category", "Count", "Date", "Integer", "Interval", "Positive", "Real", "Time"]
