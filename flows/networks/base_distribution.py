"""The base distributions, to which a flow maps its data."""

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy
import torch
from scipy.special import log_ndtr, stdtr, stdtrit
from torch import Tensor, nn

from flows.core.arrays import IN_CACHE, Array, Shape
from flows.core.intervals import log_interval, truncated_normal, truncated_quantile
from flows.core.seeds import normal


class Base(nn.Module, ABC):
    """M distributions over noise, one per member of a population.

    Args:
        members: the number of members M.
        event_shape: the shape of a point, ``(D,)`` or ``(C, H, W)``.

    A subclass is known by its name: a file holds the name, and the module of the class is imported
    before the file is loaded.
    """

    known: ClassVar[dict[str, type["Base"]]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Register the class, so that files can name it."""
        super().__init_subclass__(**arguments)
        Base.known[cls.__name__] = cls

    def __init__(self, members: int, event_shape: Shape) -> None:
        super().__init__()
        self.members = members
        self.event_shape = event_shape

    @property
    def in_training(self) -> "Base":
        """The base whose log-density training maximises: itself, or a simpler one."""
        return self

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return log-densities in nats, ``(M, N)``, which can be differentiated.

        Args:
            z: noise ``(M, *event, N)``.
        """

    def log_cdf(self, z: Array) -> Array:
        """Return log P(noise <= z) of one feature, which is symmetric around 0.

        Args:
            z: noise of any shape, possibly infinite.

        Raises ``NotImplementedError`` if the base has no such distribution function.
        """
        raise NotImplementedError(f"{type(self).__name__} has no distribution function")

    def inside(self, low: Array, high: Array, level: Array) -> Array:
        """Return noise of one feature inside intervals, as a function of uniform numbers.

        Args:
            low: lower ends of any shape, possibly infinite.
            high: upper ends of the same shape.
            level: uniform numbers from 0 to 1, of the same shape.

        Raises ``NotImplementedError`` if the base has no such function.
        """
        raise NotImplementedError(f"{type(self).__name__} has no distribution function")

    @abstractmethod
    def sample(self, n: int, generator: np.random.Generator, dtype: torch.dtype) -> Tensor:
        """Draw ``n`` points from each member, ``(M, *event, n)``.

        Args:
            n: the number of points per member.
            generator: the generator of the random numbers of all members.
            dtype: the type of the points.
        """


def _log_trace_cdf(z: Array) -> Array:
    """Return log P(t <= z) of Student's t with 4 degrees of freedom."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(stdtr(4, z)))


def _trace_quantile(log_p: Array) -> Array:
    """Return the inverse of ``_log_trace_cdf``."""
    return np.asarray(stdtrit(4, np.exp(log_p)))


class StandardNormal(Base):
    """The standard normal, ``log N(z; 0, I) = -|z|^2 / 2 - D log(2 pi) / 2``.

    Args:
        members: the number of members M, all with this distribution.
        event_shape: the shape of a point, ``(D,)`` or ``(C, H, W)``.

    Examples:
        >>> import flows, torch
        >>> base = flows.StandardNormal(members=3, event_shape=(2,))
        >>> log_p = base.log_prob(torch.zeros(3, 2, 10))  # 10 points per member
        >>> log_p.shape, round(float(log_p[0, 0]), 4)
        (torch.Size([3, 10]), -1.8379)
    """

    def log_prob(self, z: Tensor) -> Tensor:
        z = z.flatten(1, -2)
        return -0.5 * z.square().sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)

    def log_cdf(self, z: Array) -> Array:
        return np.asarray(log_ndtr(z))

    def inside(self, low: Array, high: Array, level: Array) -> Array:
        return truncated_normal(low, high, level)

    def sample(self, n: int, generator: np.random.Generator, dtype: torch.dtype) -> Tensor:
        drawn = normal(generator, n, self.members, *self.event_shape)
        return drawn.to(dtype).movedim(0, -1).contiguous()


class TailedNormal(StandardNormal):
    """A standard normal with a trace of Student's t in every feature, so no point is impossible::

        log p(z) = sum_d log[ (1 - e) N(z_d; 0, 1) + e t(z_d) ]
        t(z) = (3/8) (1 + z^2 / 4)^(-5/2),  e = 1e-6

    A flow is accurate only near its training rows. Further out, one row in a hundred thousand may
    be mapped to z = 8,000, which costs 32 million nats under a normal and 56 nats here. Training
    maximises the likelihood under the normal, which differs by less than e near the training rows.
    Sources: Hesterberg 1995 (defensive mixtures); Jaini et al. 2020 (a base with tails).
    """

    TRACE = 1e-6

    @cached_property  # used at every training step
    def in_training(self) -> Base:
        return StandardNormal(self.members, self.event_shape)

    def log_prob(self, z: Tensor) -> Tensor:
        z = z.flatten(1, -2)
        # A part of the members, whose arrays stay in the cache, takes a third of the time
        parts = z.split(max(1, IN_CACHE // max(1, z[0].numel())))
        return torch.cat([self._log_prob(part) for part in parts])

    def _log_prob(self, z: Tensor) -> Tensor:
        z = z.double()  # squares of far-out values overflow single precision
        normal = math.log1p(-self.TRACE) - 0.5 * math.log(2 * math.pi) - 0.5 * z.square()
        trace = math.log(self.TRACE * 3 / 8) - 2.5 * torch.log1p(z.square() / 4)
        return torch.logaddexp(normal, trace).sum(1)

    def log_cdf(self, z: Array) -> Array:

        normal = math.log1p(-self.TRACE) + log_ndtr(z)
        return np.logaddexp(normal, math.log(self.TRACE) + scipy.stats.t.logcdf(z, 4))

    def inside(self, low: Array, high: Array, level: Array) -> Array:
        """Return noise inside intervals, as ``Base.inside``.

        The smallest levels select the normal, and the others the trace, by their shares of the
        probability of the interval.
        """
        log_trace = math.log(self.TRACE) + log_interval(_log_trace_cdf, low, high)
        with np.errstate(divide="ignore", invalid="ignore"):  # of an interval without a number
            share = np.exp(log_trace - log_interval(self.log_cdf, low, high)).clip(0, 1)
            own = np.where(level < 1 - share, level / (1 - share), (level - 1 + share) / share)
        own = np.nan_to_num(own).clip(0, 1)
        far = truncated_quantile(_log_trace_cdf, _trace_quantile, low, high, own)
        return np.where(level < 1 - share, truncated_normal(low, high, own), far)

    def sample(self, n: int, generator: np.random.Generator, dtype: torch.dtype) -> Tensor:
        z = super().sample(n, generator, dtype)
        count = int(generator.binomial(z.numel(), self.TRACE))
        if count:
            # t = z / sqrt(chi-square / 4), with 4 degrees of freedom
            own = normal(generator, 5, count)
            places = torch.from_numpy(generator.choice(z.numel(), count, replace=False))
            z.view(-1)[places] = (own[0] * 2 / own[1:].square().sum(0).sqrt()).to(dtype)
        return z
