"""Bijections, one a file. ``base.Bijection`` states the contract."""

from flows.bijections.actnorm import ActNorm
from flows.bijections.affine import AffineCoupling
from flows.bijections.base import Bijection
from flows.bijections.chain import Chain
from flows.bijections.columns import Columns
from flows.bijections.convolution import Convolution, Dropout
from flows.bijections.coupling import Coupling
from flows.bijections.factor_out import FactorOut
from flows.bijections.linear import PLULinear
from flows.bijections.margins import Margins
from flows.bijections.permutation import Permutation
from flows.bijections.probit import Probit
from flows.bijections.spline import BoxSplineCoupling, SplineCoupling
from flows.bijections.squeeze import Squeeze, squeezed
from flows.bijections.standardize import Standardize
from flows.bijections.whiten import Whiten

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "Bijection",
    "BoxSplineCoupling",
    "Chain",
    "Columns",
    "Convolution",
    "Coupling",
    "Dropout",
    "FactorOut",
    "Margins",
    "PLULinear",
    "Permutation",
    "Probit",
    "SplineCoupling",
    "Squeeze",
    "Standardize",
    "Whiten",
    "squeezed",
]
