"""The density estimators that the flows are compared with.

Each takes standardised training rows ``(n, D)`` and returns a function that takes rows ``(m, D)``
and returns their log-densities ``(m,)``. No fit uses the test rows: the number of components, the
last epoch and other settings are chosen on held-out training rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import cauchy
from sklearn.neighbors import KernelDensity
from torch import Tensor, nn

from flows.core.arrays import Array
from flows.mixtures import fitting
from flows.mixtures.bandwidth import likelihood_bandwidth
from flows.mixtures.gaussian_mixture import GaussianMixture
from flows.mixtures.mixture import Mixture
from studies.tables import adversarial_forest

# Log-densities (n,) of rows (n, D); for a population (n, 1 + M): of the ensemble and its M members.
Density = Callable[[Array], Array]
Fit = Callable[[Array], Density]  # takes standardised training rows
COMPONENTS, FOLDS = 24, 3  # for a mixture: most components, and folds of the cross-validation
SMOOTHING = (1.0, 2.0)  # factors of the bandwidth of a vine's pairs
TAIL = 0.01  # share of a Cauchy in a vine's margins: a kernel density alone has no far tails
NONPARAMETRIC = ("indep", "tll")  # families of a vine's pairs
ONE_PARAMETER = ("gaussian", "student", "clayton", "gumbel", "frank", "joe")  # two for Student's t
# For networks that stop early:
RATE, BATCH, EPOCHS, PATIENCE = 0.001, 256, 500, 20
TRANSFORMS, HIDDEN = 5, (64, 64)  # of zuko's flows
UNITS = 64  # per layer of a circuit
# The usual batch and patience are too few steps for a circuit on few rows
CIRCUIT_RATE, CIRCUIT_BATCH, CIRCUIT_PATIENCE = 0.01, 64, 40


def held(train: Array, share: float) -> tuple[Array, Array]:
    """Return the rows to train on and the last rows, held out; rows are in random order."""
    return tuple(np.split(train, [round((1 - share) * len(train))]))  # type: ignore[return-value]


def simple(fit: Callable[[Array], Mixture], train: Array, *, margins: bool = False) -> Density:
    """Fit one of the pipeline's reference models.

    With ``margins``, every column is first mapped to about a standard normal, as for the flows.
    """
    model = GaussianMixture.fit(fit, train, margins=margins)
    return lambda rows: model.log_prob(rows)[:, 0].numpy()


def mixture(rows: Array) -> Mixture:
    """Fit a Gaussian mixture; cross-validation chooses the number of components and the ridge."""
    counts = fitting.components(COMPONENTS, len(rows))
    return fitting.fit_gmm(rows, components=counts, folds=FOLDS, ridges=fitting.RIDGES, seed=0)


def kernel(train: Array) -> Density:
    """Fit a kernel density with the bandwidth of the best leave-one-out likelihood."""
    return KernelDensity(bandwidth=likelihood_bandwidth(train)).fit(train).score_samples


def vine(train: Array, families: Sequence[str] = NONPARAMETRIC) -> Density:
    """Fit a vine copula with pyvinecopulib (Nagler and Czado 2016)::

        log q(x) = log c(F_1(x_1), ..., F_D(x_D)) + sum_d log f_d(x_d)

    Every pair has the family with the best information criterion (AIC), and the margins are kernel
    densities. The smoothing of nonparametric pairs is chosen on held-out rows, by vines without
    other pairs.

    Args:
        train: standardised training rows ``(n, D)``.
        families: the names of the families to choose from.
    """
    from pyvinecopulib import families as known
    from pyvinecopulib.core import FitControlsVinecop, Kde1d, Vinecop

    def fitted(learned: Array, factor: float, names: Sequence[str]) -> Density:
        margins = [Kde1d.from_data(column) for column in learned.T.copy()]

        def mixed(rows: Array, part: str) -> Array:
            pairs = zip(margins, rows.T.copy(), strict=True)
            own = np.stack([getattr(margin, part)(column) for margin, column in pairs], axis=1)
            return np.asfortranarray((1 - TAIL) * own + TAIL * getattr(cauchy, part)(rows))

        family_set = [getattr(known, name) for name in names]
        controls = FitControlsVinecop(family_set=family_set, nonparametric_mult=factor)
        copula = Vinecop.from_data(mixed(learned, "cdf"), controls)

        def log_q(rows: Array) -> Array:
            log_copula = np.log(copula.pdf(mixed(rows, "cdf")))
            return log_copula + np.log(mixed(rows, "pdf")).sum(axis=1)

        return log_q

    learned, held_out = held(train, 0.2)
    best = max(
        SMOOTHING, key=lambda factor: fitted(learned, factor, NONPARAMETRIC)(held_out).mean()
    )
    return fitted(train, best, families)


def train_until_best(
    flow: nn.Module,
    optimizer: torch.optim.Optimizer,
    log_q: Callable[[Any], Tensor],
    batches: Callable[[], Iterable[Any]],
    held_out: Any,
    epochs: int,
    patience: int,
) -> None:
    """Train by maximum likelihood until ``patience`` epochs in a row bring no improvement.

    ``flow`` then has the weights of the epoch with the best score on the rows ``held_out``.
    """
    best, state, waited = -np.inf, copy.deepcopy(flow.state_dict()), 0
    for _ in range(epochs):
        for batch in batches():
            optimizer.zero_grad()
            (-log_q(batch).mean()).backward()
            optimizer.step()
        with torch.no_grad():
            score = log_q(held_out).mean().item()
        waited += 1
        if score > best:
            best, state, waited = score, copy.deepcopy(flow.state_dict()), 0
        if waited == patience:
            break
    flow.load_state_dict(state)


def early_stopped(
    network: nn.Module,
    log_q: Callable[[Tensor], Tensor],
    train: Array,
    *,
    rate: float = RATE,
    batch: int = BATCH,
    patience: int = PATIENCE,
) -> Density:
    """Train a network with Adam, and stop by the score of a held-out tenth of the rows.

    The network keeps the weights of the best epoch.

    Args:
        network: the network to train.
        log_q: its log-densities ``(n,)`` of rows ``(n, D)`` in single precision.
        train: standardised training rows ``(n, D)``.
        rate: the learning rate.
        batch: the largest number of rows per step.
        patience: the number of epochs without a better score after which training ends.
    """
    learned, held_out = (torch.from_numpy(rows).float() for rows in held(train, 0.1))
    optimizer = torch.optim.Adam(network.parameters(), rate)

    def batches() -> Iterable[Tensor]:
        return learned[torch.randperm(len(learned))].split(batch)

    train_until_best(network, optimizer, log_q, batches, held_out, EPOCHS, patience)
    return lambda rows: log_q(torch.from_numpy(rows).float()).detach().double().numpy()


def zuko_flow(name: str, train: Array) -> Density:
    """Fit zuko's ``NSF`` or ``MAF``, with early stopping."""
    import zuko

    torch.manual_seed(0)
    build = getattr(zuko.flows, name)
    flow = build(train.shape[1], transforms=TRANSFORMS, hidden_features=HIDDEN)
    return early_stopped(flow, lambda x: flow().log_prob(x), train)


