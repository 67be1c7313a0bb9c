"""Populations of networks: the interface, flows, preprocessing, and the registry of models."""
