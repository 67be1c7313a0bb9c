"""A mixture as a model: a known true density, a reference, a member of an ensemble, or a filler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from flows.core.arrays import Array, Shape, Whole, as_points, as_rows, as_tensor
from flows.core.rows import Rows, codes_of
from flows.core.seeds import generator_of
from flows.core.settings import Recipe
from flows.mixtures.fitting import fit_filler
from flows.mixtures.mixture import Mixture
from flows.networks.densities import Along, Description
from flows.networks.lines import Lines
from flows.networks.population import Population
from flows.networks.preprocessing import Preprocessing
from flows.networks.to_real import ToReal

GAUSSIANS = ("weights", "means", "covariances")


class GaussianMixture(Population):
    """A mixture of K Gaussians in D dimensions, as a population with one member.

    ``flows.Mixture`` has the formulas. A kernel density has one component per training point.

    If the mixture has ``shares``, rows have C columns of labels beside the D numbers. Like a flow
    with a context, the population is then the density of the numbers x given the labels c::

        p(x | c) = p(x, c) / p(c)

    ``score`` returns the joint log-density of whole rows, and ``draw`` draws them.

    Args:
        weights: the weights ``(K,)``, above 0, which sum to 1.
        means: the means ``(K, D)``.
        covariances: the covariances ``(K, D, D)``, symmetric and positive definite.
        preprocessing: a map of the numbers from the user's units to the units of the mixture;
            ``None`` if these are equal.
        shares: for each column of L labels, their probabilities given the component, ``(K, L)``.

    The arrays are kept in float64. The attribute ``mixture`` is the ``flows.Mixture`` of points
    after the preprocessing. Raises ``ValueError`` if the arrays do not describe a mixture.

    Examples:
        >>> import flows, numpy as np
        >>> model = flows.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], np.ones((2, 1, 1)))
        >>> round(float(model.log_prob([[0.0]])), 4)  # one point, one member
        -1.4189
    """

    scores_gaps = True
    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __init__(
        self,
        weights: Any,
        means: Any,
        covariances: Any,
        preprocessing: Preprocessing | None = None,
        *,
        shares: Sequence[Any] = (),
    ) -> None:
        given = weights, means, covariances, *shares
        own = [as_tensor(each).detach().double().numpy().copy() for each in given]
        arrays, of_labels = dict(zip(GAUSSIANS, own, strict=False)), own[len(GAUSSIANS) :]
        self.mixture = Mixture(**arrays, shares=of_labels)
        to_real = ToReal() if preprocessing is None else preprocessing.to_real
        description: Description = {"model": "mixture", **to_real.description}
        super().__init__(1, self.mixture.means.shape[1:], description)
        self.preprocessing = preprocessing
        arrays |= {f"shares_{j}": share for j, share in enumerate(of_labels)}
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array))

    @classmethod
    def of(
        cls,
        mixture: Mixture,
        preprocessing: Preprocessing | None = None,
    ) -> GaussianMixture:
        """Return ``mixture`` as a model.

        Args:
            mixture: the density of numbers after the preprocessing, and of codes of labels.
            preprocessing: a map of the numbers from the user's units to the units of the mixture;
                ``None`` if these are equal.
        """
        own = mixture.weights, mixture.means, mixture.covariances
        return cls(*own, preprocessing, shares=mixture.shares)

    @classmethod
    def fit(
        cls,
        method: Callable[[Array], Mixture],
        rows: Array,
        to_real: ToReal | None = None,
        *,
        margins: bool = False,
    ) -> GaussianMixture:
        """Fit a mixture to the rows of a data set, as a model in the user's units.

        Args:
            method: fits a mixture to rows ``(n, D)``, such as ``flows.mixtures.fitting.fit_kde``
                with its settings.
            rows: the training rows ``(n, D)`` in the user's units. ``method`` gets scaled rows.
            to_real: the map from the user's units to the real line; ``None`` for the identity.
            margins: whether every column is first mapped to an approximate standard normal.

        Raises ``ValueError``, which names the column, if a column is constant.
        """
        preprocessing = Preprocessing(rows.shape[1:], 1, to_real)
        if margins:
            preprocessing.add_margins()
        preprocessing.fit(rows[:, None], margins=margins)
        z = preprocessing(as_points(rows))[0]
        return cls.of(method(np.ascontiguousarray(as_rows(z))), preprocessing)

    @classmethod
    def fit_filler(
        cls,
        rows: Array,
        to_real: ToReal,
        labels: int = 0,
        *,
        recipe: Recipe | None = None,
        noise: Generator | None = None,
    ) -> GaussianMixture:
        """Fit the mixture that fills gaps to rows with gaps, as a model in the user's units.

        Args:
            rows: rows ``(n, C + D)`` in the user's units with codes of labels, ``NaN`` in gaps.
            to_real: the map of all columns to the real line.
            labels: the number of columns of labels C, which come first.
            recipe: the numbers of the fit.
            noise: spreads rounded numbers over their cells; ``None`` if they are spread already.
        """
        x, sizes, preprocessing = rows[:, labels:], to_real.label_counts[:labels], None
        if x.shape[1]:
            own = to_real.part(range(labels, rows.shape[1])) if labels else to_real
            if noise is not None:
                x = own.spread(x, noise.uniform(-0.5, 0.5, x.shape))
            preprocessing = Preprocessing(x.shape[1:], 1, own)
            preprocessing.fit_scaler(x[:, None])
            x = preprocessing.scale(x[:, None])[:, 0]
        learned = Rows(x, codes_of(rows[:, :labels], sizes), tuple(sizes))
        return cls.of(fit_filler(learned, recipe or Recipe()), preprocessing)

    def mapped(self, rows: Array) -> tuple[Rows, Array]:
        """Return the numbers of rows after the preprocessing, the codes, and log dz/dx.

        The log-slopes are those of the known numbers, ``(n, D)``.

        Args:
            rows: whole rows ``(n, C + D)`` in the user's units, ``NaN`` in gaps.
        """
        z, sizes = rows[:, self.context :], self.mixture.sizes
        slopes = np.zeros(z.shape)
        if self.preprocessing is not None:
            z, slopes = self.preprocessing.map_known(z)
        return Rows(z, codes_of(rows[:, : self.context], sizes), sizes), slopes

    def joined(self, rows: Rows) -> Array:
        """Return whole rows ``(n, C + D)`` in the user's units.

        Args:
            rows: complete rows, as ``mapped`` returns them.
        """
        x = rows.numbers
        if self.preprocessing is not None:
            x = as_rows(self.preprocessing.inverse(as_points(x))[0])
        return np.column_stack([rows.codes, x])

    def draw_missing(self, rows: Array, generator: Generator) -> tuple[Array, Array]:
        """Return rows with draws in their gaps, given the known values of each row.

        Also return the log-densities of the draws, in the user's units, ``(n,)``.

        Args:
            rows: whole rows ``(n, C + D)`` in the user's units, ``NaN`` in gaps.
            generator: the source of the draws.
        """
        unknown = np.isnan(rows)
        drawn, log_r = self.mixture.draw_missing(self.mapped(rows)[0], generator)
        if self.preprocessing is not None:
            slopes = as_rows(self.preprocessing.log_slopes(as_points(drawn.numbers)))
            log_r += (unknown[:, self.context :] * slopes).sum(axis=1)
        return np.where(unknown, self.joined(drawn), rows), log_r

    @property
    def context(self) -> int:
        return len(self.mixture.shares)

    @property
    def network_count(self) -> int:
        return 0

    @property
    def to_real(self) -> ToReal:
        return ToReal() if self.preprocessing is None else self.preprocessing.to_real

    @torch.no_grad()
    def log_prob(self, value: Any, context: Any = None) -> Tensor:
        """Return log-densities ``(n, 1)`` in nats, without gradients.

        The log-density of a point with gaps (``NaN``) is the log-density of its known values.

        Args:
            value: points in the user's units, ``(n, D)`` or ``(n, 1, D)``.
            context: the codes of the labels, ``(n, C)`` or ``(n, 1, C)``, if there are labels.
        """
        value = self.points(value).double()
        codes, log_labels = None, np.zeros(1)
        self.check_context(context)
        if self.context:
            given = self.points(context, "context", (self.context,)).double()
            leading = torch.broadcast_shapes(value.shape[:-1], given.shape[:-1])
            value = value.expand(*leading, -1)
            codes = self._codes(given.expand(*leading, -1))
            log_labels = self.mixture.log_labels(codes)
        x, log_det = value.flatten(0, -2), np.zeros(1)
        if self.preprocessing is None:
            z = x.numpy()
        elif x.isnan().any():
            z, slopes = self.preprocessing.map_known(x.numpy())
            log_det = np.nansum(slopes, axis=1)
        else:
            points, of_points = self.preprocessing(x.T[None])
            z, log_det = as_rows(points), of_points[0].numpy()
        log_q = self.mixture.log_prob(z, codes) + log_det - log_labels
        return torch.from_numpy(log_q).reshape(value.shape[:-1])

    def score_chunk(self, rows: Any) -> Array:
        """Return the joint log-densities of the known numbers and labels of rows, ``(n, 1)``.

        Args:
            rows: whole rows in the user's units, ``(n, C + D)`` or ``(n, 1, C + D)``, with codes
                of labels, ``NaN`` in gaps.
        """
        if not self.context:
            return super().score_chunk(rows)
        mapped, slopes = self.mapped(np.asarray(rows, np.float64).reshape(-1, *self.row_shape))
        log_q = self.mixture.log_prob(mapped.numbers, mapped.codes)
        return np.asarray(log_q + np.nansum(slopes, axis=1))[:, None]

    @torch.no_grad()
    def along(self, rows: Array, columns: Whole) -> Along:
        codes = codes_of(rows[:, : self.context], self.mixture.sizes)
        numbers, places = rows[:, self.context :], columns - self.context
        lines, log_det = None, np.zeros(len(rows))
        if self.preprocessing is not None:
            try:
                lines = Lines(self.preprocessing, numbers, places)
            except NotImplementedError:
                return super().along(rows, columns)
            numbers, log_det = as_rows(lines.z), lines.log_det[0].numpy()
        normals = self.mixture.along(numbers, places, codes)

        def log_q(own: Whole, x: Array) -> Array:
            if lines is None:
                return normals(own, x)[..., None]
            z, log_slope = (each[0].numpy() for each in lines.at(own, x))
            return (normals(own, z) + log_slope + log_det[own, None])[..., None]

        return log_q

    def along_given(self, rows: Array, columns: Whole) -> Along:
        joint = self.along(rows, columns)
        codes = codes_of(rows[:, : self.context], self.mixture.sizes)
        log_labels = self.mixture.log_labels(codes)
        return lambda own, x: joint(own, x) - log_labels[own, None, None]

    def score_given(self, rows: Array) -> Array:
        points = self.points(rows, shape=self.row_shape)
        return self.log_prob(points[..., self.context :], points[..., : self.context]).numpy()

    @torch.no_grad()
    def sample(
        self, sample_shape: Shape = (), generator: Generator | None = None, context: Any = None
    ) -> Tensor:
        """Draw points ``sample_shape + (1, D)``.

        With labels, they are ``sample_shape + (n, 1, D)``.

        Args:
            sample_shape: the number of independent points, or several sizes.
            generator: the source of the draws.
            context: the codes of the labels ``(n, C)``, if there are labels.
        """
        shape, rng = torch.Size(sample_shape), generator_of(generator)
        self.check_context(context)
        if self.context:
            codes = self._codes(self.points(context, "context", (self.context,)))
            numbers = self.mixture.sample_numbers(np.tile(codes, (shape.numel(), 1)), rng)
            shape = torch.Size([*shape, len(codes)])
        else:
            numbers = self.mixture.sample(shape.numel(), rng)
        z = torch.from_numpy(numbers)[None].mT
        if self.preprocessing is not None:
            z = self.preprocessing.restore(z)
        return self.rows_first(z, shape)

    def draw_given(self, context: Array, generator: Generator, *, is_rounded: bool = True) -> Array:
        codes = codes_of(context[:, 0], self.mixture.sizes)
        z = as_points(self.mixture.sample_numbers(codes, generator))
        if self.preprocessing is not None:
            of_sample = self.preprocessing.restore
            z = of_sample(z) if is_rounded else self.preprocessing.inverse(z)[0]
        return as_rows(z)[:, None]

    def draw(self, n: int, generator: Generator) -> Array:
        """Draw whole rows, ``(n, 1, C + D)``, as ``sample_rows``.

        Args:
            n: the number of rows.
            generator: the source of the draws.
        """
        if not self.context:
            return super().draw(n, generator)
        return self.sample_rows(n, generator)[:, None]

    def sample_rows(self, n: int, generator: Generator) -> Array:
        """Draw whole rows in the user's units, ``(n, C + D)``, not rounded.

        Args:
            n: the number of rows.
            generator: the source of the draws.
        """
        return self.joined(self.mixture.sample_rows(n, generator))

    def _codes(self, context: Tensor) -> Whole:
        """Return the codes ``(n, C)`` of contexts ``(..., C)``."""
        return codes_of(context.double().flatten(0, -2).numpy(), self.mixture.sizes)

    @classmethod
    def with_state(cls, to_real: ToReal, state: Mapping[str, Tensor]) -> GaussianMixture:
        """Return the mixture with the tensors ``state``.

        Args:
            to_real: the map of the numbers from the user's units to the real line.
            state: the tensors, by name.
        """
        count = sum(name.startswith("shares_") for name in state)
        shares = [state[f"shares_{j}"] for j in range(count)]
        preprocessing = None
        if "preprocessing.standardize.mean" in state:
            preprocessing = Preprocessing(state["means"].shape[1:], 1, to_real)
        own = {name: state[name] for name in GAUSSIANS}
        model = cls(**own, preprocessing=preprocessing, shares=shares)
        model.load_state_dict(state)
        return model.eval()

    def extra_repr(self) -> str:
        labels = f", labels={self.context}" if self.context else ""
        return f"components={len(self.weights)}, dim={self.event_shape[0]}{labels}"


def context_filler(
    contexts: Array, to_real: ToReal, seed: int, recipe: Recipe | None = None
) -> GaussianMixture:
    """Fit the distribution of contexts, from which their gaps are drawn.

    Args:
        contexts: the contexts ``(n, d)`` in the user's units, labels first, ``NaN`` in gaps.
        to_real: the map of whole rows to the real line.
        seed: the seed of the noise of rounded numbers.
        recipe: the numbers of the fit.
    """
    own = to_real.part(range(contexts.shape[1]))
    labels = sum(count > 0 for count in own.label_counts)
    noise = np.random.default_rng(seed)
    return GaussianMixture.fit_filler(contexts, own, labels, recipe=recipe, noise=noise)
