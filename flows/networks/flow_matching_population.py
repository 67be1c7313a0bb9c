"""Populations of flow matching: a velocity field, its training loss, samples and density."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import numpy as np
import scipy
import torch
from torch import Tensor

from flows.conditioners import SmoothPerceptron, he_reach
from flows.core.arrays import Array, Shape
from flows.core.ode import runge_kutta
from flows.core.seeds import Generators, generator_of, normals, numpy_generators
from flows.networks.architecture import features
from flows.networks.backend import backend
from flows.networks.base_distribution import StandardNormal
from flows.networks.densities import Description
from flows.networks.network_population import DensityPopulation, Objective, Points


class FlowMatchingPopulation(DensityPopulation):
    """A velocity field v(x, t) that moves points from noise at t = 0 to data at t = 1.

    Source: Lipman et al. 2023, with straight paths::

        loss = E |v(x_t, t) - (x_1 - x_0)|^2,    x_t = (1 - t) x_0 + t x_1
        x_0 ~ N(0, I),  x_1 a training point,  t = sqrt(u),  u ~ U(0, 1)

        dx/dt = v(x, t)
        log q(x(1)) = log N(x(0); 0, I) - int_0^1 div v(x(t), t) dt

    For any distribution of t, the minimum of the loss is the marginal velocity
    E[x_1 - x_0 | x_t]. Times near 1 are drawn more often, because modes are narrow there.

    A log-density takes ``4 solver_steps`` evaluations of v and of its divergence. The divergence is
    exact, and costs as much as D evaluations of v (``SmoothPerceptron``). A sample needs no
    divergence.

    If ``pairing`` is ``"optimal_transport"``, x_0 and x_1 are paired within a batch so that the sum
    of ``|x_1 - x_0|^2`` is minimal (Tong et al. 2024). This takes n^3 operations for n points.

    Raises ``ValueError`` if the points are not vectors.
    """

    is_continuous: ClassVar[bool] = True

    def __init__(
        self,
        event_shape: Shape,
        generators: Generators,
        description: Description,
        *,
        hidden: int,
        layers: int,
        time_features: int,
        solver_steps: int,
        pairing: str,
    ) -> None:
        dim = features("flow matching", event_shape)
        super().__init__(len(generators), event_shape, description)
        self.dim, self.time_features = dim, time_features
        self.solver_steps, self.pairing = solver_steps, pairing
        self.base = StandardNormal(len(generators), event_shape)
        reach = partial(he_reach, depth=layers)
        self.field = SmoothPerceptron(
            dim + time_features, dim, hidden, generators, reach, depth=layers
        )

    # Training

    def objective(self, points: Tensor, generators: Generators) -> Objective:
        return lambda batch: self.loss(batch, generators)

    def loss(self, x: Tensor, generators: Generators) -> tuple[Tensor, Tensor]:
        """Return the loss ``(M,)`` of a batch ``(M, D, n)``, and its gradient ``(M, P)``."""
        return backend.regression(self.field, *self.paths(x, generators))

    def paths(self, x_1: Tensor, generators: Generators) -> tuple[Tensor, Tensor]:
        """Return inputs ``(M, D + time features, n)`` and targets ``(M, D, n)`` of a batch.

        The inputs are points on straight paths to ``x_1``, and features of their times. The targets
        are the velocities of the paths.
        """
        count = x_1.shape[2]
        x_0 = normals(generators, self.dim, count)
        times = np.sqrt(np.stack([generator.random(count) for generator in generators]))
        if self.pairing == "optimal_transport":
            x_0 = torch.stack([_paired(*each) for each in zip(x_0, x_1.double(), strict=True)])
        t = torch.from_numpy(times)[:, None]
        x_t = (1 - t) * x_0 + t * x_1
        inputs = torch.cat([x_t, time_features(t, self.time_features)], dim=1)
        return inputs.to(x_1.dtype), (x_1 - x_0).to(x_1.dtype)

    @torch.no_grad()
    def curves(self, points: dict[str, Points]) -> dict[str, Array]:
        """Return ``train_loss`` and, if there are test points, ``test_loss``, ``(M,)`` each.

        Each point has one random path, the same at every call.
        """
        curves = {}
        for key, (z, _) in points.items():
            generators = numpy_generators(self.description["seed"], "curves", self.member_range)
            inputs, targets = self.paths(z, generators)
            off = backend.velocity(self.field, inputs).double() - targets
            curves[f"{key}_loss"] = off.square().sum(1).numpy().mean(axis=1)
        return curves

    def final_curves(self, points: dict[str, Points]) -> dict[str, Array]:
        return super().curves(points)

    # Sampling and density

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise ``(M, D, N)`` of preprocessed points, and log-determinants ``(M, N)``.

        Both are in double precision.
        """
        start = torch.cat([z.double(), z.new_zeros(len(z), 1, z.shape[2]).double()], dim=1)
        *_, end = runge_kutta(self._slopes, start, self._times()[::-1])
        return end[:, : self.dim], end[:, self.dim]

    @torch.no_grad()
    def log_density(self, z: Tensor) -> Tensor:
        noise, log_det = self.to_noise(z)
        return self.base.log_prob(noise) + log_det

    def generate(self, n: int, generator: np.random.Generator) -> Tensor:
        *_, end = self._states(n, generator)
        return end

    @torch.no_grad()
    def trajectory(
        self, sample_shape: Shape = (), generator: np.random.Generator | None = None
    ) -> list[Tensor]:
        """Return ``solver_steps + 2`` tensors ``sample_shape + (M, D)``, from noise to data.

        The first is the noise. Each following tensor has the points after one more step, and the
        last has the final points in the user's units.
        """
        shape = torch.Size(sample_shape)
        states = self._states(shape.numel(), generator_of(generator))
        return [self.rows_first(z, shape) for z in (*states, self.restore(states[-1]))]

    def _states(self, n: int, generator: np.random.Generator) -> list[Tensor]:
        """Return ``n`` points per member, ``(M, D, n)``, after every step from noise to data."""
        noise = self.base.sample(n, generator, torch.float64)
        states = [noise, *runge_kutta(self._velocity, noise, self._times())]
        return [state.to(self.dtype) for state in states]

    def _times(self) -> list[float]:
        """Return the times of the solver, ``1 - (1 - k / n)^1.5``.

        Steps are shorter near the data, where the velocity changes fastest.
        """
        left = [1 - k / self.solver_steps for k in range(self.solver_steps + 1)]
        return [1 - share * math.sqrt(share) for share in left]

    def _velocity(self, x: Tensor, t: float) -> Tensor:
        return backend.velocity(self.field, self._inputs(x, t)).double()

    def _slopes(self, state: Tensor, t: float) -> Tensor:
        """Return the derivatives of the points and of the integral of the divergence."""
        inputs = self._inputs(state[:, : self.dim], t)
        velocity, divergence = backend.velocity_and_divergence(self.field, inputs)
        return torch.cat([velocity, divergence[:, None]], dim=1).double()

    def _inputs(self, x: Tensor, t: float) -> Tensor:
        time = time_features(x.new_full((1, 1, 1), t), self.time_features)
        return torch.cat([x, time.expand(len(x), -1, x.shape[2])], dim=1).to(self.dtype)

    def extra_repr(self) -> str:
        return f"solver_steps={self.solver_steps}, pairing={self.pairing!r}"


def time_features(t: Tensor, count: int) -> Tensor:
    """Return ``T_1(2t - 1), ..., T_count(2t - 1)``, ``(M, count, n)``, for ``t`` ``(M, 1, n)``.

    These are Chebyshev polynomials, computed with ``T_k(u) = 2 u T_(k-1)(u) - T_(k-2)(u)``. On
    [0, 1] they oscillate like cosines. Unlike cosines, they have the same bits on every machine.
    """
    u = 2 * t - 1
    values = [torch.ones_like(u), u]
    for _ in range(count - 1):
        values.append(2 * u * values[-1] - values[-2])
    return torch.cat(values[1 : count + 1], dim=1)


def _paired(x_0: Tensor, x_1: Tensor) -> Tensor:
    """Return ``x_0`` ``(D, n)``, reordered so that ``sum |x_1 - x_0|^2`` is minimal."""
    distances: Any = scipy.spatial.distance.cdist(x_1.T.numpy(), x_0.T.numpy(), "sqeuclidean")
    _, order = scipy.optimize.linear_sum_assignment(distances)
    return x_0[:, torch.from_numpy(order)]
