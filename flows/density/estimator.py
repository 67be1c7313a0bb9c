"""The density of a table as an estimator of scikit-learn, for its pipelines and its searches."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.density.fitting import fit
from flows.density.frame_density import Density
from flows.networks.architecture import Architecture


class DensityEstimator(DensityMixin, BaseEstimator):
    """An estimator of the density of a table, by ``flows.fit``.

    A data frame may hold all that ``flows.fit`` takes. Its columns are found by name, in any order,
    and samples are a data frame, too. Of an array, columns are called ``x0``, ``x1``, and so on,
    and are matched by position.

    Args:
        model: an architecture of tables, such as ``flows.NSF(couplings=4)``, or its name:
            ``"nsf"``, ``"realnvp"`` or ``"glow"``.
        members: networks of the ensemble: up to 5, or a multiple of 5.
        recipe: ``"auto"``, or ``"fixed"``, which trains for a number of epochs.
        epochs: passes over the rows, for the fixed recipe alone; ``None`` is its default.
        columns: the kinds of columns that are not real, by name.
        missing: what is done with rows that lack a value, as in ``flows.fit``.
        settings: other settings of training (``TrainingSettings``) and, beside a name, of the
            architecture.
        random_state: the seed of all that is random: a whole number, or as in scikit-learn.

    ``density_`` is the fitted ``Density``, whose ``save`` writes a file. ``n_features_in_`` is the
    number of columns, and ``feature_names_in_`` are their names, where they are text. Pickles are
    for processes of the same program; they are no files to keep.
    """

    density_: Density
    n_features_in_: int

    def __init__(
        self,
        model: str | Architecture = "nsf",
        *,
        members: int = 10,
        recipe: str = "auto",
        epochs: int | None = None,
        columns: Mapping[str, str] | None = None,
        missing: Literal["learn", "drop", "stop"] = "learn",
        settings: Mapping[str, Any] | None = None,
        random_state: Any = 0,
    ) -> None:
        self.model = model
        self.members = members
        self.recipe = recipe
        self.epochs = epochs
        self.columns = columns
        self.missing = missing
        self.settings = settings
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> DensityEstimator:
        """Fit the density of the rows, and return the estimator.

        Args:
            X: rows, a data frame or an array ``(n, D)``.
            y: ignored.

        Raises ``ValueError``, with one line, for rows and parameters that can't
        be fitted.
        """
        rows = self._rows(X, reset=True)
        how: dict[str, Any] = {"columns": self.columns, "missing": self.missing}
        how |= {"settings": self._training(), "members": _plain(self.members)}
        try:
            self.density_ = fit(rows, self.model, seed=_seed(self.random_state), **how)
        except LookupError as error:  # no such model
            raise UserError(error.args[0]) from None
        return self

    def score_samples(self, X: Any) -> Array:
        """Return the log-density of every row in nats, ``(n,)``, in the units of the rows.

        Args:
            X: rows, a data frame or an array ``(n, D)``.
        """
        check_is_fitted(self)
        return self.density_.log_prob(self._rows(X, reset=False))

    def score(self, X: Any, y: Any = None) -> float:
        """Return the log-likelihood of all rows in nats, the sum of ``score_samples``.

        Args:
            X: rows, a data frame or an array ``(n, D)``.
            y: ignored.
        """
        return float(self.score_samples(X).sum())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows: an array ``(n_samples, D)``, or a data frame after one.

        Args:
            n_samples: the number of rows.
            random_state: the seed: a whole number gives the same rows at every call; ``None``
                draws the seed from the global generator of NumPy, as in scikit-learn.
        """
        check_is_fitted(self)
        drawn = self.density_.sample(n_samples, _seed(random_state))
        return drawn if hasattr(self, "feature_names_in_") else drawn.to_numpy()

    def _training(self) -> dict[str, Any]:
        """Return the settings of training and of the model, as ``flows.fit`` takes them."""
        settings = dict(self.settings or {})
        for name in ("recipe", "epochs"):
            if name in settings:
                raise UserError(
                    f"settings: {name} is a parameter of its own; write "
                    f"DensityEstimator({name}={settings[name]!r})"
                )
        settings["recipe"] = self.recipe
        if self.epochs is not None:
            settings["epochs"] = self.epochs
        return {name: _plain(value) for name, value in settings.items()}

    def _rows(self, X: Any, *, reset: bool) -> Any:
        """Return checked rows: a data frame as it is, or else an array.

        ``reset`` is whether the columns are learned from them.
        """
        if isinstance(X, pd.DataFrame):
            if reset:
                validate_data(self, X, skip_check_array=True)
            return X
        least = 2 if reset else 1  # `flows.fit` says how many it needs
        finite = "allow-nan" if self._takes_gaps() else True
        how: Any = {"dtype": np.float64, "ensure_min_samples": least, "ensure_all_finite": finite}
        return validate_data(self, X, reset=reset, **how)

    def _takes_gaps(self) -> bool:
        return self.missing == "drop" or (self.missing == "learn" and self.recipe == "auto")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._takes_gaps()
        return tags


def _seed(random_state: Any) -> int:
    """Return a whole number as it is, or one that is drawn as scikit-learn draws."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _plain(value: Any) -> Any:
    """Return a number of NumPy, as grids of parameters hold, as one of Python."""
    return value.item() if isinstance(value, np.generic) else value
