"""What every model of this project is: M distributions over D-dimensional vectors, held as one."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints


class Population(nn.Module, Distribution):
    """A population of M members: a ``torch.distributions.Distribution`` with batch shape ``(M,)`` and event shape ``(D,)``.

    ``log_prob`` takes ``(n, M, D)``, or ``(n, 1, D)`` to score all members on the same points, and gives ``(n, M)`` in nats,
    in the units of the data that the user handed over. ``sample((n,), generator=g)`` gives ``(n, M, D)``.

    The equal mixture of the members, the ensemble, is
    ``MixtureSameFamily(Categorical(torch.ones(M)), population)``; ``ensemble_log_prob`` gives its density.

    ``arguments`` holds what the constructor was called with: with the state it makes a complete checkpoint.
    """

    support = constraints.real_vector
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = False
    chunk: ClassVar[int] = 10_000  # points to score at a time, where there are many: bounds the memory

    def __init__(self, members: int, dim: int, arguments: dict[str, Any]) -> None:
        nn.Module.__init__(self)
        Distribution.__init__(self, torch.Size([members]), torch.Size([dim]), validate_args=False)
        self.arguments = arguments

    @classmethod
    def restore(cls, arguments: dict[str, Any], state: dict[str, Tensor]) -> Population:
        """The model that a checkpoint describes. Raises where ``arguments`` and ``state`` don't fit together."""
        model = cls(**arguments)
        floating = next(t for t in state.values() if t.is_floating_point())
        model.to(floating.dtype).load_state_dict(state)
        return model

    __repr__ = nn.Module.__repr__

    @property
    def members(self) -> int:
        return self.batch_shape[0]

    @property
    def dim(self) -> int:
        return self.event_shape[0]

    @classmethod
    def has_density(cls) -> bool:
        """Whether the model answers ``log_prob``: a subclass that does not define it has samples alone."""
        return cls.log_prob is not Population.log_prob

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the model computes."""
        return next(t.dtype for t in self.state_dict().values() if t.is_floating_point())

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draws, ``sample_shape + (M, D)``. Raises ``NotImplementedError`` where a model can't."""
        raise NotImplementedError(f"{type(self).__name__} does not sample")

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-densities in nats, ``(..., M)`` of ``(..., M or 1, D)``. Raises ``NotImplementedError`` where a model has none."""
        raise NotImplementedError(f"{type(self).__name__} has no density, so it has no log_prob")

    def parameters_per_member(self) -> int:
        """The number of trainable numbers in one member."""
        return sum(p.numel() for p in self.parameters()) // self.members

    def _check(self, value: Tensor) -> None:
        if value.ndim < 2 or value.shape[-1] != self.dim or value.shape[-2] not in (1, self.members):
            raise ValueError(f"expected points of shape (..., {self.members} or 1, {self.dim}); got {tuple(value.shape)}")


def ensemble_log_prob(member_log_prob: Tensor) -> Tensor:
    """Log-density of the equal mixture of the members, ``(n,)``, from the members' ``(n, M)``."""
    members = torch.tensor(member_log_prob.shape[-1], dtype=member_log_prob.dtype)
    return member_log_prob.logsumexp(-1) - members.log()
