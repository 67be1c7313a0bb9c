"""Fits with one thread, whose sums are the same on every machine."""

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Return a context in which NumPy, SciPy and scikit-learn compute with one thread."""
    return _controller().limit(limits=1)


@cache
def _controller() -> ThreadpoolController:
    """Return the thread pools of these libraries. The search for them takes milliseconds."""
    # The search finds only loaded libraries; this import loads all three
    import sklearn.mixture  # noqa: F401

    return ThreadpoolController()
