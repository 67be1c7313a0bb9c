"""Evaluation: likelihoods, sample quality, calibration, cost, and the report of a model."""
