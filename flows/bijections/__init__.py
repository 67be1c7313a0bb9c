"""The bijections, one per file; ``Bijection`` defines their interface."""

from flows.bijections.actnorm import ActNorm as ActNorm
from flows.bijections.affine import AffineCoupling as AffineCoupling
from flows.bijections.bijection import Bijection as Bijection
from flows.bijections.chain import Chain as Chain
from flows.bijections.coupling import Coupling as Coupling
from flows.bijections.factor_out import FactorOut as FactorOut
from flows.bijections.linear import PLULinear as PLULinear
from flows.bijections.margins import Margins as Margins
from flows.bijections.permutation import Permutation as Permutation
from flows.bijections.probit import Probit as Probit
from flows.bijections.process import Process as Process
from flows.bijections.reach import Reach as Reach
from flows.bijections.shift import LinearShift as LinearShift
from flows.bijections.spline import SplineCoupling as SplineCoupling
from flows.bijections.squeeze import Squeeze as Squeeze
from flows.bijections.squeeze import squeezed as squeezed
from flows.bijections.standardize import Standardize as Standardize
from flows.bijections.whiten import Whiten as Whiten
