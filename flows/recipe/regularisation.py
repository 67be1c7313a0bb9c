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

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from flows.conditioners.perceptron import Perceptron


@dataclass(frozen=True)
class Regularisation:
    """A way to regularise: the preprocessing, the noise, and the lasso.

    The noise of a population with a context moves only the points y, not the context x.
    """

    preprocessing: str  # "margins", "whiten" or "process", or "raw" for none
    noise: float  # its level (``noise.py``)
    lasso: float = 0.0  # the strength of the group lasso
    is_separate: bool = False  # whether the noise of a column does not depend on other columns
    sees_labels: bool = True  # whether the network is given the labels, if they are its context

    @property
    def settings(self) -> dict[str, Any]:
        """The preprocessing, the noise and a lasso above 0, and whether labels are not seen."""
        numbers = {key: value for key, value in asdict(self).items() if value and value is not True}
        return numbers if self.sees_labels else {**numbers, "labels": "unseen"}


REGULARISATIONS = (
    *(Regularisation("margins", noise) for noise in (1.2, 0.8, 0.5)),
    Regularisation("margins", 0.35, lasso=1.0),
    *(Regularisation("margins", noise) for noise in (0.2, 0.12)),
    *(Regularisation("whiten", noise) for noise in (1.0, 0.7, 0.35)),
    Regularisation("raw", 0.5),
)

# For numbers given labels: with few rows, a network that does not see the labels may be better
LABEL_REGULARISATIONS = (
    *REGULARISATIONS,
    *(replace(REGULARISATIONS[k], sees_labels=False) for k in (1, 3, 4, 7)),
)

# For p(y | x): the whitening leaves the residuals of y's regression on x, and the processes leave
# standardised residuals
TARGET_REGULARISATIONS = tuple(
    Regularisation(preprocessing, noise, lasso, is_separate=True)
    for preprocessing in ("process", "whiten", "margins", "raw")
    for noise in (0.05, 0.1, 0.2)
    for lasso in (1.0, 2.0, 4.0, 8.0)
)

# The ways in which a conditional flow learns numbers given labels
COLUMN_REGULARISATIONS = tuple(
    each
    for each in TARGET_REGULARISATIONS
    if each.preprocessing != "process" and each.noise > 0.05 and each.lasso in (2.0, 8.0)
)


def first_layers(population: nn.Module) -> list[Tensor]:
    """Return the first-layer weights of all perceptrons of ``population``, ``(M, hidden, inputs)``.

    They are views of the parameters.
    """
    perceptrons = [each for each in population.modules() if isinstance(each, Perceptron)]
    return [each.layers()[0][0].detach() for each in perceptrons]


def shrink(weights: Tensor, amount: Tensor) -> None:
    """Shrink the norms of the columns of ``weights`` in place.

    Args:
        weights: the first-layer weights, ``(M, hidden, inputs)``.
        amount: the reduction of the norms, ``(M,)``; 0 leaves a member unchanged, bit for bit.
    """
    least = torch.finfo(weights.dtype).tiny  # a column of norm 0 stays 0
    # Sums of single precision would depend on the processor
    norm = weights.double().norm(dim=1, keepdim=True).to(weights.dtype).clamp(min=least)
    weights.mul_(1 - (amount[:, None, None] / norm).clamp(max=1))
