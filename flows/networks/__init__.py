"""Populations of networks: the interface, flows, preprocessing, and architectures."""
