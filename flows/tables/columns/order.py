"""The order in which kinds choose columns, and the thresholds that two kinds share.

A kind's own rule is ``choose`` of its class. This module imports nothing, so that all kinds can
import the thresholds.
"""

# The first kind that takes a column gets the column. Two names are not kinds: numbers with some
# text among them (``choosing``), and columns that identify the rows (``Excluded``). Clock times in
# numbers are found later, after equations (``checking``).
ORDER = (
    "date",
    "time",
    "numbers with text",
    "category",
    "identifier",
    "count",
    "integer",
    "interval",
    "positive",
    "real",
)

# Numbers are continuous, and text identifies the rows, if at least this share of the values is
# distinct. With a smaller share, numbers are counts or rounded, and text is labels.
DISTINCT = 0.9
MOST_LABELS = 200  # text has at most this many labels; of more, rare ones are pooled
FEW_LABELS = 20  # as many texts never identify rows; with more, text among numbers is missing
LEAST_NUMBERED = 10  # fewer increasing numbers do not number rows
YEARS = (1500, 2100)  # whole numbers between these are years
