"""Normalizing flows for small data sets, as populations of independently seeded networks.

``import flows`` is light: torch is imported when a name that needs it is first used.
``__init__.pyi`` lists the public names.
"""

import os

import lazy_loader

from flows.core.version import VERSION as __version__  # noqa: F401, N811

# Let waiting threads sleep. By default OpenMP lets them spin, and then one other busy process makes
# two threads several times slower than one. OpenMP reads the variable when torch is imported. No
# result depends on it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
