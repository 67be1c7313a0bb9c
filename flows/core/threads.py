"""Fits with one thread, whose sums are the same on every machine."""

from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread(library: str = "sklearn.mixture") -> AbstractContextManager[Any]:
    """Return a context in which a library, and those that the library loads, use one thread.

    Args:
        library: the library, by default the mixtures of scikit-learn, which load NumPy and SciPy.
    """
    return _controller(library).limit(limits=1)


@cache
def _controller(library: str) -> ThreadpoolController:
    """Return the thread pools of a library. The search for them takes milliseconds."""
    import_module(library)  # the search finds only loaded libraries
    return ThreadpoolController()
