"""The rest of a row, given some of it: densities over unknown columns, and draws of them.

``unknowns.py`` begins; ``labels.py`` gives the probability of a label.
"""
