"""Normalizing flows for small data sets, as populations of independently seeded networks.

``import flows`` is light: torch is imported when a name that needs it is first used.
"""

import ast
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.core.version import VERSION as __version__  # noqa: F401, N811

if TYPE_CHECKING:  # for type checkers and editors; at run time, ``__getattr__`` imports the names
    from flows.bijections.check import check_bijection as check_bijection
    from flows.core.settings import TrainingSettings as TrainingSettings
    from flows.evaluation.problem import Problem as Problem
    from flows.mixtures.gaussian_mixture import GaussianMixture as GaussianMixture
    from flows.mixtures.mixture import Mixture as Mixture
    from flows.models.conditional import Conditional as Conditional
    from flows.models.flow_matching import FlowMatching as FlowMatching
    from flows.models.gan import GAN as GAN
    from flows.models.glow import Glow as Glow
    from flows.models.glow_image import GlowImage as GlowImage
    from flows.models.nsf import NSF as NSF
    from flows.models.realnvp import RealNVP as RealNVP
    from flows.models.realnvp_image import RealNVPImage as RealNVPImage
    from flows.models.vae import VAE as VAE
    from flows.networks.architecture import Architecture as Architecture
    from flows.networks.base_distribution import StandardNormal as StandardNormal
    from flows.networks.building import build as build
    from flows.networks.flow import Flow as Flow
    from flows.networks.population import Population as Population
    from flows.networks.population import ensemble_log_prob as ensemble_log_prob
    from flows.recipe.train import train as train
    from flows.tables.columns.field import Field as Field
    from flows.tables.columns.notices import TableNotice as TableNotice
    from flows.tables.columns.overview import inspect as inspect
    from flows.tables.density.estimator import DensityEstimator as DensityEstimator
    from flows.tables.density.fitting import fit as fit
    from flows.tables.density.fitting import load as load
    from flows.tables.density.fitting import save as save
    from flows.tables.density.frame_density import Density as Density
    from flows.tables.density.regressor import DensityRegressor as DensityRegressor
    from flows.tables.density.verifying import verify as verify

# Let waiting threads sleep. By default OpenMP lets them spin, and then one other busy process makes
# two threads several times slower than one. OpenMP reads the variable when torch is imported. No
# result depends on it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# The names of the list above and their modules, read from this file, so that each name is listed
# once. The version is imported at once, and is not in the list.
_MODULES = {
    alias.name: node.module
    for node in ast.walk(ast.parse(Path(__file__).read_text(encoding="utf-8")))
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flows.")
    for alias in node.names
    if alias.name == alias.asname
}

__all__ = list(_MODULES)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return getattr(import_module(_MODULES[name]), name)
        raise AttributeError(
            f"module 'flows' has no attribute {name!r}; it has: {', '.join(sorted(_MODULES))}"
        )


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
