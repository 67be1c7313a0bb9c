"""Gaussian mixtures: the truth, a fitted mixture and a kernel density are all one class."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flows.population import Population


class GaussianMixture(Population):
    """One mixture of K Gaussians in D dimensions, as a population with a single member::

        q(x) = sum_k w_k N(x; mu_k, Sigma_k)
        log N(x; mu, Sigma) = -|L^-1 (x - mu)|^2 / 2 - sum_d log L_dd - D log(2 pi) / 2,   Sigma = L L^T

    ``weights`` ``(K,)``, ``means`` ``(K, D)``, ``covariances`` ``(K, D, D)``; kept in float64. A kernel density has one component
    a training point.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    CHUNK = 2_000_000  # point-component pairs worked on at a time: some 50 MB

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        count, dim = means.shape
        if weights.shape != (count,) or covariances.shape != (count, dim, dim):
            expected = f"{count} weights and {count} covariances of {dim} x {dim}"
            raise ValueError(f"{count} means of {dim} numbers need {expected}; got {tuple(weights.shape)} and {tuple(covariances.shape)}")
        super().__init__(1, dim, {})
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float64))
        self.register_buffer("means", torch.as_tensor(means, dtype=torch.float64))
        self.register_buffer("covariances", torch.as_tensor(covariances, dtype=torch.float64))

    @classmethod
    def restore(cls, arguments: dict[str, Any], state: dict[str, Tensor]) -> GaussianMixture:
        return cls(**state, **arguments)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check(value)
        flat = value.reshape(-1, self.dim).to(self.dtype)
        factor = torch.linalg.cholesky(self.covariances)
        whitening = torch.linalg.inv(factor)  # D is small and the factors are triangular: safe, and one product a chunk
        log_norm = factor.diagonal(dim1=1, dim2=2).log().sum(1) + 0.5 * self.dim * math.log(2 * math.pi)
        log_weight = self.weights.log() - log_norm
        parts = []
        for chunk in flat.split(max(1, self.CHUNK // len(self.weights))):
            white = whitening @ (chunk - self.means[:, None]).mT  # (K, D, n)
            parts.append((log_weight[:, None] - 0.5 * white.square().sum(1)).logsumexp(0))
        return torch.cat(parts).reshape(value.shape[:-1])

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = (), generator: torch.Generator | None = None) -> Tensor:
        count = torch.Size(sample_shape).numel()
        if count == 0:
            return self.means.new_empty(*sample_shape, 1, self.dim)
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.dim, 1, generator=generator, dtype=self.means.dtype)
        factor = torch.linalg.cholesky(self.covariances)
        draws = self.means[component] + (factor[component] @ noise).squeeze(2)
        return draws.reshape(*sample_shape, 1, self.dim)

    def extra_repr(self) -> str:
        return f"components={len(self.weights)}, dim={self.dim}"
