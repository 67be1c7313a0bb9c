# The public names, for type checkers, and for __init__.py, which imports a name when it is used.

from .bijections.check import check_bijection as check_bijection
from .core.settings import TrainingSettings as TrainingSettings
from .evaluation.problem import Problem as Problem
from .mixtures.gaussian_mixture import GaussianMixture as GaussianMixture
from .mixtures.mixture import Mixture as Mixture
from .models.conditional import Conditional as Conditional
from .models.flow_matching import FlowMatching as FlowMatching
from .models.gan import GAN as GAN
from .models.glow import Glow as Glow
from .models.glow_image import GlowImage as GlowImage
from .models.nsf import NSF as NSF
from .models.realnvp import RealNVP as RealNVP
from .models.realnvp_image import RealNVPImage as RealNVPImage
from .models.vae import VAE as VAE
from .networks.architecture import Architecture as Architecture
from .networks.base_distribution import StandardNormal as StandardNormal
from .networks.building import build as build
from .networks.flow import Flow as Flow
from .networks.population import Population as Population
from .networks.population import ensemble_log_prob as ensemble_log_prob
from .recipe.train import train as train
from .tables.columns.field import Field as Field
from .tables.columns.notices import TableNotice as TableNotice
from .tables.columns.overview import inspect as inspect
from .tables.density.estimator import DensityEstimator as DensityEstimator
from .tables.density.fitting import fit as fit
from .tables.density.fitting import load as load
from .tables.density.fitting import save as save
from .tables.density.frame_density import Density as Density
from .tables.density.regressor import DensityRegressor as DensityRegressor
from .tables.density.verifying import verify as verify

__version__: str
