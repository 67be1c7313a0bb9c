"""Mixtures of Gaussians: densities, conditionals, fits, and kernel bandwidths."""
