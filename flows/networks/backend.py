"""The one place that selects between the compiled code and PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.func import functional_call

from flows import kernels
from flows.bijections import Bijection
from flows.bijections.chain import Chain
from flows.conditioners import Perceptron, SmoothPerceptron
from flows.kernels.build import library
from flows.kernels.interface import DEPTH
from flows.networks.base_distribution import Base, StandardNormal
from flows.networks.network_population import Objective


@dataclass(frozen=True)
class AdamStep:
    """The arguments of one step of ``ClippedAdam`` (``flows/training/optimizer.py``).

    ``parameters``, ``first`` (m) and ``second`` (v) ``(M, P)`` are changed in place. The
    corrections are ``1 - beta^t``.
    """

    parameters: Tensor
    gradient: Tensor
    first: Tensor
    second: Tensor
    rate: float
    clip: float
    beta_1: float
    beta_2: float
    correction_1: float
    correction_2: float
    epsilon: float


class Backend:
    """Computes each operation in C or in PyTorch; callers ask for an operation and do not select.

    At every call, C computes the operation if all of these hold, and PyTorch otherwise:

    - every tensor is in single precision, on the CPU and not empty;
    - a C compiler is found, and ``FLOWS_KERNELS`` is not ``off`` (``flows/kernels/build.py``);
    - the call is not inside ``reference_code()``;
    - no transformation of ``torch.func`` and no forward-mode differentiation is active, since C
      code cannot follow their tensors;
    - a chain maps vectors ``(M, D, N)``, and ``flows/kernels/layers.py`` knows all its bijections;
    - a velocity field has at most 8 hidden layers (``DEPTH`` in ``flows/kernels/chain.h``);
    - the base of a loss is exactly ``StandardNormal``.

    Gradients do not enter the rule. A value is the same whether or not PyTorch records a graph, and
    inside ``torch.no_grad()``. In C, the result of ``map`` can be differentiated any number of
    times, the result of ``perceptron`` once or, with ``twice``, twice; other results cannot be
    differentiated. The backward pass of ``map`` recomputes the operation in PyTorch, so its
    gradients equal PyTorch's at the same point, and cost one more forward pass in PyTorch.
    """

    def __init__(self) -> None:
        self._references = 0

    @contextmanager
    def reference_code(self) -> Iterator[None]:
        """Compute in PyTorch inside the block.

        Use it if every operation must be visible, for example to count operations.
        """
        self._references += 1
        try:
            yield
        finally:
            self._references -= 1

    def map(
        self, bijection: Bijection, x: Tensor, *, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Map points ``(M, *event, N)`` from data to noise or, with ``inverse``, back.

        Return the points and the log-determinant, ``(M, N)`` or ``(M, 1)``. Both can be
        differentiated with respect to the points and the parameters.
        """
        program = self.program(bijection, x)
        if program is None:
            return bijection.inverse(x) if inverse else bijection.forward(x)
        return _Map.apply(program, bijection, inverse, x, *bijection.parameters())

    def loss(self, chain: Chain, base: Base, like: Tensor) -> Objective:
        """Return the function that computes the training loss of points and its gradient::

            loss = -1/N sum_n [ log p(f(z_n)) + log |det df| ],    p = base, f = chain

        The points are ``(M, *event, N)``, the loss is ``(M,)``. The gradient ``(M, P)`` is with
        respect to the parameters of the base, then of the chain. In C the gradient is valid until
        the next call. The backend is selected once, for the points ``like`` of a whole epoch.
        """
        program = self.program(chain, like)
        if program is not None and type(base) is StandardNormal:
            return program.loss
        return lambda z: _loss(chain, base, z)

    def perceptron(self, conditioner: Perceptron, x: Tensor, *, twice: bool = False) -> Tensor:
        """Return ``conditioner(x)``, ``(M, outputs, N)``, for ``x`` ``(M, inputs, N)``.

        The gradient can be differentiated again only with ``twice``, which costs more.
        """
        if self._compiles(x, conditioner.theta):
            return kernels.perceptron(conditioner, x, twice=twice)
        return conditioner(x)

    def velocity(self, field: SmoothPerceptron, x: Tensor) -> Tensor:
        """Return ``field(x)``, ``(M, outputs, N)``, for ``x`` ``(M, inputs, N)``."""
        if self._compiles_field(field, x):
            return kernels.velocity(field, x)
        return field(x)

    def velocity_and_divergence(self, field: SmoothPerceptron, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``field.with_divergence(x)``: ``(M, outputs, N)`` and ``(M, N)``."""
        if self._compiles_field(field, x):
            return kernels.velocity_and_divergence(field, x)
        return field.with_divergence(x)

    def regression(
        self, field: SmoothPerceptron, x: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss ``1/N sum_n |field(x_n) - target_n|^2`` and its gradient.

        ``x`` is ``(M, inputs, N)``, ``target`` ``(M, outputs, N)``, the loss ``(M,)`` and the
        gradient, by the parameters, ``(M, P)``.
        """
        if self._compiles_field(field, x, target):
            return kernels.regression(field, x, target)
        return _regression(field, x, target)

    def adam(self, step: AdamStep) -> None:
        """Take one step of ``ClippedAdam``, whose docstring has the formula."""
        if self._compiles(step.parameters, step.gradient):
            kernels.clipped_adam(**vars(step))
        else:
            _adam(step)

    def program(self, bijection: Bijection, x: Tensor) -> kernels.Program | None:
        """Return the compiled program of a bijection for points like ``x``.

        Returns ``None`` if PyTorch computes the bijection.
        """
        if x.ndim != 3 or not self._compiles(x, *bijection.parameters()):
            return None
        return kernels.program(list(bijection) if type(bijection) is Chain else [bijection])

    def _compiles_field(self, field: SmoothPerceptron, *tensors: Tensor) -> bool:
        """Return whether C computes a velocity field on these tensors."""
        return len(field.sizes) - 2 <= DEPTH and self._compiles(field.theta, *tensors)

    def _compiles(self, *tensors: Tensor) -> bool:
        """Return whether C computes an operation on these tensors."""
        return (
            all(t.dtype == torch.float32 and t.device.type == "cpu" and t.numel() for t in tensors)
            and not self._references
            and library() is not None
            and not torch._C._are_functorch_transforms_active()
            and all(unpack_dual(t).tangent is None for t in tensors)
        )


backend = Backend()


class _Direction(nn.Module):
    """A bijection in one direction, as a module that ``functional_call`` can call."""

    def __init__(self, bijection: Bijection, inverse: bool) -> None:
        super().__init__()
        self.bijection, self.inverse = bijection, inverse

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse(x) if self.inverse else self.bijection.forward(x)


class _Map(torch.autograd.Function):
    """A bijection computed in C, ``_Map.apply(program, bijection, inverse, x, *parameters)``.

    The backward pass recomputes the bijection in PyTorch and differentiates it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        program: kernels.Program,
        bijection: Bijection,
        inverse: bool,
        x: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.bijection, ctx.inverse = bijection, inverse
        ctx.save_for_backward(x, *parameters)
        return program.apply(x, inverse=inverse)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[3:]
        direction = _Direction(ctx.bijection, ctx.inverse)
        # In a backward pass, gradients are enabled if the result will be differentiated again
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # Views restrict the gradient to this operation, even if x was computed from the same
            # parameters
            x, *parameters = inputs = [tensor.view_as(tensor) for tensor in ctx.saved_tensors]
            names = (name for name, _ in direction.named_parameters())
            values = dict(zip(names, parameters, strict=True))
            outputs = functional_call(direction, values, (x,))
            pairs = [
                (output.expand_as(gradient), gradient)  # PyTorch may return (M, 1) for (M, N)
                for output, gradient in zip(outputs, gradients, strict=True)
                if output.requires_grad
            ]
        found = iter(
            torch.autograd.grad(
                [output for output, _ in pairs],
                [tensor for tensor, is_needed in zip(inputs, needed, strict=True) if is_needed],
                [gradient for _, gradient in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
        )
        return None, None, None, *(next(found) if is_needed else None for is_needed in needed)


# PyTorch versions of the operations that no other module implements


@torch.enable_grad()
def _loss(chain: Chain, base: Base, z: Tensor) -> tuple[Tensor, Tensor]:
    noise, log_det = chain(z)
    loss = -(log_det + base.log_prob(noise)).mean(1)
    # Members share no parameter, so the gradient of the sum holds the gradient of each member
    gradients = torch.autograd.grad(loss.sum(), [*base.parameters(), *chain.parameters()])
    return loss.detach(), torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)


@torch.enable_grad()
def _regression(field: SmoothPerceptron, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    loss = (field(x) - target).square().sum(1).mean(1)
    (gradient,) = torch.autograd.grad(loss.sum(), field.theta)
    return loss.detach(), gradient


def _adam(step: AdamStep) -> None:
    norm = torch.linalg.vector_norm(step.gradient, dim=1, keepdim=True)
    gradient = step.gradient * (step.clip / norm.clamp_min(step.clip))
    step.first.lerp_(gradient, 1 - step.beta_1)
    step.second.mul_(step.beta_2).addcmul_(gradient, gradient, value=1 - step.beta_2)
    scale = (step.second / step.correction_2).sqrt_().add_(step.epsilon)
    step.parameters.addcdiv_(step.first, scale, value=-step.rate / step.correction_1)
