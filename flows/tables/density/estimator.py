"""The density of a table as a scikit-learn estimator, for pipelines and parameter searches."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral
from typing import Any, Unpack

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import Tags, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from flows.core.arrays import Array, plain
from flows.core.errors import UserError
from flows.networks.architecture import Architecture
from flows.tables.columns.notices import Notice, warn
from flows.tables.columns.options import (
    DensityOptions,
    FitOptions,
    Missing,
    complete,
    options_of,
    resolve,
    spelled_out,
)
from flows.tables.columns.parsing import from_user
from flows.tables.density.fitting import fit_table
from flows.tables.density.frame_density import Density
from flows.tables.fitting.fit_request import FitRequest


class TableEstimator(BaseEstimator):
    """What ``DensityEstimator`` and ``DensityRegressor`` share.

    A subclass sets these parameters and the options of a fit, which its docstring describes.
    """

    model: Any
    random_state: Any
    missing: Missing
    settings: Mapping[str, Any] | None
    _names: list[Any] | None  # the columns of the fitted data frame; ``None`` after an array

    def _fit(self, rows: Any, **others: Any) -> Density:
        """Return the fit of ``flows.fit`` with these parameters and ``others``."""
        known, own = options_of(FitOptions), self.get_params(deep=False)
        options = {name: plain(value) for name, value in own.items() if name in known}
        settings = {name: plain(value) for name, value in (self.settings or {}).items()}
        options |= {"settings": settings, "seed": seed_of(self.random_state), **others}
        try:
            request = FitRequest.of(self.model, resolve(FitOptions, options, "fit"))
        except LookupError as error:  # no such model
            raise UserError(error.args[0]) from None
        read = partial(from_user, rows, request.columns, request.na)
        return fit_table(read, request, on_notices=self._say)

    def _say(self, notices: Sequence[Notice]) -> None:
        """Warn of the notices that neither this estimator nor its clones have said.

        Notices that differ only in numbers, as those of other folds do, are the same.
        """
        said, new = self.__dict__.setdefault("_said", set()), list[Notice]()
        for notice in notices:
            key = notice.column, re.sub(r"[\d.,]*\d", "#", notice.problem)
            if key not in said:
                said.add(key)
                new.append(notice)
        warn(new)

    def __sklearn_clone__(self) -> Any:
        """Return a clone, which shares with this estimator what was said."""
        clone = super().__sklearn_clone__()
        clone.__dict__["_said"] = self.__dict__.setdefault("_said", set())
        return clone

    def _checked(self, X: Any, y: Any = None, *, reset: bool) -> tuple[Any, Any]:
        """Return a data frame, or a checked array for a fit to an array; and ``y``.

        After a fit to an array, a data frame is read by position, and becomes an array. After a
        fit to a data frame, an array ``(n, d)`` is read by position, too, and its columns get the
        names of that frame.

        Args:
            X: the rows.
            y: the targets of a fit; ``None`` for none.
            reset: whether to store the number and the names of the columns.

        Raises ``ValueError`` for another number of columns than in the fit.
        """
        if reset:
            self._names = [*X.columns] if isinstance(X, pd.DataFrame) else None
        if isinstance(X, pd.DataFrame) and self._names is not None:
            if reset:
                validate_data(self, X, skip_check_array=True)
            return X, y if y is None else column_or_1d(y, warn=True)
        # An array in place of a frame may hold labels
        how: Any = {"dtype": np.float64 if self._names is None else None, "reset": reset}
        how["ensure_min_samples"] = 2 if reset else 1  # ``flows.fit`` names the number it needs
        how["ensure_all_finite"] = "allow-nan" if self._takes_gaps() else True
        if y is None:
            rows = validate_data(self, X, **how)
            return rows if self._names is None else pd.DataFrame(rows, columns=self._names), None
        return validate_data(self, X, y, y_numeric=True, **how)

    def _takes_gaps(self) -> bool:
        return self.missing != "stop"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._takes_gaps()
        return tags


@spelled_out
class DensityEstimator(DensityMixin, TableEstimator):
    """A scikit-learn estimator of the density of a table, fitted with ``flows.fit``.

    Columns of a data frame are found by name, in any order, and samples are data frames. Columns of
    an array are called ``x0``, ``x1`` and so on and are found by position; samples are arrays.

    Args:
        model: an architecture of tables, such as ``flows.NSF(couplings=4)``, or its name, as in
            ``flows.fit``.
        random_state: the seed of all random numbers: a whole number, or any ``random_state`` of
            scikit-learn.
        **options: options of ``flows.fit`` (``tables/columns/options.py``, ``DensityOptions``).

    After ``fit``, ``density_`` is the fitted ``Density``, ``n_features_in_`` the number of columns,
    and ``feature_names_in_`` the column names of a data frame. Pickles are meant for processes of
    the same program; ``density_.save`` writes a file to keep.

    Examples:
        >>> import numpy as np
        >>> import flows
        >>> rows = np.random.default_rng(0).normal(size=(60, 2))
        >>> small = flows.NSF(couplings=2, hidden=4)
        >>> quick = {"recipe": "quick"}  # a good fit takes longer
        >>> estimator = flows.DensityEstimator(small, settings=quick).fit(rows)
        >>> estimator.score_samples(rows).shape
        (60,)
        >>> estimator.sample(5).shape
        (5, 2)
    """

    density_: Density
    n_features_in_: int

    def __init__(
        self,
        model: str | Architecture = "nsf",
        *,
        random_state: Any = 0,
        **options: Unpack[DensityOptions],
    ) -> None:
        self.model = model
        self.random_state = random_state
        self.__dict__.update(complete(DensityOptions, options, "DensityEstimator"))

    def fit(self, X: Any, y: Any = None) -> DensityEstimator:
        """Fit the density of the rows, and return the estimator.

        Args:
            X: rows, a data frame or an array ``(n, D)``.
            y: ignored.

        Raises ``ValueError`` for rows or parameters that cannot be fitted.
        """
        self.density_ = self._fit(self._checked(X, reset=True)[0])
        return self

    def score_samples(self, X: Any) -> Array:
        """Return the log-density of each row in nats, ``(n,)``.

        The density is per unit of each column.

        Args:
            X: rows, a data frame or an array ``(n, D)``.

        Raises ``NotFittedError`` before ``fit``.
        """
        check_is_fitted(self)
        return self.density_.log_prob(self._checked(X, reset=False)[0])

    def score(self, X: Any, y: Any = None) -> float:
        """Return the log-likelihood of the rows in nats, the sum of ``score_samples``.

        Args:
            X: rows, a data frame or an array ``(n, D)``.
            y: ignored.

        Raises ``NotFittedError`` before ``fit``.
        """
        return float(self.score_samples(X).sum())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows: an array ``(n_samples, D)``, or a data frame after a fit to a data frame.

        Args:
            n_samples: the number of rows.
            random_state: the seed. A number gives the same rows at every call; ``None`` draws the
                seed from the global generator of NumPy, as in scikit-learn.

        Raises ``NotFittedError`` before ``fit``.
        """
        check_is_fitted(self)
        drawn = self.density_.sample(n_samples, seed_of(random_state))
        return drawn if hasattr(self, "feature_names_in_") else drawn.to_numpy()


def seed_of(random_state: Any) -> int:
    """Return a whole number unchanged, or draw one from a random state of scikit-learn."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
