"""The density of a target given other columns as a scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import pandas as pd
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from flows.core.arrays import Array
from flows.core.errors import UserError
from flows.core.plurals import counted
from flows.networks.architecture import Architecture
from flows.tables.columns.field import Field
from flows.tables.columns.options import RegressorOptions, complete, spelled_out
from flows.tables.columns.parsing import default_names
from flows.tables.density.estimator import TableEstimator, seed_of
from flows.tables.density.frame_density import Density
from flows.tables.questions.predict import QUANTILES

TARGET = "target"  # the name of the target in the fitted table; underscores are added if needed


@spelled_out
class DensityRegressor(RegressorMixin, TableEstimator):
    """A scikit-learn regressor that learns the whole distribution p(y | X), with ``flows.fit``.

    ``predict`` returns conditional means; ``predict_quantiles``, ``log_prob`` and ``sample`` use
    the distribution. Columns of a data frame are found by name, in any order. The options that name
    columns, such as ``columns``, ``group`` and ``weights``, name columns of X.

    Args:
        model: ``"conditional"``, ``"nsf"``, ``"realnvp"``, or an architecture that takes a context.
        kind: the kind of y, any kind of numbers, such as ``"real"``, ``"positive"`` or ``"count"``.
        random_state: the seed of all random numbers: a whole number, or any ``random_state`` of
            scikit-learn.
        **options: options of ``flows.fit`` (``tables/columns/options.py``, ``RegressorOptions``).

    After ``fit``, ``density_`` is the fitted ``Density``, ``n_features_in_`` the number of columns
    of X, and ``feature_names_in_`` the column names of a data frame.

    Examples:
        >>> import numpy as np
        >>> import flows
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 2))
        >>> y = X[:, 0] + 0.1 * rng.normal(size=60)
        >>> quick = {"recipe": "quick"}  # a good fit takes longer
        >>> regressor = flows.DensityRegressor(settings=quick, members=2).fit(X, y)
        >>> regressor.predict(X).shape, regressor.predict_quantiles(X, [0.1, 0.9]).shape
        ((60,), (60, 2))
    """

    columns: Mapping[str, str] | None
    density_: Density
    n_features_in_: int

    def __init__(
        self,
        model: str | Architecture = "conditional",
        *,
        kind: str = "real",
        random_state: Any = 0,
        **options: Unpack[RegressorOptions],
    ) -> None:
        self.model = model
        self.kind = kind
        self.random_state = random_state
        self.__dict__.update(complete(RegressorOptions, options, "DensityRegressor"))

    def fit(self, X: Any, y: Any) -> DensityRegressor:
        """Fit the density of y given X, and return the regressor.

        Args:
            X: rows, a data frame or an array ``(n, d)``.
            y: the target of each row, numbers ``(n,)``.

        Raises ``ValueError`` for rows or parameters that cannot be fitted.
        """
        if y is None:
            raise UserError("requires y to be passed, but the target y is None")
        if not Field.parse(TARGET, self.kind).is_numeric:
            raise UserError(
                f"kind = {self.kind!r}: a regressor needs a target of numbers; "
                "flows.fit(frame, target=...) takes labels and dates"
            )
        frame, target = self._frame(X, y)
        self.target_ = TARGET
        while self.target_ in map(str, frame.columns):
            self.target_ += "_"
        table = frame.assign(**{self.target_: target})
        kinds = {**(self.columns or {}), self.target_: self.kind}
        self.density_ = self._fit(table, target=self.target_, columns=kinds)
        return self

    def predict(self, X: Any) -> Array:
        """Return the conditional mean of y for each row, ``(n,)``.

        Args:
            X: rows, a data frame or an array ``(n, d)``.

        Raises ``NotFittedError`` before ``fit``.
        """
        return self._predictions(X, QUANTILES)["mean"].to_numpy()

    def predict_quantiles(self, X: Any, quantiles: Sequence[float] = QUANTILES) -> Array:
        """Return conditional quantiles of y for each row, ``(n, L)``.

        Args:
            X: rows, a data frame or an array ``(n, d)``.
            quantiles: the L levels, between 0 and 1.

        Raises ``NotFittedError`` before ``fit``.
        """
        found = self._predictions(X, quantiles)
        return found[[f"q{level:g}" for level in quantiles]].to_numpy()

    def log_prob(self, X: Any, y: Any) -> Array:
        """Return log p(y | X) of each row in nats, ``(n,)``.

        Args:
            X: rows, a data frame or an array ``(n, d)``.
            y: the target of each row, ``(n,)``.

        Raises ``NotFittedError`` before ``fit``.
        """
        check_is_fitted(self)
        frame, _ = self._frame(X)
        return self.density_.log_prob(frame.assign(**{self.target_: column_or_1d(y)}))

    def sample(self, X: Any, n_samples: int = 1, random_state: Any = None) -> Array:
        """Draw targets for each row, ``(n, n_samples)``.

        Args:
            X: rows, a data frame or an array ``(n, d)``.
            n_samples: the number of draws per row.
            random_state: the seed, as in ``DensityEstimator.sample``.

        Raises ``NotFittedError`` before ``fit``.
        """
        check_is_fitted(self)
        frame, _ = self._frame(X)
        repeated = frame.loc[frame.index.repeat(n_samples)]
        drawn = self.density_.sample(given=repeated, seed=seed_of(random_state))
        return drawn[self.target_].to_numpy().reshape(len(frame), n_samples)

    def _predictions(self, X: Any, quantiles: Sequence[float]) -> pd.DataFrame:
        check_is_fitted(self)
        return self.density_.predict(self._frame(X)[0], quantiles=quantiles)

    def _frame(self, X: Any, y: Any = None) -> tuple[pd.DataFrame, Any]:
        """Return X as a data frame whose rows are numbered, and the checked ``y`` of a fit."""
        rows, target = self._checked(X, y, reset=y is not None)
        if not isinstance(rows, pd.DataFrame):
            return pd.DataFrame(rows, columns=default_names(rows.shape[1])), target
        if target is not None and len(target) != len(rows):
            raise UserError(f"X has {counted(len(rows), 'row')} and y {len(target)}")
        return rows.reset_index(drop=True), target
