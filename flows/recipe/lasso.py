"""The group lasso on the inputs of the conditioners, a proximal step after each step of Adam.

The first-layer weights of a perceptron have a column w for each input feature. A column is a group,
and the step at the learning rate ``rate`` is the soft threshold of its norm::

    w <- w max(0, 1 - rate strength / |w|)

A feature whose column is 0 has no influence on the coupling. Sources: Yuan and Lin 2006 (Model
selection and estimation in regression with grouped variables); Parikh and Boyd 2014 (Proximal
algorithms), section 6.5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flows.conditioners.perceptron import Perceptron


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
