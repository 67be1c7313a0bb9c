"""Our models by the command line's own path: nothing but defaults."""

from __future__ import annotations

from functools import partial

import numpy as np

from flows.core.arrays import Array
from flows.density import fit_table
from studies.tables import settings
from studies.tables.settings import Density, Fit


def fit(name: str, members: int, train: Array) -> Density:
    fitted = fit_table(train, name, members=members, settings={"log_every": 1000})  # nobody looks at the curves, and a VAE's take long

    def density(rows: Array) -> Array:
        log_q = fitted.log_prob_members(rows)
        return np.column_stack([fitted.ensemble(log_q), log_q])

    return density


FITS: dict[str, Fit] = {name: partial(fit, name, members) for name, members in settings.load().members.items()}
