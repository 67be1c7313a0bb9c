"""Mixtures of Gaussians and of latent classes: densities, conditionals and fits.

Also proposals inside boxes, completions of missing values, and kernel bandwidths.
"""
