"""Conditional distributions: the unknown columns of a row given its known columns.

Start with ``unknowns.py``. ``labels.py`` computes the probabilities of labels.
"""
