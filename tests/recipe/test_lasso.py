"""The group lasso of the automatic recipe."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import flows
from flows.core.settings import Recipe, TrainingSettings
from flows.density.description import words_of
from flows.networks.to_real import ToReal
from flows.recipe.fold import Fold
from flows.recipe.fold_trainer import FoldTrainer
from flows.recipe.lasso import first_layers, shrink
from flows.recipe.regularisation import Regularisation

STEPS = 300


def _build(architecture: flows.Architecture, members: int, dim: int = 3, context: int = 0) -> Any:
    return flows.build(architecture, (dim,), members=members, context=context)


def trained(candidates: Sequence[Regularisation]) -> FoldTrainer:
    """Train on columns a, b and c, of which c depends on a only, and b is independent."""
    rng = np.random.default_rng(0)
    a, b, noise = rng.standard_normal((3, 200))
    rows = np.stack([a, b, np.sin(2 * a) + 0.2 * noise], axis=1)
    fold = Fold(rows, np.where(np.arange(200) % 5, -1, 0), 0, ToReal())
    build = partial(_build, flows.NSF(couplings=2, hidden=8))
    trainer = FoldTrainer(build, [fold], candidates, TrainingSettings())
    trainer.train(STEPS, lambda: None, cool=True)
    return trainer


def test_shrink_is_the_soft_threshold_of_each_columns_norm():
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
    shrink(weights, torch.tensor(amounts))
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert (weights[2] == 0).all()


def test_shrink_changes_only_members_with_an_amount():
    weights = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    weights[0, :, 1] = 0
    before = weights.clone()
    shrink(weights, torch.tensor([0.0, 0.1]))
    assert torch.equal(weights[0], before[0])
    assert (weights[1] != before[1]).any()


def test_first_layers_are_views_of_the_parameters():
    population = flows.build(flows.NSF(couplings=2, hidden=8), (3,), members=2)
    flat = population.flatten()
    layers = first_layers(population)
    assert [layer.shape for layer in layers] == [(2, 8, 2), (2, 8, 1)]
    for layer in layers:
        layer.zero_()
    assert (flat == 0).sum() >= sum(layer.numel() for layer in layers)
    assert all((layer == 0).all() for layer in first_layers(population))


def test_the_lasso_removes_an_irrelevant_feature():
    trainer = trained([Regularisation("margins", 0.35, lasso=2.0)])
    first, *_ = first_layers(trainer.population)  # from a and b to c
    relevant, irrelevant = first[0].T
    assert (irrelevant == 0).all()
    assert relevant.norm() > 0.1


def test_a_member_without_a_lasso_is_unchanged_by_the_lasso_of_another():
    plain = Regularisation("margins", 0.35)
    other = Regularisation("margins", 0.5)
    alone = trained([plain, other]).optimizer.parameters
    beside = trained([plain, Regularisation("margins", 0.5, lasso=1.0)])
    assert torch.equal(alone[0], beside.optimizer.parameters[0])
    assert not torch.equal(alone[1], beside.optimizer.parameters[1])


@pytest.mark.parametrize(
    ("lasso", "text"),
    [(0.0, "raw, noise 0.5"), (2.0, "raw, noise 0.5, lasso 2")],
)
def test_the_record_of_a_member_names_the_strength_of_the_lasso(lasso: float, text: str):
    settings = Regularisation("raw", 0.5, lasso).settings
    assert words_of(settings) == text


def test_networks_of_a_target_learn_faster():
    """The first step of Adam moves a parameter by the learning rate."""
    rows = np.random.default_rng(0).standard_normal((50, 2))
    fold_of, moved = np.arange(50) % 5, []
    for architecture, dim, context in (
        (flows.NSF(couplings=2, hidden=4), 2, 0),
        (flows.Conditional(hidden=4), 1, 1),
    ):
        build = partial(_build, architecture, dim=dim, context=context)
        folds = [Fold(rows, fold_of, number, ToReal(), context) for number in range(5)]
        way = Regularisation("raw", 0.1, is_separate=bool(context))
        trainer = FoldTrainer(build, folds, [way], TrainingSettings())
        before = trainer.optimizer.parameters.clone()
        trainer.train(1, lambda: None)
        moved.append(float((trainer.optimizer.parameters - before).abs().max()))
    assert moved[1] == pytest.approx(Recipe().target_rate * moved[0], rel=1e-3)
