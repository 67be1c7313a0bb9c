"""Bijections, one a file. ``base.Bijection`` states the contract."""

from flows.bijections.actnorm import ActNorm
from flows.bijections.affine import AffineCoupling
from flows.bijections.base import Bijection
from flows.bijections.columns import Columns
from flows.bijections.coupling import Coupling
from flows.bijections.linear import PLULinear
from flows.bijections.margins import Margins
from flows.bijections.permutation import Permutation
from flows.bijections.spline import SplineCoupling
from flows.bijections.standardize import Standardize
from flows.bijections.whiten import Whiten

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "Bijection",
    "Columns",
    "Coupling",
    "Margins",
    "PLULinear",
    "Permutation",
    "SplineCoupling",
    "Standardize",
    "Whiten",
]
