"""Adversarial random forests as a density, with arfpy (Watson et al. 2023).

A forest learns to tell the rows from synthetic rows, until it cannot. Its leaves then hold columns
that are about independent. The density of the paper, over T trees::

    q(x) = 1/T sum_t  c_l prod_d TN(x_d; m_ld, s_ld, a_ld, b_ld),    l = the leaf of x in tree t

c_l is the share of the training rows in leaf l. TN is a normal with the mean and the standard
deviation of these rows, truncated to the bounds of the leaf. arfpy fits the parameters, and has no
function for the density. If the n rows of a leaf have equal values, arfpy has a deviation of 0; the
authors' R package then uses sqrt(2 / n) times the deviation of a normal with 95% of its mass
between the bounds, and so does this module.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.stats import norm, truncnorm

from flows.core.arrays import Array

# arfpy's default is 30, for samples; the authors recommend more trees for likelihoods
TREES = 100
SMALLEST = 1e-9  # a smaller deviation is due to rounding


def fit(train: Array, trees: int = TREES) -> Callable[[Array], Array]:
    """Fit a forest to rows ``(n, D)``; return the function of their log-densities."""
    from arfpy import arf

    names = [f"x{d}" for d in range(train.shape[1])]
    np.random.seed(0)  # noqa: NPY002 (arfpy draws from the global stream)
    # arfpy 0.1.1 uses a function that NumPy 2.4 no longer has
    with mock.patch.object(np, "in1d", np.isin, create=True):
        frame = pd.DataFrame(train, columns=names)
        model = arf.arf(frame, num_trees=trees, verbose=False, random_state=0)
    columns = model.forde()["cnt"].set_index(["tree", "nodeid", "variable"])
    leaves = model.bnds.drop_duplicates(["tree", "nodeid"]).set_index(["tree", "nodeid"])["cvg"]
    # (number of leaves, D) each
    mean, deviation, low, high = (
        columns[name].unstack("variable").loc[leaves.index, names].to_numpy()
        for name in ("mean", "sd", "min", "max")
    )
    share = leaves.to_numpy()
    width = np.minimum(high, train.max(axis=0)) - np.maximum(low, train.min(axis=0))
    prior = np.sqrt(2 / (share * len(train)))[:, None] * width / (2 * norm.ppf(0.975))
    deviation = np.where(deviation > SMALLEST, deviation, prior)

    def log_q(rows: Array) -> Array:
        leaf_of = model.clf.apply(pd.DataFrame(rows, columns=names))
        terms = np.empty(leaf_of.shape)
        for tree, nodes in enumerate(leaf_of.T):
            own = leaves.index.get_indexer(pd.MultiIndex.from_product([[tree], nodes]))
            m, s = mean[own], deviation[own]
            bounds = (low[own] - m) / s, (high[own] - m) / s
            terms[:, tree] = np.log(share[own]) + truncnorm.logpdf(rows, *bounds, m, s).sum(axis=1)
        return logsumexp(terms, axis=1) - np.log(trees)

    return log_q
