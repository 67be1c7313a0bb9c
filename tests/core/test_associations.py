"""Associations of columns beside SciPy."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from scipy.stats.contingency import association

from flows.core.associations import associations


def test_associations_are_rank_correlations_ratios_and_cramers_v():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    a, b = rng.integers(0, 3, 200), rng.integers(0, 2, 200)
    b[a == 1] = 1
    values = np.column_stack([x, -x + rng.normal(size=200), a, b])
    pairs = [(0, 1), (2, 3), (0, 2)]
    found = associations(values, [0, 0, 3, 3], pairs)
    assert found[0] == pytest.approx(spearmanr(x, values[:, 1]).statistic)
    table = np.array([[((a == i) & (b == j)).sum() for j in range(2)] for i in range(3)])
    assert found[1] == pytest.approx(association(table, method="cramer"))
    ranks = x.argsort().argsort()
    between = sum((a == i).sum() * (ranks[a == i].mean() - ranks.mean()) ** 2 for i in range(3))
    assert found[2] == pytest.approx(np.sqrt(between / np.square(ranks - ranks.mean()).sum()))


def test_gaps_and_constant_columns_have_no_association_of_their_own():
    values = np.array([[1.0, 5.0], [2.0, 5.0], [np.nan, 5.0], [4.0, 5.0]])
    assert associations(values, [0, 0], [(0, 1)])[0] == 0.0
