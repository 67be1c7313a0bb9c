"""The compiled perceptron of a velocity field (``smooth.h``)."""

import torch
from torch import Tensor

from flows.conditioners.smooth_perceptron import SmoothPerceptron
from flows.kernels.build import call
from flows.kernels.interface import Velocity, filled


def velocity(field: SmoothPerceptron, x: Tensor) -> Tensor:
    """Return ``field(x)``, ``(M, outputs, N)``, for ``x`` ``(M, inputs, N)``."""
    y = x.new_empty(x.shape[0], field.sizes[-1], x.shape[2])
    _run(field, x, y=y)
    return y


def velocity_and_divergence(field: SmoothPerceptron, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``field.with_divergence(x)``: ``(M, outputs, N)`` and ``(M, N)``."""
    y = x.new_empty(x.shape[0], field.sizes[-1], x.shape[2])
    divergence = x.new_empty(x.shape[0], x.shape[2])
    _run(field, x, y=y, divergence=divergence)
    return y, divergence


def regression(field: SmoothPerceptron, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean squared norm ``(M,)`` of ``field(x) - target``; its gradient ``(M, P)``."""
    loss = x.new_empty(x.shape[0], dtype=torch.float64)
    gradient = x.new_empty(field.theta.shape)
    _run(field, x, target=target.detach().contiguous(), loss=loss, gradient=gradient)
    return loss, gradient


def _run(field: SmoothPerceptron, x: Tensor, **results: Tensor) -> None:
    x, theta = x.detach().contiguous(), field.theta.detach()
    inputs, hidden, *_, outputs = field.sizes
    sizes = {"inputs": inputs, "hidden": hidden, "outputs": outputs, "size": theta.shape[1]}
    sizes |= {"depth": len(field.sizes) - 2, "members": x.shape[0], "points": x.shape[2]}
    threads = torch.get_num_threads()
    call(
        "smooth_perceptron", filled(Velocity, theta=theta, threads=threads, **sizes, x=x, **results)
    )
