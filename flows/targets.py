"""The name that ``flows.truths`` had until release 0.3, for one more release."""

from __future__ import annotations

from warnings import warn

from flows.truths import __path__ as __path__  # so that flows.targets.ring can be imported
from flows.truths import make as make
from flows.truths import names as names

warn("flows.targets is now flows.truths; release 0.5 drops this name", FutureWarning, stacklevel=2)
