"""Ways to regularise a network, from which the automatic recipe chooses.

The lasso is a group lasso on the inputs of the conditioners, a proximal step after each step of
Adam. The first-layer weights of a perceptron have a column w for each input feature. A column is a
group, and the step at the learning rate ``rate`` is the soft threshold of its norm::

    w <- w max(0, 1 - rate strength / |w|)

A feature whose column is 0 has no influence on the coupling. Sources: Yuan and Lin 2006 (Model
selection and estimation in regression with grouped variables); Parikh and Boyd 2014 (Proximal
algorithms), section 6.5.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flows.conditioners.perceptron import Perceptron
from flows.networks.preprocessing import Preprocessing


@dataclass(frozen=True)
class Regularisation:
    """A way to regularise: the preprocessing, the noise, and the lasso.

    The noise of a population with a context moves only the points y, not the context x.
    """

    preprocessing: str  # "margins", "whiten" or "process", or "raw" for none
    noise: float  # its level (``noise.py``)
    lasso: float = 0.0  # the strength of the group lasso
    label_lasso: float = 0.0  # if above 0, it replaces ``lasso`` for given labels
    is_separate: bool = False  # whether the noise of a column does not depend on other columns

    @property
    def settings(self) -> dict[str, Any]:
        """The preprocessing, the noise, and strengths of the lasso above 0."""
        return {key: value for key, value in asdict(self).items() if value and value is not True}

    def groups(self, maps: Preprocessing) -> tuple[Tensor, Tensor]:
        """Return the group of each feature, and its strength, ``(W,)`` each.

        Each feature is a group. With a ``label_lasso``, all indicators of a column are one group.

        Args:
            maps: the preprocessing of the features.
        """
        groups, strengths = torch.arange(maps.width), torch.full((maps.width,), self.lasso)
        if self.label_lasso and maps.encoding is not None:
            columns = maps.encoding.groups
            # A group has the number of its first feature
            groups[: len(columns)] = torch.tensor([columns.index(d) for d in columns])
            strengths[: len(columns)] = self.label_lasso
        return groups, strengths


REGULARISATIONS = (
    *(Regularisation("margins", noise) for noise in (1.2, 0.8, 0.5)),
    Regularisation("margins", 0.35, lasso=1.0),
    *(Regularisation("margins", noise) for noise in (0.2, 0.12)),
    *(Regularisation("whiten", noise) for noise in (1.0, 0.7, 0.35)),
    Regularisation("raw", 0.5),
)

# For p(y | x): the whitening leaves the residuals of y's regression on x, and the processes leave
# standardised residuals
TARGET_REGULARISATIONS = tuple(
    Regularisation(preprocessing, noise, lasso, is_separate=True)
    for preprocessing in ("process", "whiten", "margins", "raw")
    for noise in (0.05, 0.1, 0.2)
    for lasso in (1.0, 2.0, 4.0, 8.0)
)

# For numbers given labels: fewer ways, because three architectures race each other. A strong lasso
# of labels removes those that do not matter
LABEL_REGULARISATIONS = (
    Regularisation("margins", 0.8),
    Regularisation("margins", 0.35, lasso=1.0),
    Regularisation("margins", 0.35, lasso=1.0, label_lasso=4.0),
    Regularisation("margins", 0.2, label_lasso=4.0),
    Regularisation("margins", 0.12),
    Regularisation("whiten", 0.7),
    Regularisation("whiten", 0.35),
)


def _separate(preprocessing: str, noise: float, *, label_lasso: float = 0.0) -> Regularisation:
    return Regularisation(preprocessing, noise, 2.0, label_lasso, is_separate=True)


COLUMN_REGULARISATIONS = (
    _separate("margins", 0.1),
    _separate("margins", 0.2),
    _separate("margins", 0.2, label_lasso=8.0),
)
# With a linear shift
LINEAR_REGULARISATIONS = (
    _separate("margins", 0.05),
    _separate("margins", 0.2, label_lasso=8.0),
    _separate("whiten", 0.05),
    _separate("whiten", 0.2),
    _separate("whiten", 0.2, label_lasso=8.0),
)


def first_layers(population: nn.Module) -> list[Tensor]:
    """Return the first-layer weights of all perceptrons of ``population``, ``(M, hidden, inputs)``.

    They are views of the parameters.
    """
    perceptrons = [each for each in population.modules() if isinstance(each, Perceptron)]
    return [each.layers()[0][0].detach() for each in perceptrons]


def shrink(weights: Tensor, amount: Tensor, groups: Tensor) -> None:
    """Shrink the norms of groups of columns of ``weights`` in place.

    The norm of a group of K columns counts as its root mean square, so the reduction is sqrt(K)
    times as strong as that of a single column.

    Args:
        weights: the first-layer weights, ``(M, hidden, inputs)``.
        amount: the reduction of the norms, ``(M, inputs)``; 0 leaves a column unchanged, bit for
            bit.
        groups: the number of the group of each column, ``(M, inputs)``, below ``inputs``.
    """
    least = torch.finfo(weights.dtype).tiny  # a column of norm 0 stays 0
    # Sums of single precision would depend on the processor
    norm = weights.double().square().sum(dim=1).sqrt()
    if (groups != torch.arange(groups.shape[1])).any():
        total, sizes = torch.zeros_like(norm), torch.zeros_like(norm)
        total.scatter_add_(1, groups, norm.square())
        sizes.scatter_add_(1, groups, torch.ones_like(norm))
        norm = (total / sizes.clamp(min=1)).sqrt().gather(1, groups)
    norm = norm.to(weights.dtype).clamp(min=least)
    weights.mul_(1 - (amount / norm).clamp(max=1)[:, None])