def circuit(train: Array) -> Density:
    """Fit a probabilistic circuit with libcirkit, with early stopping.

    The circuit is a hidden Chow-Liu tree (Liu and Van den Broeck 2021): the tree of columns is
    learned from the rows, and each node of the tree has a hidden variable with ``UNITS`` states.
    The inputs are Gaussian.
    """
    from cirkit.pipeline import compile as compiled
    from cirkit.templates.data_modalities import tabular_data

    torch.manual_seed(0)
    symbolic = tabular_data(
        "chow-liu-tree",
        data=torch.from_numpy(train).float(),
        input_layers={"name": "gaussian", "args": {}},
        num_input_units=UNITS,
        sum_product_layer="cp",
        num_sum_units=UNITS,
    )
    network = compiled(symbolic)
    return early_stopped(
        network,
        lambda x: network(x).reshape(len(x)),
        train,
        rate=CIRCUIT_RATE,
        batch=CIRCUIT_BATCH,
        patience=CIRCUIT_PATIENCE,
    )


FITS: dict[str, Fit] = {
    "independent": partial(simple, partial(fitting.fit_gaussian, correlated=False)),
    "gaussian": partial(simple, partial(fitting.fit_gaussian, correlated=True)),
    "kernel": kernel,
    "mixture": partial(simple, mixture),
    "margins": partial(simple, mixture, margins=True),
    "vine": vine,
    "vine_families": partial(vine, families=(*NONPARAMETRIC, *ONE_PARAMETER)),
    "arf": adversarial_forest.fit,
    "circuit": circuit,
    "zuko_nsf": partial(zuko_flow, "NSF"),
    "zuko_maf": partial(zuko_flow, "MAF"),
}
