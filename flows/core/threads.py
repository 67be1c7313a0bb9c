"""Fits with one thread, whose sums are the same on every machine."""

import sys
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Return a context in which NumPy, SciPy and scikit-learn compute with one thread.

    ``sklearn.mixture`` has to be imported before.
    """
    return _controller("sklearn.mixture" in sys.modules).limit(limits=1)


@cache
def _controller(has_sklearn: bool) -> ThreadpoolController:
    """Return the thread pools of these libraries. The search for them takes milliseconds.

    Args:
        has_sklearn: whether scikit-learn is loaded. The search finds only loaded libraries.
    """
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()
