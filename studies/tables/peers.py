"""What the flows are held against: each takes standardised training rows ``(n, D)`` and gives a function of rows, their log-densities ``(m,)``.

Nobody gets the test rows; who has something to choose, a number of components or when to stop, chooses by training rows that it holds out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from flows import references
from flows.core.arrays import Array
from flows.core.columns import Column
from flows.core.reference import GaussianMixture
from flows.training.smoothing import likelihood_bandwidth
from scipy.stats import cauchy
from sklearn.neighbors import KernelDensity
from torch import Tensor, nn

Density = Callable[[Array], Array]  # log-densities (n,) of rows (n, D); of a population (n, 1 + M),
# the ensemble's and its members'
Fit = Callable[[Array], Density]  # to standardised training rows
COMPONENTS, FOLDS = 24, 3  # of a mixture: most components, and parts of the cross-validation
SMOOTHING = (1.0, 2.0)  # factors of the bandwidth of a vine's pairs
TAIL = 0.01  # share of a Cauchy in a vine's margins: a kernel density ends where its rows do
TRANSFORMS, HIDDEN, RATE, BATCH, PATIENCE, EPOCHS = (
    5,
    (64, 64),
    0.001,
    256,
    20,
    500,
)  # of zuko's flows


def held(train: Array, share: float) -> tuple[Array, Array]:
    """Rows to learn from, and those held out: the last, as the rows are in random order."""
    return tuple(np.split(train, [round((1 - share) * len(train))]))  # type: ignore[return-value]


def simple(fit: Callable[..., GaussianMixture], *, margins: bool = False) -> Fit:
    """One of the pipeline's floors; with ``margins``, behind margins that were made normal first, as the flows have them."""

    def fitted(train: Array) -> Density:
        columns = [Column(f"x{d}") for d in range(train.shape[1])]
        model = references.of_table(columns, train, fit, margins=margins)
        return lambda rows: model.log_prob(rows)[:, 0].numpy()

    return fitted


def mixture(rows: Array, mean: Array, deviation: Array) -> GaussianMixture:
    """Number of components and ridge by cross-validation."""
    components = references.components(COMPONENTS, len(rows))
    return references.fit_gmm(
        rows, mean, deviation, components=components, folds=FOLDS, ridges=references.RIDGES, seed=0
    )


def kernel(train: Array) -> Density:
    """Its bandwidth is the one with the best leave-one-out likelihood."""
    return KernelDensity(bandwidth=likelihood_bandwidth(train)).fit(train).score_samples


def vine(train: Array) -> Density:
    """A vine copula of independent and nonparametric pairs over kernel margins, by pyvinecopulib (Nagler and Czado 2016)::

        log q(x) = log c(F_1(x_1), ..., F_D(x_D)) + sum_d log f_d(x_d)

    How much the pairs are smoothed is chosen by held-out rows.
    """
    from pyvinecopulib.core import FitControlsVinecop, Kde1d, Vinecop
    from pyvinecopulib.families import indep, tll

    def fitted(learned: Array, factor: float) -> Density:
        margins = [Kde1d.from_data(column) for column in learned.T.copy()]

        def mixed(rows: Array, part: str) -> Array:
            own = np.stack(
                [
                    getattr(each, part)(column)
                    for each, column in zip(margins, rows.T.copy(), strict=True)
                ],
                axis=1,
            )
            return np.asfortranarray((1 - TAIL) * own + TAIL * getattr(cauchy, part)(rows))

        controls = FitControlsVinecop(family_set=[indep, tll], nonparametric_mult=factor)
        copula = Vinecop.from_data(mixed(learned, "cdf"), controls)
        return lambda rows: (
            np.log(copula.pdf(mixed(rows, "cdf"))) + np.log(mixed(rows, "pdf")).sum(axis=1)
        )

    learned, held_out = held(train, 0.2)
    return fitted(
        train, max(SMOOTHING, key=lambda factor: fitted(learned, factor)(held_out).mean())
    )


def train_until_best(
    flow: nn.Module,
    optimizer: torch.optim.Optimizer,
    log_q: Callable[[Any], Tensor],
    batches: Callable[[], Iterable[Any]],
    held_out: Any,
    epochs: int,
    patience: int,
) -> None:
    """By maximum likelihood, until so many epochs brought nothing; ``flow`` ends with the weights that were best on rows ``held_out``."""
    best, state, waited = -np.inf, copy.deepcopy(flow.state_dict()), 0
    for _ in range(epochs):
        for batch in batches():
            optimizer.zero_grad()
            (-log_q(batch).mean()).backward()
            optimizer.step()
        with torch.no_grad():
            score, waited = log_q(held_out).mean().item(), waited + 1
        if score > best:
            best, state, waited = score, copy.deepcopy(flow.state_dict()), 0
        if waited == patience:
            break
    flow.load_state_dict(state)


def zuko_flow(name: str) -> Fit:
    """``NSF`` or ``MAF`` of zuko as it is usually trained: Adam, and the weights of the epoch that is best on held-out rows."""

    def fit(train: Array) -> Density:
        import zuko

        torch.manual_seed(0)
        flow = getattr(zuko.flows, name)(
            train.shape[1], transforms=TRANSFORMS, hidden_features=HIDDEN
        )
        learned, held_out = (torch.from_numpy(rows).float() for rows in held(train, 0.1))
        optimizer = torch.optim.Adam(flow.parameters(), RATE)
        train_until_best(
            flow,
            optimizer,
            lambda x: flow().log_prob(x),
            lambda: learned[torch.randperm(len(learned))].split(BATCH),
            held_out,
            EPOCHS,
            PATIENCE,
        )
        return lambda new: flow().log_prob(torch.from_numpy(new).float()).detach().double().numpy()

    return fit


FITS: dict[str, Fit] = {
    **{
        name: simple(partial(references.fit_gaussian, correlated=name == "gaussian"))
        for name in ("independent", "gaussian")
    },
    **{"kernel": kernel, "mixture": simple(mixture), "margins": simple(mixture, margins=True)},
    **{"vine": vine, "zuko_nsf": zuko_flow("NSF"), "zuko_maf": zuko_flow("MAF")},
}
