"""The group lasso of the automatic recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import flows
from flows.core.settings import TrainingSettings
from flows.networks.to_real import ToReal
from flows.recipe.fold import Fold, Learned
from flows.recipe.fold_trainer import FoldTrainer
from flows.recipe.regularisation import Regularisation, first_layers, shrink

STEPS = 300


def trained(candidates: Sequence[Regularisation]) -> FoldTrainer:
    """Train on columns a, b and c, of which c depends on a only, and b is independent."""
    rng = np.random.default_rng(0)
    a, b, noise = rng.standard_normal((3, 200))
    rows = np.stack([a, b, np.sin(2 * a) + 0.2 * noise], axis=1)
    fold = Fold(Learned(rows, ToReal()), np.where(np.arange(200) % 5, -1, 0), 0)

    def build(members: int) -> Any:
        return flows.build(flows.NSF(couplings=2, hidden=8), (3,), members=members)

    trainer = FoldTrainer(build, [fold], candidates, TrainingSettings())
    trainer.train(STEPS, lambda: None, cool=True)
    return trainer


def test_shrink_is_the_soft_threshold_of_each_columns_norm():
    alone = torch.arange(5).repeat(3, 1)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 4, 5, generator=generator)
    weights[1, :, 2] = 0
    amounts = [0.5, 1.5, 100.0]
    expected = np.zeros(weights.shape)
    for m, amount in enumerate(amounts):
        for column in range(5):
            w = weights[m, :, column].double().numpy()
            if (norm := np.linalg.norm(w)) > amount:
                expected[m, :, column] = w * (norm - amount) / norm
    shrink(weights, torch.tensor(amounts)[:, None].expand(3, 5), alone)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert (weights[2] == 0).all()


def test_weights_in_double_precision_shrink_in_the_same_way():
    weights = torch.full((1, 2, 2), 3.0, dtype=torch.float64)
    shrink(weights, torch.tensor([[0.0, 1.0]]).double(), torch.arange(2)[None])
    size = 3 * np.sqrt(2)
    np.testing.assert_allclose(weights[0, 0].numpy(), [3, 3 * (1 - 1 / size)], rtol=1e-12)


def test_a_group_shrinks_as_a_whole_by_its_root_mean_square():
    weights = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(0))
    groups = torch.tensor([[0, 0, 0, 3, 4]])  # three indicators, and two features alone
    amounts = torch.tensor([[0.5, 0.5, 0.5, 0.0, 100.0]])
    before = weights.clone().double().numpy()[0]
    shrink(weights, amounts, groups)
    size = np.sqrt((before[:, :3] ** 2).sum() / 3)
    expected = before * [1 - 0.5 / size, 1 - 0.5 / size, 1 - 0.5 / size, 1, 0]
    np.testing.assert_allclose(weights.numpy()[0], expected, rtol=1e-5, atol=1e-6)


def test_the_lasso_removes_an_irrelevant_feature():
    trainer = trained([Regularisation("margins", 0.35, lasso=2.0)])
    first, *_ = first_layers(trainer.population)  # from a and b to c
    relevant, irrelevant = first[0].T
    assert (irrelevant == 0).all()
    assert relevant.norm() > 0.1
