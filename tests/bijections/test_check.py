"""The check of a new bijection finds each mistake, and says where."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import flows
from flows.bijections import ActNorm, AffineCoupling, Bijection, Chain, Permutation, PLULinear
from flows.core.seeds import numpy_generators

DIM, MEMBERS = 3, 2
SCALE = 1.0 + torch.arange(DIM, dtype=torch.float64).view(DIM, 1)


class Bend(Bijection):
    """A correct bijection: ``z = s x + sinh(s x)``, with its inverse by Newton's method."""

    def __init__(self, members=MEMBERS):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(members, DIM, 1))

    def forward(self, x):
        y = x * self.log_scale.exp() / 3
        return y + y.sinh(), self.log_det(y)

    def log_det(self, y):
        return ((1 + y.cosh()) / 3).log().add(self.log_scale).sum(1)

    def inverse(self, z):
        return self.solve(z, 60)

    def solve(self, z, steps):
        y = z.asinh()
        for _ in range(steps):
            y = y - (y + y.sinh() - z) / (1 + y.cosh())
        return 3 * y / self.log_scale.exp(), -self.log_det(y)


class WrongSign(Bend):
    def inverse(self, z):
        x, log_det = super().inverse(z)
        return x, -log_det


class MissingTerm(Bend):
    def log_det(self, y):
        return ((1 + y.cosh()) / 3).log().sum(1)


class MissingFeature(Bend):
    def log_det(self, y):
        return ((1 + y.cosh()) / 3).log().add(self.log_scale)[:, 1:].sum(1)


class NotInverse(Bend):
    def inverse(self, z):
        y = z.asinh()
        return 3 * y / self.log_scale.exp(), -self.log_det(y)


class StopsEarly(Bend):
    def inverse(self, z):
        return self.solve(z, 3)


class SinglePrecisionInside(Bend):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z.float().to(x), log_det


class SinglePrecision(Bend):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z.float(), log_det


class DoubleConstant(Bend):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z * torch.ones((), dtype=torch.float64), log_det * SCALE.new_ones(1)


class MixesMembers(Bend):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z + 0.1 * x.mean(0), log_det


class MixesParameters(Bend):
    def forward(self, x):
        y = x * self.log_scale.mean(0).exp()
        return y + y.sinh(), self.log_det(y)


class UsesFirstMember(Bend):
    def forward(self, x):
        y = x * self.log_scale[0].exp()
        return y + y.sinh(), self.log_det(y)


class MixesPoints(Bend):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z - x.detach().mean(2, keepdim=True), log_det


class Transposed(Bend):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z.mT, log_det


class KeepsFeatures(Bend):
    def log_det(self, y):
        return ((1 + y.cosh()) / 3).log() + self.log_scale


class NoMembers(Bend):
    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(DIM))


class FixedMembers(Bend):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z.view(MEMBERS, DIM, -1), log_det


class Detached(Bend):
    def forward(self, x):
        z, log_det = super().forward(x.detach())
        return z, log_det


class Unused(Bend):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(MEMBERS, DIM, 1))


class InfiniteGradient(Bend):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z + 0 * (x - x).sqrt(), log_det


class Infinite(Bend):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z + (1e30 * x).exp().log().clamp(min=0), log_det


class NoLogDeterminant(Bend):
    def forward(self, x):
        return super().forward(x)[0]


class WrongSize(Bend):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z + x[:, :2], log_det


LOG_DET = "the log-determinant is not that of the Jacobian of autograd: largest error"
DEPENDS = "forward: the output depends on other members or points: largest error"
NOT_INPUT = "forward: `inverse` of the output is not the input .float64.: largest error"
WRONG = {
    WrongSign: f"WrongSign.inverse: {LOG_DET} 2.6 at member 0, point 14 .* instead of",
    MissingTerm: f"forward: {LOG_DET}",
    MissingFeature: f"forward: {LOG_DET}",
    NotInverse: f"{NOT_INPUT} 0.99 at member 0, feature 0, point 15 .2.00392 instead of 1.01405",
    StopsEarly: NOT_INPUT,
    SinglePrecisionInside: NOT_INPUT,
    SinglePrecision: "float64 points .*: the value is float32 .*, not float64",
    DoubleConstant: "float32 points .*: the log-determinant is float64 .*, not float32",
    MixesMembers: DEPENDS,
    MixesParameters: DEPENDS,
    UsesFirstMember: f"{DEPENDS} .* at member 1",
    MixesPoints: DEPENDS,
    Transposed: r"shape \(2, 100, 3\), not float64 of shape \(2, 3, 100\)",
    KeepsFeatures: r"shape \(2, 3, 100\), not float64 of shape \(2, 100\) or \(2, 1\)",
    NoMembers: r"the shape of log_scale is \(3,\); its first axis must be 2",
    FixedMembers: r"points \(1, 3, 50\): the value is float64 of shape \(2, 3, 25\)",
    Detached: "forward: the gradient of the points of member 0 is 0",
    Unused: "forward: the gradient of shift of member 0 is 0",
    InfiniteGradient: "forward: the gradient of the points of member 0 is nan",
    Infinite: r"points \(2, 3, 100\): the value is inf at member 0, feature 0, point 3",
    NoLogDeterminant: "the result is not a pair of tensors",
    WrongSize: "raises RuntimeError: The size of tensor",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_mistake_is_found(wrong):
    with pytest.raises(AssertionError, match=WRONG[wrong]):
        flows.check_bijection(wrong(), DIM, MEMBERS)


def test_a_correct_bijection_passes_and_is_not_changed():
    made = Bend()
    flows.check_bijection(made, DIM)
    assert made.log_scale.dtype == torch.float32
    assert not made.log_scale.any()
    assert made.log_scale.grad is None
    generators = numpy_generators(0, "initialize", range(MEMBERS))
    parts = [PLULinear(DIM, generators), AffineCoupling(DIM, 4, generators)]
    parts += [ActNorm(DIM, MEMBERS), Permutation(DIM, generators)]
    flows.check_bijection(Chain(parts), DIM)


def test_images_are_checked_with_the_shape_of_an_event():
    flows.check_bijection(ActNorm(2, MEMBERS), (2, 3, 3))


class Logarithm(Bijection):
    """Defined for positive numbers only; without parameters."""

    def forward(self, x):
        return x.log(), -x.log().sum(1)

    def inverse(self, z):
        return z.exp(), z.sum(1)


def test_a_bijection_of_positive_numbers_is_checked_with_given_points():
    with pytest.raises(AssertionError, match=r"Logarithm.forward .* the value is nan at member"):
        flows.check_bijection(Logarithm(), DIM)
    points = torch.rand(3, DIM, 10, dtype=torch.float64) + 0.1
    flows.check_bijection(Logarithm(), DIM, points=points)


def test_a_looser_tolerance_allows_an_iteration_that_stops_early():
    flows.check_bijection(StopsEarly(), DIM, tolerance=1e-3)


def test_invalid_arguments_are_named():
    with pytest.raises(ValueError, match="members = 1: must be at least 2"):
        flows.check_bijection(Bend(1), DIM)
    with pytest.raises(ValueError, match=r"\(2, 3\); it must be \(2, 3, N\)"):
        flows.check_bijection(Bend(), DIM, points=torch.zeros(2, 3))
